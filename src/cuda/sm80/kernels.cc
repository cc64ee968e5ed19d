#include "cuda/sm80/kernels.h"

#include "cuda/sm80/fused_gdn_decode_large.h"

namespace gdn::cuda::sm80 {

const KernelTable &kernels() {
#define GDN_KERNEL(name, problem, args, workspace) KernelOf<op::name>{&sm80::name},
  static const KernelTable table = [] {
    KernelTable t = {GDN_FOR_EACH_OPERATION(GDN_KERNEL)};
    t.at<op::fused_gdn_decode>().workspace = &fused_gdn_decode_workspace;
    return t;
  }();
#undef GDN_KERNEL
  return table;
}

}  // namespace gdn::cuda::sm80
