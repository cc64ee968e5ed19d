#ifndef GDN_CUDA_SM90_KERNELS_H_
#define GDN_CUDA_SM90_KERNELS_H_

#include "cuda/kernel_table.h"

namespace gdn::cuda::sm90 {

/// sm80's kernels, with those replaced that this folder has; each of these passes on to the one it
/// replaces what it does not serve.
const KernelTable &kernels();

}  // namespace gdn::cuda::sm90

#endif  // GDN_CUDA_SM90_KERNELS_H_
