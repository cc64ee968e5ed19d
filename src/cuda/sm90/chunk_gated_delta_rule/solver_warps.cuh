#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SOLVER_WARPS_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SOLVER_WARPS_CUH_

#include "cuda/device/inverse.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/shared.cuh"

// The solver warps: T = (I + A)^-1 in f32, a warp a step, kSolvers steps at a time. No product uses
// the tensor cores, where it would queue behind those of the state.

namespace gdn::cuda::sm90 {

/// Eight rows from `row` on of column `column` of T diag(beta), in two parts of fp16.
__device__ __forceinline__ void put_column(f16 (&tile)[2][kStep * kStep], int column, int row,
                                           const float *x, float beta) {
  uint32_t high[4], low[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float a = beta * x[2 * i], b = beta * x[2 * i + 1];
    high[i] = pack2<f16>(a, b);
    const float2 rounded = unpack2<f16>(high[i]);
    low[i] = pack2<f16>(a - rounded.x, b - rounded.y);
  }
  const int place = column * kStep + (((row >> 3) ^ ((column >> 1) & 3)) * 8);
  *reinterpret_cast<uint4 *>(&tile[0][place]) = make_uint4(high[0], high[1], high[2], high[3]);
  *reinterpret_cast<uint4 *>(&tile[1][place]) = make_uint4(low[0], low[1], low[2], low[3]);
}

/// One step: T out of A. Lane (h, c) = (lane / 16, lane % 16) has column c of Thh in y and rows
/// 8 h .. 8 h + 7 of column c of T21 in u. T12 is zero from the start.
__device__ __forceinline__ void solve_step(Shared &s, int n, int warp, int lane, int phase) {
  float(*const a)[kInverseLd] = s.a[warp];
  const StepGates &g = s.gates[n % kTiles];
  f16(&tile)[2][kStep * kStep] = s.t[n % kInverses];
  float r[8], u[8];
  wait(&s.a_full[warp], phase);
  const float beta = g.beta[lane], corner_beta = g.beta[lane & 15];
  {
    float y[16];
    invert_diagonal(a, lane, y);
    if (lane >= 16) keep_diagonal(a, lane, y);
    multiply_corner(a, lane, r,
                    [&](int k) { return __shfl_sync(kFullWarp, y[k & 15], lane & 15); });
    wait_done(s, n - kInverses);
    __syncwarp();
    put_column(tile, lane, lane & 16, y, beta);
    put_column(tile, lane, (lane & 16) + 8, y + 8, beta);
  }
  finish_corner(a, lane, u, r);
  __syncwarp();
  arrive_warp(lane == 0, &s.a_empty[warp]);
  put_column(tile, lane & 15, 16 + 8 * (lane >> 4), u, corner_beta);
  proxy_fence();
  __syncwarp();
  arrive_warp(lane == 0, &s.ready[n % kReady]);
}

__device__ __forceinline__ void solve_steps(Shared &s, int warp, int lane, int total) {
  int phase = 0;
  for (int n = warp; n < total; n += kSolvers, phase ^= 1) {
    solve_step(s, n, warp, opaque(lane), phase);
  }
}

}  // namespace gdn::cuda::sm90

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SOLVER_WARPS_CUH_
