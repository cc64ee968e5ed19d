#ifndef GDN_CUDA_OPERATIONS_H_
#define GDN_CUDA_OPERATIONS_H_

#include "core/delta_rule.h"
#include "core/layer.h"
#include "core/stages.h"
#include "cuda/runtime.h"

namespace gdn::cuda {

// Every operation of the backend, launched asynchronously: no allocation, no synchronisation. What
// cu_seqlens and index arrays hold is clamped on the device; a slot past the pool counts as
// negative.

Status chunk_gated_delta_rule(const DeltaRule &p, const Launch &l);
Status fused_recurrent_gated_delta_rule(const DeltaRule &p, const Launch &l);

Status chunk_local_cumsum(const ChunkLocalCumsum &p, const Launch &l);
Status chunk_scaled_dot_kkt(const ChunkScaledDotKkt &p, const Launch &l);
Status solve_tril(const SolveTril &p, const Launch &l);
Status recompute_w_u(const RecomputeWU &p, const Launch &l);
Status chunk_fwd_h(const ChunkFwdH &p, const Launch &l);
/// chunk_fwd_h for the shapes that the first function accepts.
bool chunk_fwd_h_c64_applies(const ChunkFwdH &p, const Launch &l);
Status chunk_fwd_h_c64(const ChunkFwdH &p, const Launch &l);
Status chunk_fwd_o(const ChunkFwdO &p, const Launch &l);

Status causal_conv1d_fwd(const CausalConv1dFwd &p, const Launch &l);
Status causal_conv1d_update(const CausalConv1dUpdate &p, const Launch &l);
Status fused_gdn_gating(const FusedGdnGating &p, const Launch &l);
Status l2norm(const L2Norm &p, const Launch &l);
Status rms_norm_gated(const RmsNormGated &p, const Launch &l);

}  // namespace gdn::cuda

#endif  // GDN_CUDA_OPERATIONS_H_
