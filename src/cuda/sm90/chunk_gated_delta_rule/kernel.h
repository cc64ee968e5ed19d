#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_KERNEL_H_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_KERNEL_H_

#include "core/delta_rule.h"
#include "cuda/runtime.h"

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

/// The chunked forward on Hopper: bfloat16 with DK = DV = 128. sm80's serves the rest. The form
/// follows from the call: segments of sequences where these and heads are few (segments.h), unless
/// the launch says no_split; else two blocks a head or one, by load, which changes no bit.
Status run(const DeltaRule &p, const Launch &l);
size_t workspace(const DeltaRule &p, bool no_split);

// The same in one form, whatever the call: a block a head; two; segments, of all heads or of those
// that forget, unless no_split.
Status run_whole_heads(const DeltaRule &p, const Launch &l);
Status run_half_heads(const DeltaRule &p, const Launch &l);
Status run_segments(const DeltaRule &p, const Launch &l);
size_t segments_workspace(const DeltaRule &p, bool no_split);
Status run_forgetting(const DeltaRule &p, const Launch &l);
size_t forgetting_workspace(const DeltaRule &p, bool no_split);

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_KERNEL_H_
