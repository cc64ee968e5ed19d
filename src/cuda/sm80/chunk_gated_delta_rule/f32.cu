#include "cuda/sm80/chunk_gated_delta_rule/kernel.cuh"
#include "cuda/sm80/chunk_gated_delta_rule/types.h"

namespace gdn::cuda::sm80::chunk {

Status run_f32(const DeltaRule &p, const Launch &l) {
  return p.key_dim <= 128 ? launch_kernel<float, 128, false>(p, l) : run_f32_wide(p, l);
}

}  // namespace gdn::cuda::sm80::chunk
