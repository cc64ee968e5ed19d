#include "cuda/sm80/chunk_gated_delta_rule/kernel.cuh"

#include <string>

#if defined(GDN_CUDA_SM90)
#include "cuda/sm90/chunk_gated_delta_rule/kernel.h"
#endif

namespace gdn::cuda::sm80 {

Status chunk_gated_delta_rule(const DeltaRule &p, const Launch &l) {
  if (p.key_dim % 16 != 0 || p.value_dim % 16 != 0 || p.key_dim > 256 || p.value_dim > 256) {
    return {
        Code::unsupported,
        "chunk_gated_delta_rule on CUDA takes DK and DV that are multiples of 16 up to 256; found "
        "DK = " +
            std::to_string(p.key_dim) + ", DV = " + std::to_string(p.value_dim) + "."};
  }
#if defined(GDN_CUDA_SM90)
  if (l.hopper && sm90::fused_applies(p)) return sm90::fused(p, l);
#endif
  switch (p.q.dtype) {
    case DType::f32:
      return fused_f32(p, l);
    case DType::bf16:
      return fused_bf16(p, l);
    default:
      return fused_f16(p, l);
  }
}

}  // namespace gdn::cuda::sm80
