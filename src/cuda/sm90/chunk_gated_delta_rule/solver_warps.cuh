#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SOLVER_WARPS_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SOLVER_WARPS_CUH_

#include <type_traits>

#include "cuda/device/inverse.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/shared.cuh"

// The solver warps: T = (I + A)^-1 in f32, a warp a step, as many steps at a time as there
// are. No product uses the tensor cores, where it would queue behind those of the state.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

/// kRows rows (4 or 8) from `row` on of column `column` of T diag(beta), in two parts of bf16.
template <int kRows = 8>
__device__ __forceinline__ void put_column(bf16 (&tile)[2][kStep * kStep], int column, int row,
                                           const float *x, float beta) {
  using Piece = std::conditional_t<kRows == 8, uint4, uint2>;
  uint32_t high[kRows / 2], low[kRows / 2];
#pragma unroll
  for (int i = 0; i < kRows / 2; ++i) {
    const float a = beta * x[2 * i], b = beta * x[2 * i + 1];
    high[i] = pack2<bf16>(a, b);
    const float2 rounded = unpack2<bf16>(high[i]);
    low[i] = pack2<bf16>(a - rounded.x, b - rounded.y);
  }
  const int place = column * kStep + (row ^ swizzle64(column));
  *reinterpret_cast<Piece *>(&tile[0][place]) = *reinterpret_cast<const Piece *>(high);
  *reinterpret_cast<Piece *>(&tile[1][place]) = *reinterpret_cast<const Piece *>(low);
}

/// Part of a 16 x 16 block that a lane forms of a product: four rows of two columns. Each lane
/// reads a third less for them than for eight rows of one.
struct CornerPart {
  int row, column;  ///< The first ones; the other column is column + 8.

  __device__ __forceinline__ explicit CornerPart(int lane) : row(lane / 8 * 4), column(lane % 8) {}
};

/// Four columns of a part's rows of a block, and what they are multiplied by.
struct CornerOperands {
  float4 rows[4], x, y;

  __device__ __forceinline__ void load(const float *block, const float *x_from, const float *y_from,
                                       int k) {
    x = *reinterpret_cast<const float4 *>(x_from + k);
    y = *reinterpret_cast<const float4 *>(y_from + k);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      rows[j] = *reinterpret_cast<const float4 *>(block + (k + j) * kInverseLd);
    }
  }

  __device__ __forceinline__ void multiply(float (&out)[2][4]) const {
    const float x4[4] = {x.x, x.y, x.z, x.w}, y4[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float r[4] = {rows[j].x, rows[j].y, rows[j].z, rows[j].w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        out[0][i] += r[i] * x4[j];
        out[1][i] += r[i] * y4[j];
      }
    }
  }
};

/// out = the part's rows of a block (columns kInverseLd floats apart) times two columns x, y. A
/// loop: the code of all roles shares one instruction cache. kAhead: operands are loaded a product
/// ahead, for a warp that nobody fills the time for.
template <bool kAhead>
__device__ __forceinline__ void multiply_columns(float (&out)[2][4], const float *block,
                                                 const float *x, const float *y) {
#pragma unroll
  for (int i = 0; i < 4; ++i) out[0][i] = out[1][i] = 0.0F;
  CornerOperands a, b;
  if constexpr (kAhead) a.load(block, x, y, 0);
#pragma unroll 1
  for (int k = 0; k < 16; k += kAhead ? 8 : 4) {
    if constexpr (kAhead) {
      b.load(block, x, y, k + 4);
      a.multiply(out);
      if (k == 0) a.load(block, x, y, 8);
      b.multiply(out);
    } else {
      a.load(block, x, y, k);
      a.multiply(out);
    }
  }
}

/// u = a part of T21 = -T22 (A21 T11), by way of A21's place. T11 and T22 have been kept.
template <bool kAhead>
__device__ __forceinline__ void invert_corner(float (&u)[2][4], float (*a)[kInverseLd],
                                              CornerPart part) {
#pragma unroll 1
  for (int pass = 0; pass < 2; ++pass) {
    multiply_columns<kAhead>(u, pass == 0 ? &a[0][16 + part.row] : &a[16][part.row],
                             &a[part.column][16 * pass], &a[part.column + 8][16 * pass]);
    __syncwarp();
    if (pass == 0) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        *reinterpret_cast<float4 *>(&a[part.column + 8 * i][16 + part.row]) =
            make_float4(-u[i][0], -u[i][1], -u[i][2], -u[i][3]);
      }
      __syncwarp();
    }
  }
}

/// One step: T out of A. Lane (h, c) = (lane / 16, lane % 16) has column c of Thh in y and its part
/// of T21 in u. T12 is zero from the start.
template <class F>
__device__ __forceinline__ void solve_step(Shared<F> &s, int n, int warp, int lane, int phase) {
  float(*const a)[kInverseLd] = s.a[warp];
  const StepGates &g = s.gates[n % F::kTiles];
  bf16(&tile)[2][kStep * kStep] = s.t[n % F::kInputs];
  const CornerPart part(lane);
  float u[2][4];
  wait(&s.a_full[warp], phase);
  const float beta = g.beta[lane];
  {
    float y[16];
    invert_diagonal(a, lane, y);
    __syncwarp();
    keep_diagonal(a, lane, y);
    wait_done(s, n - F::kInputs);
    __syncwarp();
    put_column(tile, lane, lane & 16, y, beta);
    put_column(tile, lane, (lane & 16) + 8, y + 8, beta);
  }
  __syncwarp();
  invert_corner<true>(u, a, part);
  arrive_warp(lane == 0, &s.a_empty[warp]);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int column = part.column + 8 * i;
    put_column<4>(tile, column, 16 + part.row, u[i], __shfl_sync(kFullWarp, beta, column));
  }
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
