#ifndef GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_TYPES_H_
#define GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_TYPES_H_

#include "core/delta_rule.h"
#include "cuda/runtime.h"

namespace gdn::cuda::sm80::chunk {

// The operation by the type of q, k and v. One file each, so that they compile side by side.
Status run_f32(const DeltaRule &p, const Launch &l);
Status run_f32_wide(const DeltaRule &p, const Launch &l);  ///< DK over 128: slow to compile.
Status run_bf16(const DeltaRule &p, const Launch &l);
Status run_f16(const DeltaRule &p, const Launch &l);
// In any width and alignment: the kernels above have no registers to spare for that.
Status run_f32_wide_any(const DeltaRule &p, const Launch &l);
Status run_bf16_any(const DeltaRule &p, const Launch &l);
Status run_f16_any(const DeltaRule &p, const Launch &l);

}  // namespace gdn::cuda::sm80::chunk

#endif  // GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_TYPES_H_
