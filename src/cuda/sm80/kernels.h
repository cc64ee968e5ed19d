#ifndef GDN_CUDA_SM80_KERNELS_H_
#define GDN_CUDA_SM80_KERNELS_H_

#include "core/delta_rule.h"
#include "core/layer.h"
#include "core/stages.h"
#include "cuda/runtime.h"

namespace gdn::cuda::sm80 {
Status chunk_gated_delta_rule(const DeltaRule &p, const Launch &l);
Status chunk_fwd_h(const ChunkFwdH &p, const Launch &l);
}  // namespace gdn::cuda::sm80
#endif
