#ifndef GDN_CUDA_SM90_SOLVER_CUH_
#define GDN_CUDA_SM90_SOLVER_CUH_

#include "cuda/device/inverse.cuh"
#include "cuda/sm90/pipeline.cuh"

// The solver warps: T = (I + A)^-1 in f32, a warp a step, kSolvers steps at a time. No product uses
// the tensor cores, where it would queue behind those of the state.

namespace gdn::cuda::sm90 {

/// Eight rows of column `column` of E, in bf16, as `bits`.
__device__ __forceinline__ void put_scaled(bf16 *tile, int column, int row, const uint32_t *bits) {
  *reinterpret_cast<uint4 *>(tile + column * kHalf + (row ^ ((column & 7) * 8))) =
      make_uint4(bits[0], bits[1], bits[2], bits[3]);
}

/// Eight rows of column `column` of T diag(beta), in fp16.
__device__ __forceinline__ void put_plain(bf16 *tile, int column, int row, const float *x,
                                          float beta) {
  *reinterpret_cast<uint4 *>(tile + column * kHalf + ((32 + row) ^ ((column & 7) * 8))) =
      make_uint4(pack2<f16>(beta * x[0], beta * x[1]), pack2<f16>(beta * x[2], beta * x[3]),
                 pack2<f16>(beta * x[4], beta * x[5]), pack2<f16>(beta * x[6], beta * x[7]));
}

/// |k| of this lane's token, out of A's diagonal beta r_k^2 |k|^2. 0 where beta is: E has neither a
/// row nor a column of that token then.
__device__ __forceinline__ float key_length(const float (*a)[kInverseLd], const StepGates &g,
                                            int lane) {
  const float square = fminf(a[lane][lane] * g.beta[lane], 1e38F);  // (beta r_k |k|)^2
  const float beta = fabsf(g.beta_row[lane]);
  return square > 0.0F && beta > 0.0F ? __fdividef(square * rsqrtf(square), beta) : 0.0F;
}

/// kCount rows of E from `row` on, rounded to pairs of bf16, from those of T, x, and the column's
/// beta. Returns the sum of the rounding errors, each times its row's |k|.
template <int kCount>
__device__ __forceinline__ float round_rows(uint32_t (&bits)[kCount / 2], const StepGates &g,
                                            int row, const float (&x)[kCount], float beta) {
  float errors = 0.0F;
#pragma unroll
  for (int i = 0; i < kCount; i += 2) {
    const float4 end = *reinterpret_cast<const float4 *>(g.end + row + i);
    const float2 e = make_float2(end.x * (beta * x[i]), end.z * (beta * x[i + 1]));
    bits[i / 2] = pack2<bf16>(e.x, e.y);
    const float2 rounded = unpack2<bf16>(bits[i / 2]);
    errors = fmaf(e.x - rounded.x, end.y, errors);
    errors = fmaf(e.y - rounded.y, end.w, errors);
  }
  return errors;
}

/// The columns that a lane holds (y and u of invert32) into the T tile, with
/// E = diag(2^(c_last - c) r_k) T diag(beta).
///
/// Where keys repeat, the large terms of a column of W = E^T K cancel against each other and their
/// rounding errors do not. So what rounding took from a column, as a multiple of the one key, is
/// added to the row of the first token that has a key and a beta. Above the diagonal that row is
/// zero, so that it holds the sum of errors to eight bits; the last row, which is as large as any,
/// would round it away again. Errors count by the length of their keys: a token without a key
/// makes none.
///
/// `first_row` is that row in the last step of this tile, now in this one.
__device__ __forceinline__ void put_columns(bf16 *tile, const StepGates &g, int lane,
                                            const float (&y)[16], const float (&u)[8],
                                            int &first_row) {
  const int h = lane >> 4, c = lane & 15;
  const float beta_lane = g.beta[lane], beta_c = g.beta[c];
  put_plain(tile, lane, 16 * h, y, beta_lane);
  put_plain(tile, lane, 16 * h + 8, y + 8, beta_lane);
  put_plain(tile, c, 16 + 8 * h, u, beta_c);
  uint32_t y_bits[8], u_bits[4];
  const float y_errors = round_rows(y_bits, g, 16 * h, y, beta_lane);
  const float u_errors = round_rows(u_bits, g, 16 + 8 * h, u, beta_c);
  put_scaled(tile, lane, 16 * h, y_bits);
  put_scaled(tile, lane, 16 * h + 8, y_bits + 4);
  put_scaled(tile, c, 16 + 8 * h, u_bits);
  // Column c is y of lane c over u of lanes c and 16 + c; column 16 + c is y of lane 16 + c.
  const float other = __shfl_xor_sync(kFullWarp, u_errors, 16);
  const float errors = y_errors + (h == 0 ? u_errors + other : 0.0F);
  bf16 *const column = tile + lane * kHalf;
  const int swizzle = (lane & 7) * 8;
  // Nothing else clears the block above the diagonal.
  if (h != 0 && first_row < 16) column[first_row ^ swizzle] = from_float<bf16>(0.0F);
  const uint32_t with_key = __ballot_sync(kFullWarp, g.end[lane].y > 0.0F);
  first_row = with_key != 0 ? __ffs(with_key) - 1 : 0;
  const float length = g.end[first_row].y;
  if (length > 0.0F && lane >= first_row) {
    bf16 *const at = column + (first_row ^ swizzle);
    const float diagonal = lane == first_row ? to_float(*at) : 0.0F;
    *at = from_float<bf16>(diagonal + __fdividef(errors, length));
  }
}

__device__ __forceinline__ void solve_steps(Shared &s, int warp, int lane, int total) {
  int phase = 0, first_row = 0;
  for (int n = warp; n < total; n += kSolvers, phase ^= 1) {
    StepGates &g = s.gates[n % kTiles];
    float(*a)[kInverseLd] = s.a[warp];
    wait(&s.a_full[warp], phase);
    g.end[lane].y = key_length(a, g, lane);  // Before A is handed back.
    float y[16], u[8];
    invert32(a, lane, y, u);
    __syncwarp();
    arrive_warp(lane == 0, &s.a_empty[warp]);
    wait(&s.t_empty[warp], phase ^ 1);
    put_columns(s.t[warp], g, lane, y, u, first_row);
    proxy_fence();
    __syncwarp();
    arrive_warp(lane == 0, &s.t_full[warp]);
  }
}

}  // namespace gdn::cuda::sm90

#endif  // GDN_CUDA_SM90_SOLVER_CUH_
