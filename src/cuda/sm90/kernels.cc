#include "cuda/sm90/kernels.h"

#include "cuda/sm80/kernels.h"
#include "cuda/sm90/chunk_fwd_h/kernel.h"
#include "cuda/sm90/chunk_gated_delta_rule/kernel.h"

namespace gdn::cuda::sm90 {

namespace {

KernelTable with(KernelOf<op::chunk_gated_delta_rule> chunk) {
  KernelTable t = sm80::kernels();
  t.at<op::chunk_gated_delta_rule>() = chunk;
  t.at<op::chunk_fwd_h>() = {&chunk_fwd_h::run};
  return t;
}

}  // namespace

const KernelTable &kernels() {
  static const KernelTable table =
      with({&chunk_gated_delta_rule::run, &chunk_gated_delta_rule::workspace});
  return table;
}

const KernelTable &whole_head_kernels() {
  static const KernelTable table = with({&chunk_gated_delta_rule::run_whole_heads});
  return table;
}

const KernelTable &half_head_kernels() {
  static const KernelTable table = with({&chunk_gated_delta_rule::run_half_heads});
  return table;
}

const KernelTable &segment_kernels() {
  static const KernelTable table =
      with({&chunk_gated_delta_rule::run_segments, &chunk_gated_delta_rule::segments_workspace});
  return table;
}

const KernelTable &forgetting_kernels() {
  static const KernelTable table = with(
      {&chunk_gated_delta_rule::run_forgetting, &chunk_gated_delta_rule::forgetting_workspace});
  return table;
}

}  // namespace gdn::cuda::sm90
