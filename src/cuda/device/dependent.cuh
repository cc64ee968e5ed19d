#ifndef GDN_CUDA_DEVICE_DEPENDENT_CUH_
#define GDN_CUDA_DEVICE_DEPENDENT_CUH_

// Kernels that start before the one before them has ended (LaunchForm::beside), from Hopper on.
// Before it these functions do nothing, and nothing is launched so.

namespace gdn::cuda {

/// Lets the next kernel of the stream start once every block has said so or has ended.
__device__ __forceinline__ void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Waits until the kernel before has ended and its writes are visible, if this one has started
/// beside it. Every block has to come here: what runs after a kernel that ends without it may find
/// the one before that still at work.
__device__ __forceinline__ void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

}  // namespace gdn::cuda

#endif  // GDN_CUDA_DEVICE_DEPENDENT_CUH_
