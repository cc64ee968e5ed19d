#include "cuda/sm80/chunk_gated_delta_rule/kernel.cuh"
#include "cuda/sm80/chunk_gated_delta_rule/types.h"

namespace gdn::cuda::sm80::chunk {

Status run_bf16(const DeltaRule &p, const Launch &l) {
  if (!is_whole(p)) return run_bf16_any(p, l);
  return p.key_dim <= 128 ? launch_kernel<bf16, 128, true>(p, l)
                          : launch_kernel<bf16, 256, true>(p, l);
}

}  // namespace gdn::cuda::sm80::chunk
