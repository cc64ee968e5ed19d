#ifndef GDN_CPU_KERNEL_TABLE_H_
#define GDN_CPU_KERNEL_TABLE_H_

#include "core/delta_rule.h"
#include "core/layer.h"
#include "core/stages.h"

namespace gdn::cpu {

/// One kernel of one instruction set. A call is cut into independent work items; an item is
/// computed whole by one thread and its bits depend on the problem alone, so any number of threads
/// gives the same result.
template <class P>
struct Kernel {
  /// Number of items. `threads` may only influence how finely independent outputs are cut.
  int64_t (*items)(const P &p, int32_t threads);
  /// Bytes of scratch that one thread needs, a multiple of 256; from shapes and types alone. 0 for
  /// everything but the chunked delta rule.
  size_t (*scratch)(const P &p, int32_t threads);
  /// Computes items [first, last). `scratch` is 256-byte aligned. Denormals are flushed to zero.
  void (*run)(const P &p, int32_t threads, int64_t first, int64_t last, void *scratch);
};

/// All kernels of one instruction set: the only symbol that its translation units export.
struct KernelTable {
  const Kernel<DeltaRule> *chunk_gated_delta_rule;
  const Kernel<DeltaRule> *fused_recurrent_gated_delta_rule;
  const Kernel<ChunkLocalCumsum> *chunk_local_cumsum;
  const Kernel<ChunkScaledDotKkt> *chunk_scaled_dot_kkt;
  const Kernel<SolveTril> *solve_tril;
  const Kernel<RecomputeWU> *recompute_w_u;
  const Kernel<ChunkFwdH> *chunk_fwd_h;
  const Kernel<ChunkFwdO> *chunk_fwd_o;
  const Kernel<CausalConv1dFwd> *causal_conv1d_fwd;
  const Kernel<CausalConv1dUpdate> *causal_conv1d_update;
  const Kernel<FusedGdnGating> *fused_gdn_gating;
  const Kernel<L2Norm> *l2norm;
  const Kernel<RmsNormGated> *rms_norm_gated;
};

}  // namespace gdn::cpu

#endif  // GDN_CPU_KERNEL_TABLE_H_
