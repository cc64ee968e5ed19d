#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SEGMENT_GROWTH_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SEGMENT_GROWTH_CUH_

#include "core/delta_rule.h"
#include "cuda/device/element.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/shared.cuh"

// What steps leave of the state that comes into them. What a token does to a state's length is at
// most a factor of
//
//     e^g max(1, |1 - beta |k|^2|)
//
// so that the product of these over the steps up to a segment's end bounds what is left of the
// state that came into the first of them.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

/// Base-2 logarithm of the decays of a step of whole tokens, by a warp.
__device__ __forceinline__ float step_decay(const DeltaRule &p, int64_t batch, int64_t token,
                                            int head, int lane) {
  return warp_sum(token_decay(p, batch, token + lane, head)) * kLog2E;
}

/// Base-2 logarithm of max(1, x); of NaN NaN.
__device__ __forceinline__ float log2_above_one(float x) { return x <= 1.0F ? 0.0F : __log2f(x); }

/// |k|^2 of a token, as the kernels use k. kAligned: keys start on 16 bytes.
template <bool kAligned>
__device__ __forceinline__ float key_square(const DeltaRule &p, int64_t batch, int64_t token,
                                            int head) {
  if (p.qk_l2norm) return 1.0F;
  const bf16 *const k = p.k.at<const bf16>(batch, token, p.heads.key_head(head));
  float sum = 0.0F;
  if constexpr (kAligned) {
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i) {
      const uint4 x = reinterpret_cast<const uint4 *>(k)[i];
      for (const uint32_t e : {x.x, x.y, x.z, x.w}) {
        const float2 f = unpack2<bf16>(e);
        sum = fmaf(f.x, f.x, fmaf(f.y, f.y, sum));
      }
    }
  } else {
#pragma unroll 8
    for (int i = 0; i < kDim; ++i) sum = fmaf(to_float(k[i]), to_float(k[i]), sum);
  }
  return sum;
}

/// Base-2 logarithm of what else the bound of the step has. kAligned: keys start on 16 bytes.
template <bool kAligned>
__device__ __forceinline__ float step_growth(const DeltaRule &p, int64_t batch, int64_t token,
                                             int head, int lane) {
  const float square = key_square<kAligned>(p, batch, token + lane, head);
  const float beta = token_beta(p, batch, token + lane, head);
  return warp_sum(log2_above_one(fabsf(1.0F - beta * square)));
}

/// Whether all keys start on 16 bytes.
inline bool keys_aligned(const DeltaRule &p) {
  return reinterpret_cast<uintptr_t>(p.k.data) % 16 == 0 && p.k.stride[0] % 8 == 0 &&
         p.k.stride[1] % 8 == 0 && p.k.stride[2] % 8 == 0;
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SEGMENT_GROWTH_CUH_
