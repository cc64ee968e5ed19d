#ifndef GDN_REFERENCE_OPERATIONS_H_
#define GDN_REFERENCE_OPERATIONS_H_

#include "core/delta_rule.h"
#include "core/layer.h"
#include "core/stages.h"

namespace gdn::reference {

// Every operation in double, from its definition in gdn.h. `threads` 0: what the process may use.

/// The recurrence, token by token; serves the chunked and the recurrent operation.
void gated_delta_rule(const DeltaRule &p, int32_t threads);

void chunk_local_cumsum(const ChunkLocalCumsum &p);
void chunk_scaled_dot_kkt(const ChunkScaledDotKkt &p, int32_t threads);
void solve_tril(const SolveTril &p, int32_t threads);
void recompute_w_u(const RecomputeWU &p, int32_t threads);
void chunk_fwd_h(const ChunkFwdH &p, int32_t threads);
void chunk_fwd_o(const ChunkFwdO &p, int32_t threads);

void causal_conv1d_fwd(const CausalConv1dFwd &p);
void causal_conv1d_update(const CausalConv1dUpdate &p);
void fused_gdn_gating(const FusedGdnGating &p);
void l2norm(const L2Norm &p);
void rms_norm_gated(const RmsNormGated &p);

}  // namespace gdn::reference

#endif  // GDN_REFERENCE_OPERATIONS_H_
