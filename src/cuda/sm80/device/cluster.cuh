#ifndef GDN_CUDA_SM80_DEVICE_CLUSTER_CUH_
#define GDN_CUDA_SM80_DEVICE_CLUSTER_CUH_

#include "cuda/device/tile.cuh"
#include "cuda/runtime.h"

// Blocks that run at the same time and reach each other's shared memory, from Hopper on. Before it
// every block is a cluster by itself.

namespace gdn::cuda::sm80 {

/// What a thread read and wrote before arriving comes before what threads of the cluster do after
/// waiting.
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

/// What the blocks of a cluster send each other, in shared memory. A barrier of the receiver counts
/// the bytes: unlike a barrier of the whole cluster it holds up no other access to memory. A block
/// that is alone (`alone`, the same in every call) stores as usual: it is launched without a
/// cluster, and sending is an instruction of clusters.
struct ClusterMail {
  uint64_t barrier;

  /// By one thread, before the block's first cluster_begin().
  __device__ __forceinline__ void init() {
#if __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(shared_address(&barrier)) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
  }
  /// By one thread: so many bytes are to come before the next wait() ends.
  __device__ __forceinline__ void expect(unsigned bytes, bool alone) {
#if __CUDA_ARCH__ >= 900
    if (alone) return;
    asm volatile(
        "mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)),
        "r"(bytes)
        : "memory");
#endif
  }
  /// x goes to where `to` lies in the shared memory of block `rank`.
  template <class T>
  __device__ __forceinline__ void send(T *to, unsigned rank, T x, bool alone) {
#if __CUDA_ARCH__ >= 900
    if (alone) {
      *to = x;
      return;
    }
    uint32_t there, counter;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(shared_address(to)), "r"(rank));
    asm("mapa.shared::cluster.u32 %0, %1, %2;"
        : "=r"(counter)
        : "r"(shared_address(&barrier)), "r"(rank));
    if constexpr (sizeof(T) == 8) {
      asm volatile(
          "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b64 [%0], %1, [%2];" ::"r"(
              there),
          "l"(__double_as_longlong(x)), "r"(counter)
          : "memory");
    } else {
      asm volatile(
          "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(
              there),
          "r"(__float_as_uint(x)), "r"(counter)
          : "memory");
    }
#else
    *to = x;
#endif
  }
  /// For all threads: what was expected is there. turn: how many waits ended before.
  __device__ __forceinline__ void wait(int turn, bool alone) {
#if __CUDA_ARCH__ >= 900
    if (alone) {
      __syncthreads();
      return;
    }
    asm volatile(
        "{.reg .pred p;\n"
        "W%=: mbarrier.try_wait.parity.shared.b64 p, [%0], %1;\n"
        "@!p bra W%=;}" ::"r"(shared_address(&barrier)),
        "r"(turn & 1)
        : "memory");
#else
    __syncthreads();
#endif
  }
};

/// The first arrival of a block, with its mailboxes ready. After cluster_wait() all blocks have
/// shared memory to send to.
__device__ __forceinline__ void cluster_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
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
