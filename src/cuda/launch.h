#ifndef GDN_CUDA_LAUNCH_H_
#define GDN_CUDA_LAUNCH_H_

#include <atomic>
#include <string>

#include "cuda/runtime.h"

namespace gdn::cuda {

/// Most blocks of a one-dimensional grid.
constexpr int64_t kMaxGrid = 0x7fffffff;

/// Lets Kernel ask for `bytes` of dynamic shared memory on this device.
template <auto Kernel>
Status allow_shared_memory(const char *name, const Launch &l, size_t bytes) {
  constexpr size_t kWithoutAsking = 40 * 1024;  // 48 KB less what a kernel may declare statically.
  if (bytes <= kWithoutAsking) return {};
  // What a kernel declares statically counts too. Once per kernel and device, for all shapes.
  static std::atomic<int> most[64];
  const int slot = l.device->ordinal & 63;
  int allowed = most[slot].load(std::memory_order_relaxed);
  if (allowed == 0 || l.device->ordinal > 63) {
    cudaFuncAttributes attributes;
    cudaError_t e = cudaFuncGetAttributes(&attributes, Kernel);
    if (e != cudaSuccess) return to_status(e, name);
    allowed = l.device->shared_memory - static_cast<int>(attributes.sharedSizeBytes);
    e = cudaFuncSetAttribute(Kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, allowed);
    if (e != cudaSuccess) return to_status(e, name);
    most[slot].store(allowed, std::memory_order_relaxed);
  }
  if (bytes <= static_cast<size_t>(allowed)) return {};
  return {Code::unsupported,
          std::string(name) + " needs " + std::to_string(bytes) +
              " bytes of shared memory for these shapes; this GPU gives a block " +
              std::to_string(allowed) + "."};
}

/// How a launch is to differ from a plain one.
struct LaunchForm {
  unsigned cluster = 1;  ///< Blocks of a cluster, which have to divide the grid.
  bool beside = false;   ///< It may start beside the kernel before (device/dependent.cuh).
};

/// Launches Kernel over a one-dimensional grid with dynamic shared memory. Returns the error of
/// this launch alone and leaves none behind. An empty grid launches nothing.
template <auto Kernel, class... Args>
Status launch_as(LaunchForm form, const char *name, const Launch &l, int64_t blocks, int threads,
                 size_t shared_memory, const Args &...args) {
  if (blocks == 0) return {};
  if (blocks > kMaxGrid) {
    return {Code::unsupported, std::string(name) + " would need " + std::to_string(blocks) +
                                   " thread blocks, more than a grid can hold."};
  }
  Status s = allow_shared_memory<Kernel>(name, l, shared_memory);
  if (!s.ok()) return s;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_memory;
  config.stream = l.stream;
  cudaLaunchAttribute attributes[2];
  config.attrs = attributes;
  if (form.cluster > 1) {
    cudaLaunchAttribute &a = attributes[config.numAttrs++];
    a.id = cudaLaunchAttributeClusterDimension;
    a.val.clusterDim.x = form.cluster;
    a.val.clusterDim.y = a.val.clusterDim.z = 1;
  }
  if (form.beside) {
    cudaLaunchAttribute &a = attributes[config.numAttrs++];
    a.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    a.val.programmaticStreamSerializationAllowed = 1;
  }
  return to_status(cudaLaunchKernelEx(&config, Kernel, args...), name);
}

/// The plain form.
template <auto Kernel, class... Args>
Status launch(const char *name, const Launch &l, int64_t blocks, int threads, size_t shared_memory,
              const Args &...args) {
  return launch_as<Kernel>({}, name, l, blocks, threads, shared_memory, args...);
}

}  // namespace gdn::cuda

#endif  // GDN_CUDA_LAUNCH_H_
