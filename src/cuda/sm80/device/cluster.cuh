#ifndef GDN_CUDA_SM80_DEVICE_CLUSTER_CUH_
#define GDN_CUDA_SM80_DEVICE_CLUSTER_CUH_

#include "cuda/device/tile.cuh"
#include "cuda/runtime.h"

// Blocks that run at the same time and reach each other's shared memory, from Hopper on. Before it
// every block is a cluster by itself.

namespace gdn::cuda::sm80 {

/// What a thread wrote before arriving, all threads of the cluster see after waiting.
__device__ __forceinline__ void cluster_arrive() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}
__device__ __forceinline__ void cluster_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#else
  __syncthreads();
#endif
}

/// Writes to where `to` lies in the shared memory of block `rank` of the cluster.
__device__ __forceinline__ void store_in_cluster(double *to, unsigned rank, double x) {
#if __CUDA_ARCH__ >= 900
  uint32_t there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(to)), "r"(rank));
  asm volatile("st.shared::cluster.f64 [%0], %1;" ::"r"(there), "d"(x) : "memory");
#else
  *to = x;
#endif
}

/// True if a kernel that the device runs was compiled for clusters: on Hopper it may be one of
/// Ampere's.
template <auto Kernel>
bool has_clusters(const DeviceInfo &device) {
  if (device.major < 9) return false;
  static const bool compiled = [] {
    cudaFuncAttributes attributes;
    const Status s = to_status(cudaFuncGetAttributes(&attributes, Kernel), "a kernel's attributes");
    return s.ok() && attributes.ptxVersion >= 90;
  }();
  return compiled;
}

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_CLUSTER_CUH_
