#ifndef GDN_CUDA_PATHS_H_
#define GDN_CUDA_PATHS_H_

#include <span>

#include "cuda/kernel_table.h"

namespace gdn::cuda {

/// A code path: kernels for a kind of GPU.
struct Path {
  const char *name;
  const char *reason;  ///< Why a call runs on it, if the caller named none.
  bool (*runs)(const DeviceInfo &device);
  const KernelTable &kernels;
};

/// The code paths of this build, slowest first: a device gets the last one that runs on it. Every
/// GPU that any path runs on runs the first.
std::span<const Path> paths();

}  // namespace gdn::cuda

#endif  // GDN_CUDA_PATHS_H_
