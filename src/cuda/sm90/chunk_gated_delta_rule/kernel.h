#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_KERNEL_H_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_KERNEL_H_

#include "core/delta_rule.h"
#include "cuda/runtime.h"

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

/// The chunked forward on Hopper: bfloat16 with DK = DV = 128. sm80's serves the rest. The form
/// follows from the call's load.
Status run(const DeltaRule &p, const Launch &l);

/// The same in one form, whatever the load: a block a head, or two.
Status run_whole_heads(const DeltaRule &p, const Launch &l);
Status run_half_heads(const DeltaRule &p, const Launch &l);

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_KERNEL_H_
