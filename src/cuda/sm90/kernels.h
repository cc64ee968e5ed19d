#ifndef GDN_CUDA_SM90_KERNELS_H_
#define GDN_CUDA_SM90_KERNELS_H_

#include "cuda/kernel_table.h"

namespace gdn::cuda::sm90 {

/// sm80's kernels, with those replaced that this folder has; each of these passes on to the one it
/// replaces what it does not serve.
const KernelTable &kernels();

/// The same with one form of the chunk kernel whatever a call's load.
const KernelTable &whole_head_kernels();
const KernelTable &half_head_kernels();
const KernelTable &segment_kernels();
const KernelTable &forgetting_kernels();

}  // namespace gdn::cuda::sm90

#endif  // GDN_CUDA_SM90_KERNELS_H_
