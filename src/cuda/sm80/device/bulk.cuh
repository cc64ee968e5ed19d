#ifndef GDN_CUDA_SM80_DEVICE_BULK_CUH_
#define GDN_CUDA_SM80_DEVICE_BULK_CUH_

#include "cuda/device/tile.cuh"

// Copies of whole pieces of memory between a block's shared memory and global memory by the copy
// engine, from Hopper on: no registers and no instructions of the threads that wait for them.
// Addresses and sizes are multiples of 16 bytes.

namespace gdn::cuda::sm80 {

/// A copy to shared memory, once in a block's life.
struct BulkLoad {
  uint64_t barrier;

  /// By one thread; the block's other threads may wait() after the next __syncthreads().
  __device__ __forceinline__ void start(void *to, const void *from, unsigned bytes) {
#if __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(shared_address(&barrier)) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile(
        "mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)),
        "r"(bytes)
        : "memory");
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
        "[%3];" ::"r"(shared_address(to)),
        "l"(from), "r"(bytes), "r"(shared_address(&barrier))
        : "memory");
#endif
  }
  __device__ __forceinline__ void wait() {
#if __CUDA_ARCH__ >= 900
    asm volatile(
        "{.reg .pred p;\n"
        "W%=: mbarrier.try_wait.parity.shared.b64 p, [%0], 0;\n"
        "@!p bra W%=;}" ::"r"(shared_address(&barrier))
        : "memory");
#endif
  }
};

/// By each thread that wrote what is to be copied from shared memory, before the __syncthreads()
/// after which a thread does so.
__device__ __forceinline__ void bulk_store_fence() {
#if __CUDA_ARCH__ >= 900
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
/// By one thread, which then may not end before bulk_store_wait().
__device__ __forceinline__ void bulk_store(void *to, const void *from, unsigned bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to),
               "r"(shared_address(from)), "r"(bytes)
               : "memory");
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#endif
}
/// Shared memory has been read.
__device__ __forceinline__ void bulk_store_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
#endif
}

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_BULK_CUH_
