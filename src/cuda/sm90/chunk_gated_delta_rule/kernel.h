#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_KERNEL_H_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_KERNEL_H_

#include "core/delta_rule.h"
#include "cuda/runtime.h"

namespace gdn::cuda::sm90 {

/// True if the Hopper kernel serves the call: bfloat16 and DK = DV = 128. Strides and alignment do
/// not enter, since result bits must not depend on them.
bool fused_applies(const DeltaRule &p);

/// The fused forward on Hopper.
Status fused(const DeltaRule &p, const Launch &l);

}  // namespace gdn::cuda::sm90

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_KERNEL_H_
