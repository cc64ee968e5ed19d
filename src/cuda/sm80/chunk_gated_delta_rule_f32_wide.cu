#include "cuda/sm80/chunk_gated_delta_rule.cuh"

namespace gdn::cuda {

Status fused_f32_wide(const DeltaRule &p, const Launch &l) {
  return launch_fused<float, 256>(p, l);
}

}  // namespace gdn::cuda
