#include "cpu/tables.h"

namespace gdn::cpu::amx {

namespace kernel {
extern const Kernel<op::chunk_gated_delta_rule> chunk_gated_delta_rule;
}

const KernelTable &table() {
  // On processors with AMX an f32 multiply-add has twice the rate of vdpbf16ps, so kernels with
  // matrix products are those of avx512. The others have none, and avx512bf16 rounds to bf16 in one
  // instruction: decode with a bf16 state takes 0.060 ms instead of 0.082 (16/32 heads, one
  // thread).
  static const KernelTable rows = [] {
    KernelTable t = avx512::kTable;
    t.at<op::chunk_gated_delta_rule>() = {&kernel::chunk_gated_delta_rule};
    t.at<op::fused_recurrent_gated_delta_rule>() =
        avx512bf16::kTable.at<op::fused_recurrent_gated_delta_rule>();
    t.at<op::causal_conv1d_fwd>() = avx512bf16::kTable.at<op::causal_conv1d_fwd>();
    t.at<op::causal_conv1d_update>() = avx512bf16::kTable.at<op::causal_conv1d_update>();
    t.at<op::l2norm>() = avx512bf16::kTable.at<op::l2norm>();
    t.at<op::rms_norm_gated>() = avx512bf16::kTable.at<op::rms_norm_gated>();
    t.at<op::fused_gdn_decode>() = avx512bf16::kTable.at<op::fused_gdn_decode>();
    return t;
  }();
  return rows;
}

}  // namespace gdn::cpu::amx
