#include "cuda/sm80/chunk_gated_delta_rule/kernel.cuh"

namespace gdn::cuda::sm80 {

Status fused_f32_wide(const DeltaRule &p, const Launch &l) {
  return launch_fused<float, 256>(p, l);
}

}  // namespace gdn::cuda::sm80
