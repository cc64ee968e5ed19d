#include "cuda/runtime.h"

#include <string>
#include <vector>

namespace gdn::cuda {
namespace {

std::vector<DeviceInfo> read_devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    // No driver or no GPU: a fact, not an error of the caller's.
    (void)cudaGetLastError();
    return {};
  }
  std::vector<DeviceInfo> devices;
  for (int i = 0; i < count; ++i) {
    DeviceInfo d;
    d.ordinal = i;
    bool ok = true;
    const auto read = [&](int *value, cudaDeviceAttr attribute) {
      ok = ok && cudaDeviceGetAttribute(value, attribute, i) == cudaSuccess;
    };
    read(&d.major, cudaDevAttrComputeCapabilityMajor);
    read(&d.minor, cudaDevAttrComputeCapabilityMinor);
    read(&d.multiprocessors, cudaDevAttrMultiProcessorCount);
    read(&d.shared_memory, cudaDevAttrMaxSharedMemoryPerBlockOptin);
    if (!ok) {
      (void)cudaGetLastError();
      return {};
    }
    devices.push_back(d);
  }
  return devices;
}

const std::vector<DeviceInfo> &devices() {
  static const std::vector<DeviceInfo> all = read_devices();
  return all;
}

}  // namespace

int device_count() { return static_cast<int>(devices().size()); }

const DeviceInfo *device_info(int ordinal) {
  if (ordinal < 0 || ordinal >= device_count()) return nullptr;
  return &devices()[static_cast<size_t>(ordinal)];
}

Status to_status(cudaError_t error, const char *what) {
  if (error == cudaSuccess) return {};
  (void)cudaGetLastError();
  return {Code::device_error, std::string(what) + ": " + cudaGetErrorName(error) + " (" +
                                  cudaGetErrorString(error) +
                                  "); it may stem from earlier work on this device."};
}

DeviceScope::DeviceScope(int device) {
  int current = -1;
  status_ = to_status(cudaGetDevice(&current), "cudaGetDevice failed");
  if (!status_.ok() || current == device) return;
  status_ = to_status(cudaSetDevice(device), "cudaSetDevice failed");
  if (status_.ok()) previous_ = current;
}

DeviceScope::~DeviceScope() {
  if (previous_ >= 0) (void)cudaSetDevice(previous_);
}

}  // namespace gdn::cuda
