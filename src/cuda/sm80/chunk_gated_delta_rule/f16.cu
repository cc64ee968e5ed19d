#include "cuda/sm80/chunk_gated_delta_rule/kernel.cuh"
#include "cuda/sm80/chunk_gated_delta_rule/types.h"

namespace gdn::cuda::sm80::chunk {

Status run_f16(const DeltaRule &p, const Launch &l) {
  if (!is_whole(p)) return run_f16_any(p, l);
  return p.key_dim <= 128 ? launch_kernel<f16, 128, true>(p, l)
                          : launch_kernel<f16, 256, true>(p, l);
}

}  // namespace gdn::cuda::sm80::chunk
