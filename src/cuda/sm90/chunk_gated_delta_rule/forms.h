#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_FORMS_H_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_FORMS_H_

#include "core/delta_rule.h"
#include "cuda/runtime.h"

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

// The forms of the kernel, for problems that it serves.
Status launch_whole_heads(const DeltaRule &p, const Launch &l);
Status launch_half_heads(const DeltaRule &p, const Launch &l);

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_FORMS_H_
