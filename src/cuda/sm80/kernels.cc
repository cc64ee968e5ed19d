#include "cuda/sm80/kernels.h"

namespace gdn::cuda::sm80 {

const KernelTable &kernels() {
#define GDN_KERNEL(name, problem, args, workspace) KernelOf<op::name>{&sm80::name},
  static const KernelTable table = {GDN_FOR_EACH_OPERATION(GDN_KERNEL)};
#undef GDN_KERNEL
  return table;
}

}  // namespace gdn::cuda::sm80
