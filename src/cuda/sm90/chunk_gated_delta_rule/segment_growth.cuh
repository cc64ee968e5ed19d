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
// state that came into the first of them. Little code: it runs once a call, out of no cache.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

/// Base-2 logarithm of the decays of a step of whole tokens, by a warp.
__device__ __forceinline__ float step_decay(const DeltaRule &p, int64_t batch, int64_t token,
                                            int head, int lane) {
  return warp_sum(token_decay(p, batch, token + lane, head)) * kLog2E;
}

/// Base-2 logarithm of max(1, x); of NaN NaN.
__device__ __forceinline__ float log2_above_one(float x) { return x <= 1.0F ? 0.0F : __log2f(x); }

/// Four elements of a row.
template <bool kAligned>
__device__ __forceinline__ float square_sum_of_four(const bf16 *x, int lane) {
  uint2 e;
  if constexpr (kAligned) {
    e = reinterpret_cast<const uint2 *>(x)[lane];
  } else {
    const auto *const at = reinterpret_cast<const uint16_t *>(x) + 4 * lane;
    e = make_uint2(at[0] | static_cast<uint32_t>(at[1]) << 16, at[2] | static_cast<uint32_t>(at[3])
                                                                           << 16);
  }
  const float2 a = unpack2<bf16>(e.x), b = unpack2<bf16>(e.y);
  return fmaf(a.x, a.x, fmaf(a.y, a.y, fmaf(b.x, b.x, b.y * b.y)));
}

/// Base-2 logarithm of what else the bound of the step has. kAligned: keys start on 16 bytes.
template <bool kAligned>
__device__ __forceinline__ float step_growth(const DeltaRule &p, int64_t batch, int64_t token,
                                             int head, int lane) {
  float square = 1.0F;  // |k|^2 of the lane's token, as the kernels use k.
  if (!p.qk_l2norm) {
    const bf16 *const k = p.k.at<const bf16>(batch, token, p.heads.key_head(head));
    constexpr int kRows = kAligned ? 8 : 2;
#pragma unroll 1
    for (int r = 0; r < kStep; r += kRows) {
      float sum[kRows];
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        sum[i] = square_sum_of_four<kAligned>(k + (r + i) * p.k.stride[1], lane);
      }
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const float of_row = warp_sum(sum[i]);
        if (lane == r + i) square = of_row;
      }
    }
  }
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
