#ifndef GDN_CUDA_SM90_SOLVER_CUH_
#define GDN_CUDA_SM90_SOLVER_CUH_

#include "cuda/device/inverse.cuh"
#include "cuda/sm90/pipeline.cuh"

// The solver warps: T = (I + A)^-1 in f32, a warp a step, kSolvers steps at a time. No product uses
// the tensor cores, where it would queue behind those of the state.

namespace gdn::cuda::sm90 {

/// Eight rows of column `column` of diag(to_end) T diag(beta), in bf16, as `bits`.
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

/// to_end * beta * x for kCount rows from `row` on, rounded to pairs of bf16. Returns the sum of
/// the rounding errors, each in units of a normalised key.
template <bool kNorms, int kCount>
__device__ __forceinline__ float round_rows(uint32_t (&bits)[kCount / 2], const StepGates &g,
                                            int row, const float (&x)[kCount], float beta) {
  float errors = 0.0F;
#pragma unroll
  for (int i = 0; i < kCount; i += 2) {
    const float2 scale = *reinterpret_cast<const float2 *>(g.to_end + row + i);
    const float2 e = make_float2(scale.x * (beta * x[i]), scale.y * (beta * x[i + 1]));
    bits[i / 2] = pack2<bf16>(e.x, e.y);
    const float2 rounded = unpack2<bf16>(bits[i / 2]);
    float e0 = e.x - rounded.x, e1 = e.y - rounded.y;
    if constexpr (kNorms) {
      const float2 norm = *reinterpret_cast<const float2 *>(g.inverse_norm + row + i);
      e0 *= norm.x;
      e1 *= norm.y;
    }
    errors += e0 + e1;
  }
  return errors;
}

/// The columns that a lane holds (y and u of invert32) into the T tile.
///
/// What rounding took from a column of E = diag(to_end) T diag(beta) is added to its first row, so
/// that the column's sum keeps its precision, and with it W = E^T K where keys repeat: the large
/// terms of a column cancel against each other there and their errors do not. Above the diagonal
/// the first row is zero, so that it holds the sum of errors to eight bits; the last row, which is
/// as large as any, would round it away again.
template <bool kNorms>
__device__ __forceinline__ void put_columns(bf16 *tile, const StepGates &g, int lane,
                                            const float (&y)[16], const float (&u)[8]) {
  const int h = lane >> 4, c = lane & 15;
  const float beta_lane = g.beta[lane], beta_c = g.beta[c];
  put_plain(tile, lane, 16 * h, y, beta_lane);
  put_plain(tile, lane, 16 * h + 8, y + 8, beta_lane);
  put_plain(tile, c, 16 + 8 * h, u, beta_c);
  uint32_t y_bits[8], u_bits[4];
  const float y_errors = round_rows<kNorms>(y_bits, g, 16 * h, y, beta_lane);
  const float u_errors = round_rows<kNorms>(u_bits, g, 16 + 8 * h, u, beta_c);
  put_scaled(tile, lane, 16 * h, y_bits);
  put_scaled(tile, lane, 16 * h + 8, y_bits + 4);
  put_scaled(tile, c, 16 + 8 * h, u_bits);
  // Column c is y of lane c over u of lanes c and 16 + c; column 16 + c is y of lane 16 + c.
  const float other = __shfl_xor_sync(kFullWarp, u_errors, 16);
  float first = y_errors + (h == 0 ? u_errors + other : 0.0F);
  if constexpr (kNorms) first = __fdividef(first, g.inverse_norm[0]);
  if (lane == 0) first += unpack2<bf16>(y_bits[0]).x;  // All of its rows are below the diagonal.
  tile[lane * kHalf + ((lane & 7) * 8)] = from_float<bf16>(first);
}

template <bool kNorms>
__device__ __forceinline__ void solve_steps(Shared &s, int warp, int lane, int total) {
  int phase = 0;
  for (int n = warp; n < total; n += kSolvers, phase ^= 1) {
    const StepGates &g = s.gates[n % kTiles];
    float(*a)[kInverseLd] = s.a[warp];
    wait(&s.a_full[warp], phase);
    float y[16], u[8];
    invert32(a, lane, y, u);
    __syncwarp();
    arrive_warp(lane == 0, &s.a_empty[warp]);
    wait(&s.t_empty[warp], phase ^ 1);
    put_columns<kNorms>(s.t[warp], g, lane, y, u);  // The block above the diagonal stays zero.
    proxy_fence();
    __syncwarp();
    arrive_warp(lane == 0, &s.t_full[warp]);
  }
}

}  // namespace gdn::cuda::sm90

#endif  // GDN_CUDA_SM90_SOLVER_CUH_
