#include "cuda/sm80/chunk_gated_delta_rule/kernel.cuh"

namespace gdn::cuda::sm80 {

Status fused_f32(const DeltaRule &p, const Launch &l) {
  return p.key_dim <= 128 ? launch_fused<float, 128>(p, l) : fused_f32_wide(p, l);
}

}  // namespace gdn::cuda::sm80
