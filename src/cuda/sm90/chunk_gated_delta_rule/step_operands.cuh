#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_STEP_OPERANDS_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_STEP_OPERANDS_CUH_

#include "cuda/sm90/chunk_gated_delta_rule/shared.cuh"

// V, X and V' of a step in the registers of a state warpgroup: element 4 j + i of a lane belongs to
// token 8 j + 2 (lane % 4) + i % 2 and value column 16 warp + lane / 4 + 8 (i / 2).

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

/// V out of 64 columns of a step, in pairs of tokens.
__device__ __forceinline__ void read_v(uint32_t (&vv)[8], const bf16 *v, int warp, int lane) {
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const int r = j * 16 + (lane & 7) + ((lane >> 4) & 1) * 8;
    const int c = warp * 16 + ((lane >> 3) & 1) * 8;
    uint32_t(&quad)[4] = *reinterpret_cast<uint32_t(*)[4]>(vv + 4 * j);
    ldmatrix_trans(quad, &v[r * kHalf + (c ^ swizzle128(r))]);
  }
}

/// X = V - 2^c U.
__device__ __forceinline__ void subtract(float (&x)[16], const float *u, const uint32_t (&vv)[8],
                                         const float2 (&e)[4]) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const float2 a = unpack2<bf16>(vv[2 * j]), b = unpack2<bf16>(vv[2 * j + 1]);
    x[4 * j] = a.x - e[j].x * u[4 * j];
    x[4 * j + 1] = a.y - e[j].y * u[4 * j + 1];
    x[4 * j + 2] = b.x - e[j].x * u[4 * j + 2];
    x[4 * j + 3] = b.y - e[j].y * u[4 * j + 3];
  }
}

/// to = x times the factors of its tokens.
__device__ __forceinline__ void scale(float (&to)[16], const float *x, const float2 (&e)[4]) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    to[4 * j] = e[j].x * x[4 * j];
    to[4 * j + 1] = e[j].y * x[4 * j + 1];
    to[4 * j + 2] = e[j].x * x[4 * j + 2];
    to[4 * j + 3] = e[j].y * x[4 * j + 3];
  }
}

/// x as left operand.
__device__ __forceinline__ void round_all(uint32_t (&to)[8], const float (&x)[16]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) to[i] = pack2<bf16>(x[2 * i], x[2 * i + 1]);
}

/// What is left of x after rounding to `high`.
__device__ __forceinline__ void round_rest(uint32_t (&to)[8], const float (&x)[16],
                                           const uint32_t (&high)[8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float2 rounded = unpack2<bf16>(high[i]);
    to[i] = pack2<bf16>(x[2 * i] - rounded.x, x[2 * i + 1] - rounded.y);
  }
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_STEP_OPERANDS_CUH_
