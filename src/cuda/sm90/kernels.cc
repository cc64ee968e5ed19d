#include "cuda/sm90/kernels.h"

#include "cuda/sm80/kernels.h"
#include "cuda/sm90/chunk_fwd_h/kernel.h"
#include "cuda/sm90/chunk_gated_delta_rule/kernel.h"

namespace gdn::cuda::sm90 {

const KernelTable &kernels() {
  static const KernelTable table = [] {
    KernelTable t = sm80::kernels();
    t.at<op::chunk_gated_delta_rule>() = {&chunk_gated_delta_rule::run};
    t.at<op::chunk_fwd_h>() = {&chunk_fwd_h::run};
    return t;
  }();
  return table;
}

}  // namespace gdn::cuda::sm90
