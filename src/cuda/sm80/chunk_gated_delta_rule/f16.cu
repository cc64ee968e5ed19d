#include "cuda/sm80/chunk_gated_delta_rule/kernel.cuh"

namespace gdn::cuda::sm80 {

Status fused_f16(const DeltaRule &p, const Launch &l) {
  return p.key_dim <= 128 ? launch_fused<f16, 128>(p, l) : launch_fused<f16, 256>(p, l);
}

}  // namespace gdn::cuda::sm80
