// Calls that cannot be served: status and message, outputs untouched, no CUDA error left behind,
// and the next call works. And what a call must leave as it was: the caller's current device.

#include "operations.h"

namespace gdn::testing {
namespace {

class Refusals : public GpuTest {
 protected:
  /// The call is refused with these parts in its message and has touched nothing.
  void expect_refusal(DeviceCall &call, const std::vector<std::string> &parts,
                      bool recurrent = false) {
    const Bytes o = call.o.download(), state = call.final_state.download();
    const std::string text = call.run(GetParam(), nullptr, recurrent);
    EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
    for (const std::string &part : parts) {
      EXPECT_NE(text.find(part), std::string::npos) << part << " in: " << text;
    }
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(call.o.download(), o);
    EXPECT_EQ(call.final_state.download(), state);
  }
  void expect_success() {
    DeviceCall call(HostProblem(Element::bf16, {10}, 1, 1));
    EXPECT_EQ(call.run(GetParam()), "");
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
  }
};
GDN_GPU_SUITE(Refusals);

TEST_P(Refusals, UnsupportedWidths) {
  DeviceCall call(HostProblem(Element::bf16, {10}, 1, 1, 257));
  expect_refusal(call, {"GDN_UNSUPPORTED", "257"});
  expect_refusal(call, {"GDN_UNSUPPORTED", "257"}, true);
  expect_success();
}

TEST_P(Refusals, MisalignedPointers) {
  for (const bool recurrent : {false, true}) {
    DeviceCall call(HostProblem(Element::bf16, {10}, 1, 1));
    DLTensor o = *call.o.tensor(), g = *call.g.tensor(), state = *call.final_state.tensor();
    o.byte_offset = 1;
    call.args.o = &o;
    expect_refusal(call, {"GDN_INVALID_ARGUMENT", "o starts at an address", "1 past"}, recurrent);
    call.args.o = call.o.tensor();
    g.byte_offset = 2;
    call.args.g = &g;
    expect_refusal(call, {"GDN_INVALID_ARGUMENT", "g starts at an address", "2 past"}, recurrent);
    call.args.g = call.g.tensor();
    state.data = static_cast<char *>(state.data) + 3;
    call.args.final_state = &state;
    expect_refusal(call, {"GDN_INVALID_ARGUMENT", "final_state starts at", "3 past"}, recurrent);
  }
  expect_success();
}

TEST_P(Refusals, NullPointers) {
  DeviceCall call(HostProblem(Element::bf16, {10}, 1, 1));
  DLTensor k = *call.k.tensor();
  k.data = nullptr;
  call.args.k = &k;
  expect_refusal(call, {"GDN_INVALID_ARGUMENT", "k has a null data pointer"});
  expect_success();
}

TEST_P(Refusals, DevicesThatAreNotThere) {
  int count = 0;
  ASSERT_CUDA(cudaGetDeviceCount(&count));
  DeviceCall call(HostProblem(Element::bf16, {10}, 1, 1));
  DLTensor q = *call.q.tensor();
  q.device.device_id = count;
  call.args.q = &q;
  expect_refusal(call, {"GDN_INVALID_ARGUMENT", "is on cuda:0", "cuda:" + std::to_string(count)});

  DeviceOperation::Call norm = [&](const gdn_exec *exec) {
    gdn_l2norm_args args = {};
    args.struct_size = sizeof(args);
    DLTensor y = *call.o.tensor();
    y.device.device_id = count;
    args.x = &q, args.y = &y;
    return gdn_l2norm(&args, exec);
  };
  const std::string text = outcome(norm(nullptr));
  EXPECT_NE(text.find("GDN_UNSUPPORTED"), std::string::npos) << text;
  EXPECT_NE(text.find("there are " + std::to_string(count) + " devices"), std::string::npos)
      << text;
  EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
  q.device = {kDLCPU, 0};
  expect_refusal(call, {"GDN_INVALID_ARGUMENT", "one device for all tensors"});
  expect_success();
}

// What workspace a call needs follows from its shapes; with less, or none, it is refused.
TEST_P(Refusals, Workspace) {
  DeviceCall call(HostProblem(Element::bf16, {3000, 10}, 2, 4));
  const std::string isa = GetParam();
  gdn_exec exec = {};
  exec.struct_size = sizeof(exec);
  exec.isa = isa.c_str();
  size_t bytes = 0, again = 0;
  ASSERT_EQ(gdn_chunk_gated_delta_rule_workspace_size(&call.args, &exec, &bytes), GDN_OK);
  ASSERT_EQ(gdn_chunk_gated_delta_rule_workspace_size(&call.args, &exec, &again), GDN_OK);
  EXPECT_EQ(bytes, again);
  DeviceTensor memory(Element::u8, {static_cast<int64_t>(bytes) + 512});
  const auto run = [&](size_t shift, size_t size, bool null) {
    exec.workspace = null ? nullptr : static_cast<char *>(memory.data()) + shift;
    exec.workspace_size = size;
    const std::string text = outcome(gdn_chunk_gated_delta_rule(&call.args, &exec));
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
    return text;
  };
  const Bytes before = call.o.download();
  if (bytes > 0) {
    EXPECT_NE(run(0, bytes, true).find("GDN_WORKSPACE_TOO_SMALL"), std::string::npos);
    EXPECT_NE(run(0, bytes - 1, false).find("GDN_WORKSPACE_TOO_SMALL"), std::string::npos);
    EXPECT_NE(run(64, bytes, false).find("GDN_WORKSPACE_TOO_SMALL"), std::string::npos);
    EXPECT_EQ(call.o.download(), before);
  } else {
    EXPECT_EQ(run(0, 0, true), "");
  }
  EXPECT_EQ(run(0, bytes, false), "");
  EXPECT_NE(call.o.download(), before);
}

TEST_P(Refusals, CurrentDeviceStays) {
  int count = 0;
  ASSERT_CUDA(cudaGetDeviceCount(&count));
  for (int device = 0; device < count; ++device) {
    ASSERT_CUDA(cudaSetDevice(0));
    const HostProblem p(Element::bf16, {10}, 1, 1);
    DeviceCall good(p), bad(HostProblem(Element::bf16, {10}, 1, 1, 257));
    ASSERT_CUDA(cudaSetDevice(device));
    int now = -1;
    EXPECT_EQ(good.run(GetParam()), "");
    ASSERT_CUDA(cudaGetDevice(&now));
    EXPECT_EQ(now, device);
    EXPECT_NE(bad.run(GetParam()), "");
    ASSERT_CUDA(cudaGetDevice(&now));
    EXPECT_EQ(now, device);
    ASSERT_CUDA(cudaSetDevice(0));
    ASSERT_CUDA(cudaDeviceSynchronize());
  }
}

// An error that the caller has pending neither fails a call nor is taken from the caller.
TEST_P(Refusals, PendingErrorsStayTheCallers) {
  const HostProblem p(Element::bf16, {10}, 1, 1);
  DeviceCall good(p), bad(HostProblem(Element::bf16, {10}, 1, 1, 257));
  EXPECT_EQ(cudaSetDevice(1 << 20), cudaErrorInvalidDevice);
  EXPECT_EQ(good.run(GetParam()), "");
  EXPECT_EQ(good.run(GetParam(), nullptr, true), "");
  EXPECT_NE(bad.run(GetParam()), "");
  EXPECT_EQ(cudaGetLastError(), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  expect_success();
}

// Leaves the process without a usable GPU: run.sh runs it by itself.
TEST(AsynchronousError, IsReportedAsSuch) {
  DeviceCall call(HostProblem(Element::bf16, {1}, 1, 1));
  DLTensor k = *call.k.tensor();
  k.data = reinterpret_cast<void *>(uintptr_t{1} << 20);  // Nothing is mapped there.
  call.args.k = &k;
  const std::string first = call.run("sm80", nullptr, true);
  EXPECT_EQ(first, "") << "the launch itself is sound";
  EXPECT_NE(cudaDeviceSynchronize(), cudaSuccess);
  call.args.k = call.k.tensor();
  const std::string next = call.run("sm80", nullptr, true);
  EXPECT_NE(next.find("GDN_DEVICE_ERROR"), std::string::npos) << next;
  EXPECT_NE(next.find("earlier work"), std::string::npos) << next;
}

}  // namespace
}  // namespace gdn::testing
