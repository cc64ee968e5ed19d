#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SOLVER_WARPS_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SOLVER_WARPS_CUH_

#include "cuda/device/inverse.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/shared.cuh"

// The solver warps: T = (I + A)^-1 in f32, a warp a step, kSolvers steps at a time. No product uses
// the tensor cores, where it would queue behind those of the state.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

/// Eight rows of column `column` of E, in bf16, as `bits`.
__device__ __forceinline__ void put_scaled(bf16 *tile, int column, int row, const uint32_t *bits) {
  *reinterpret_cast<uint4 *>(tile + column * kHalf + (row ^ swizzle128(column))) =
      make_uint4(bits[0], bits[1], bits[2], bits[3]);
}

/// Eight rows of column `column` of T diag(beta), in fp16.
__device__ __forceinline__ void put_plain(bf16 *tile, int column, int row, const float *x,
                                          float beta) {
  *reinterpret_cast<uint4 *>(tile + column * kHalf + ((32 + row) ^ swizzle128(column))) =
      make_uint4(pack2<f16>(beta * x[0], beta * x[1]), pack2<f16>(beta * x[2], beta * x[3]),
                 pack2<f16>(beta * x[4], beta * x[5]), pack2<f16>(beta * x[6], beta * x[7]));
}

/// Where keys repeat, the large terms of a column of W = E^T K cancel against each other and their
/// rounding errors do not. So what rounding took from a column, as a multiple of the one key, is
/// added to the row of the first token that has a key and a beta. Above the diagonal that row is
/// zero, so that it holds the sum of errors to eight bits; the last row, which is as large as any,
/// would round it away again. Errors count by the length of their keys: a token without a key
/// makes none.
struct Correction {
  int row;       ///< Of that token.
  float factor;  ///< 1 / |k| of it; 0 where the step has no key.
};

/// |k| of this lane's token, out of A's diagonal d = beta r_k^2 |k|^2. 0 where beta is: E has
/// neither a row nor a column of that token then.
__device__ __forceinline__ float key_length(float d, const StepGates &g, int lane) {
  const float square = fminf(d * g.beta[lane], 1e38F);  // (beta r_k |k|)^2
  const float beta = fabsf(g.beta_row[lane]);
  return square > 0.0F && beta > 0.0F ? __fdividef(square * rsqrtf(square), beta) : 0.0F;
}

__device__ __forceinline__ Correction find_correction(const StepGates &g, int lane) {
  const float length = g.end[lane].y;
  const uint32_t with_key = __ballot_sync(kFullWarp, length > 0.0F);
  const int row = with_key != 0 ? __ffs(with_key) - 1 : 0;
  const float first = __shfl_sync(kFullWarp, length, row);
  return {row, first > 0.0F ? __fdividef(1.0F, first) : 0.0F};
}

/// kCount rows of E from `row` on, rounded to pairs of bf16, from those of T, x, and the column's
/// beta. Returns the sum of the rounding errors, each times its row's |k|.
template <int kCount>
__device__ __forceinline__ float round_rows(uint32_t (&bits)[kCount / 2], const StepGates &g,
                                            int row, const float (&x)[kCount], float beta) {
  float even = 0.0F, odd = 0.0F;
#pragma unroll
  for (int i = 0; i < kCount; i += 2) {
    const float4 end = *reinterpret_cast<const float4 *>(g.end + row + i);
    const float2 e = make_float2(end.x * (beta * x[i]), end.z * (beta * x[i + 1]));
    bits[i / 2] = pack2<bf16>(e.x, e.y);
    const float2 rounded = unpack2<bf16>(bits[i / 2]);
    even = fmaf(e.x - rounded.x, end.y, even);
    odd = fmaf(e.y - rounded.y, end.w, odd);
  }
  return even + odd;
}

/// Column `lane` of T's diagonal blocks, y, into the T tile, with E = diag(2^(c_last - c) r_k) T
/// diag(beta); zeros above them. Returns the sum of E's rounding errors.
__device__ __forceinline__ float put_diagonal(bf16 *tile, const StepGates &g, int lane,
                                              const float (&y)[16]) {
  const int row = lane & 16;
  const float beta = g.beta[lane];
  put_plain(tile, lane, row, y, beta);
  put_plain(tile, lane, row + 8, y + 8, beta);
  uint32_t bits[8];
  const float errors = round_rows(bits, g, row, y, beta);
  put_scaled(tile, lane, row, bits);
  put_scaled(tile, lane, row + 8, bits + 4);
  if (row != 0) {  // The correction of an earlier step lies there.
    const uint32_t zeros[4] = {};
    put_scaled(tile, lane, 0, zeros);
    put_scaled(tile, lane, 8, zeros);
  }
  return errors;
}

/// The same for eight rows of T21, u.
__device__ __forceinline__ float put_corner(bf16 *tile, const StepGates &g, int lane,
                                            const float (&u)[8]) {
  const int row = 16 + 8 * (lane >> 4), column = lane & 15;
  const float beta = g.beta[column];
  put_plain(tile, column, row, u, beta);
  uint32_t bits[4];
  const float errors = round_rows(bits, g, row, u, beta);
  put_scaled(tile, column, row, bits);
  return errors;
}

/// One step: T out of A. Lane (h, c) = (lane / 16, lane % 16) has column c of Thh in y and rows
/// 8 h .. 8 h + 7 of column c of T21 in u.
__device__ __forceinline__ void solve_step(Shared &s, StepGates &g, int warp, int lane, int phase) {
  float(*const a)[kInverseLd] = s.a[warp];
  bf16 *const tile = s.t[warp];
  float r[8], u[8], errors;
  wait(&s.a_full[warp], phase);
  g.end[lane].y = key_length(a[lane][lane], g, lane);
  {
    float y[16];
    invert_diagonal(a, lane, y);
    if (lane >= 16) keep_diagonal(a, lane, y);
    multiply_corner(a, lane, r,
                    [&](int k) { return __shfl_sync(kFullWarp, y[k & 15], lane & 15); });
    wait(&s.t_empty[warp], phase ^ 1);
    __syncwarp();
    errors = put_diagonal(tile, g, lane, y);
  }
  finish_corner(a, lane, u, r);
  __syncwarp();
  arrive_warp(lane == 0, &s.a_empty[warp]);
  const Correction correction = find_correction(g, lane);
  // Column c is y of lane c over u of lanes c and 16 + c; column 16 + c is y of lane 16 + c.
  const float corner = put_corner(tile, g, lane, u), other = __shfl_xor_sync(kFullWarp, corner, 16);
  if (lane < 16) errors += corner + other;
  if (correction.factor > 0.0F && lane >= correction.row) {
    // T's diagonal is 1.
    const float diagonal = lane == correction.row ? g.end[lane].x * g.beta[lane] : 0.0F;
    tile[lane * kHalf + (correction.row ^ swizzle128(lane))] =
        from_float<bf16>(to_float(from_float<bf16>(diagonal)) + errors * correction.factor);
  }
  proxy_fence();
  __syncwarp();
  arrive_warp(lane == 0, &s.t_full[warp]);
}

__device__ __forceinline__ void solve_steps(Shared &s, int warp, int lane, int total) {
  int phase = 0;
  for (int n = warp; n < total; n += kSolvers, phase ^= 1) {
    solve_step(s, s.gates[n % kTiles], warp, opaque(lane), phase);
  }
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SOLVER_WARPS_CUH_
