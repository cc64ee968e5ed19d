#include "cuda/sm80/chunk_gated_delta_rule/kernel.cuh"
#include "cuda/sm80/chunk_gated_delta_rule/types.h"

namespace gdn::cuda::sm80::chunk {

Status run_f32_wide(const DeltaRule &p, const Launch &l) {
  return is_whole(p) ? launch_kernel<float, 256, true>(p, l) : run_f32_wide_any(p, l);
}

}  // namespace gdn::cuda::sm80::chunk
