#include "ascend/device_stub/calls.h"

extern "C" __attribute__((visibility("default"))) std::vector<npu_stub::Call> *npu_stub_calls();

std::vector<npu_stub::Call> *npu_stub_calls() { return &npu_stub::calls(); }
