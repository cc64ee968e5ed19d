#include "cuda/sm80/chunk_gated_delta_rule.cuh"

namespace gdn::cuda {

Status fused_f16(const DeltaRule &p, const Launch &l) {
  return p.key_dim <= 128 ? launch_fused<f16, 128>(p, l) : launch_fused<f16, 256>(p, l);
}

}  // namespace gdn::cuda
