#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SOLVER_WARPS_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SOLVER_WARPS_CUH_

#include "cuda/device/inverse.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/shared.cuh"

// The solver warps: T = (I + A)^-1 in f32, a warp a step, as many steps at a time as there
// are. No product uses the tensor cores, where it would queue behind those of the state.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

/// Eight rows from `row` on of column `column` of T diag(beta), in two parts of bf16; the first is
/// left in `high`.
__device__ __forceinline__ void put_column(bf16 (&tile)[2][kStep * kStep], int column, int row,
                                           const float *x, float beta, uint32_t *high) {
  uint32_t low[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float a = beta * x[2 * i], b = beta * x[2 * i + 1];
    high[i] = pack2<bf16>(a, b);
    const float2 rounded = unpack2<bf16>(high[i]);
    low[i] = pack2<bf16>(a - rounded.x, b - rounded.y);
  }
  const int place = column * kStep + (row ^ swizzle64(column));
  *reinterpret_cast<uint4 *>(&tile[0][place]) = make_uint4(high[0], high[1], high[2], high[3]);
  *reinterpret_cast<uint4 *>(&tile[1][place]) = make_uint4(low[0], low[1], low[2], low[3]);
}

/// out[0 .. 7] = sign * (rows 8 h .. 8 h + 7 of a 16 x 16 block, columns kInverseLd floats apart) *
/// z[0 .. 15]. A loop: the code of all roles shares one instruction cache.
__device__ __forceinline__ void multiply_column(float (&out)[8], const float *block, const float *z,
                                                float sign) {
#pragma unroll
  for (int i = 0; i < 8; ++i) out[i] = 0.0F;
#pragma unroll 1
  for (int k = 0; k < 16; k += 4) {
    const float4 z4 = *reinterpret_cast<const float4 *>(z + k);
    const float v[4] = {sign * z4.x, sign * z4.y, sign * z4.z, sign * z4.w};
    float4 f[4], g[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      f[j] = *reinterpret_cast<const float4 *>(block + (k + j) * kInverseLd);
      g[j] = *reinterpret_cast<const float4 *>(block + (k + j) * kInverseLd + 4);
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      out[0] += f[j].x * v[j];
      out[1] += f[j].y * v[j];
      out[2] += f[j].z * v[j];
      out[3] += f[j].w * v[j];
      out[4] += g[j].x * v[j];
      out[5] += g[j].y * v[j];
      out[6] += g[j].z * v[j];
      out[7] += g[j].w * v[j];
    }
  }
}

/// u = rows `row` .. row + 7 of column c of T21 = -T22 (A21 T11), by way of A21's place. T11 and
/// T22 have been kept.
__device__ __forceinline__ void invert_corner(float (&u)[8], float (*a)[kInverseLd], int c,
                                              int row) {
#pragma unroll 1
  for (int pass = 0; pass < 2; ++pass) {
    multiply_column(u, pass == 0 ? &a[0][16 + row] : &a[16][row], &a[c][16 * pass],
                    pass == 0 ? -1.0F : 1.0F);
    __syncwarp();
    if (pass == 0) {
      *reinterpret_cast<float4 *>(&a[c][16 + row]) = make_float4(u[0], u[1], u[2], u[3]);
      *reinterpret_cast<float4 *>(&a[c][20 + row]) = make_float4(u[4], u[5], u[6], u[7]);
      __syncwarp();
    }
  }
}

/// Whether keys of a step (nearly) repeat, so that rounding errors of X and V' add up along them
/// instead of averaging out: a quarter of T's columns within its diagonal blocks are as long as one
/// key makes them with beta of 1/2 / |k|^2. Random keys come to 1.04 and less. x: the lane's column
/// times its beta, in pairs. Warp-uniform.
__device__ __forceinline__ bool keys_repeat(const uint32_t (&x)[8], float beta) {
  constexpr float kLong = 4.0F / 3.0F;  // Of squares: 1 + b^2 + b^2 (1 - b)^2 + ...
  constexpr int kColumns = kStep / 4;
  __nv_bfloat162 sums[2] = {};  // One would be a chain.
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const auto pair = *reinterpret_cast<const __nv_bfloat162 *>(&x[i]);
    sums[i % 2] = __hfma2(pair, pair, sums[i % 2]);
  }
  const float2 sum = __bfloat1622float2(__hadd2(sums[0], sums[1]));
  return __popc(__ballot_sync(kFullWarp, sum.x + sum.y > kLong * beta * beta)) >= kColumns;
}

/// One step: T out of A. Lane (h, c) = (lane / 16, lane % 16) has column c of Thh in y and rows
/// 8 h .. 8 h + 7 of column c of T21 in u. T12 is zero from the start.
template <class F>
__device__ __forceinline__ void solve_step(Shared<F> &s, int n, int warp, int lane, int phase) {
  float(*const a)[kInverseLd] = s.a[warp];
  const StepGates &g = s.gates[n % F::kTiles];
  bf16(&tile)[2][kStep * kStep] = s.t[n % F::kInputs];
  const int c = lane & 15, row = 8 * (lane >> 4);
  float u[8];
  wait(&s.a_full[warp], phase);
  const float beta = g.beta[lane], corner_beta = g.beta[c];
  {
    float y[16];
    invert_diagonal(a, lane, y);
    __syncwarp();
    keep_diagonal(a, lane, y);
    wait_done(s, n - F::kInputs);
    uint32_t high[8];
    put_column(tile, lane, lane & 16, y, beta, high);
    put_column(tile, lane, (lane & 16) + 8, y + 8, beta, high + 4);
    // The state has asked for the answer that lay there before A was made.
    const int repeats = keys_repeat(high, beta) ? 1 : 0;
    if (lane == 0) s.repeats[n % F::kAhead] = (n / F::kAhead & 1) * 2 + repeats;
  }
  __syncwarp();
  invert_corner(u, a, c, row);
  arrive_warp(lane == 0, &s.a_empty[warp]);
  uint32_t high[4];
  put_column(tile, c, 16 + row, u, corner_beta, high);
  proxy_fence();
  __syncwarp();
  arrive_warp(lane == 0, &s.ready[n % F::kAhead]);
}

template <class F>
__device__ __forceinline__ void solve_steps(Shared<F> &s, int warp, int lane, int total) {
  int phase = 0;
  for (int n = warp; n < total; n += F::kSolvers, phase ^= 1) {
    solve_step(s, n, warp, opaque(lane), phase);
  }
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SOLVER_WARPS_CUH_
