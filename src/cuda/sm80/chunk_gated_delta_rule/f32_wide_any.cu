#include "cuda/sm80/chunk_gated_delta_rule/kernel.cuh"
#include "cuda/sm80/chunk_gated_delta_rule/types.h"

namespace gdn::cuda::sm80::chunk {

Status run_f32_wide_any(const DeltaRule &p, const Launch &l) {
  return launch_kernel<float, 256, false>(p, l);
}

}  // namespace gdn::cuda::sm80::chunk
