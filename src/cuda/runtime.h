#ifndef GDN_CUDA_RUNTIME_H_
#define GDN_CUDA_RUNTIME_H_

#include <cuda_runtime.h>

#include <cstdint>

#include "core/status.h"

namespace gdn::cuda {

/// What kernels' hosts want to know of a GPU.
struct DeviceInfo {
  int ordinal = 0;
  int major = 0;
  int minor = 0;
  int multiprocessors = 0;
  int shared_memory = 0;  ///< Most dynamic shared memory a block may ask for, in bytes.
};

/// GPUs that the driver reports; 0 without a driver. Leaves no CUDA error behind.
int device_count();

/// Properties of a GPU, read once per process; null if there is no such GPU.
const DeviceInfo *device_info(int ordinal);

/// The status that a CUDA error stands for, naming `what`; clears the error where CUDA lets one.
Status to_status(cudaError_t error, const char *what);

/// Makes a device current for a scope and restores the caller's.
class DeviceScope {
 public:
  explicit DeviceScope(int device);
  ~DeviceScope();
  DeviceScope(const DeviceScope &) = delete;
  DeviceScope &operator=(const DeviceScope &) = delete;

  const Status &status() const { return status_; }

 private:
  int previous_ = -1;
  Status status_;
};

/// Where and how an operation is launched; the device is current.
struct Launch {
  const DeviceInfo *device = nullptr;
  cudaStream_t stream = nullptr;
  void *workspace = nullptr;
  bool no_split = false;  ///< Cut no sequence for parallelism.
};

}  // namespace gdn::cuda

#endif  // GDN_CUDA_RUNTIME_H_
