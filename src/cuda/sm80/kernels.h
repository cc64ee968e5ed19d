#ifndef GDN_CUDA_SM80_KERNELS_H_
#define GDN_CUDA_SM80_KERNELS_H_

#include "cuda/kernel_table.h"

namespace gdn::cuda::sm80 {

// The portable kernels: every operation, on any GPU from Ampere on.

#define GDN_DECLARE_OPERATION(name, problem, args, workspace) \
  Status name(const problem &p, const Launch &l);
GDN_FOR_EACH_OPERATION(GDN_DECLARE_OPERATION)
#undef GDN_DECLARE_OPERATION

const KernelTable &kernels();

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_KERNELS_H_
