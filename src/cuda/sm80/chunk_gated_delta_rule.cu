#include "cuda/sm80/chunk_gated_delta_rule/types.h"
#include "cuda/sm80/kernels.h"

namespace gdn::cuda::sm80 {

Status chunk_gated_delta_rule(const DeltaRule &p, const Launch &l) {
  switch (p.q.dtype) {
    case DType::f32:
      return chunk::run_f32(p, l);
    case DType::bf16:
      return chunk::run_bf16(p, l);
    default:
      return chunk::run_f16(p, l);
  }
}

}  // namespace gdn::cuda::sm80
