#ifndef GDN_CUDA_FUSED_STEP_CUH_
#define GDN_CUDA_FUSED_STEP_CUH_

#include <type_traits>

#include "cuda/device/copy.cuh"
#include "cuda/device/functions.cuh"
#include "cuda/device/inverse.cuh"

// What the blocks of the portable fused kernel compute in each step besides the chain of states.

namespace gdn::cuda {

constexpr int kStep = 32;  ///< Tokens a step.

/// Gates of one step, a token a lane. Decays are in base 2; r is 1 / |k| or 1 / |q| under l2norm,
/// else 1.
struct alignas(16) StepGates {
  float c[kStep];            ///< Sum of log decays from the step's first token on.
  float key_decay[kStep];    ///< 2^c r_k.
  float query_decay[kStep];  ///< scale 2^c r_q.
  float to_end[kStep];       ///< 2^(c_last - c) r_k.
  float beta[kStep];
  // fp16 alone: its exponent does not reach what decays and betas do. Row i of T diag(beta) carries
  // a factor of about beta_i and is kept without its power of two, `power`; the update of the state
  // is multiplied by `gain` and the state divided by it again. Both are powers of two.
  float power[kStep];
  float gain;
  float decay;  ///< 2^c_last.
};

template <class E>
constexpr bool kNarrowRange = std::is_same_v<E, f16>;

/// The power of two at or below |x|, between 2^-60 and 2^60; 1 for 0.
__device__ __forceinline__ float power_below(float x) {
  const int e = static_cast<int>(__float_as_uint(x) >> 23 & 0xff) - 127;
  return e == -127 ? 1.0F : __int_as_float((127 + min(max(e, -60), 60)) << 23);
}

template <class E>
struct FusedShared {
  static constexpr int kLdT = padded<E>(kStep);
  StepGates gates[2];
  alignas(16) float norm_k[kStep], norm_q[kStep];  ///< rsqrt(sum x^2 + eps), or 1.
  alignas(16) float a[kStep][kInverseLd];          ///< a[j][i] = A[i, j].
  E t_high[kStep * kLdT];                          ///< T diag(beta) rounded to E,
  E t_low[kStep * kLdT];                           ///< and what that rounding left (16-bit types).
  E p[kStep * kLdT];                               ///< Masked, decayed and scaled Q K^T.
};

/// Bytes of a block's shared memory.
template <class E>
size_t fused_shared_bytes(int key_dim, int columns, int stages) {
  const size_t tile = static_cast<size_t>(kStep) *
                      static_cast<size_t>(2 * padded<E>(key_dim) + padded<E>(columns)) * sizeof(E);
  return (sizeof(FusedShared<E>) + 15) / 16 * 16 + static_cast<size_t>(stages) * tile;
}

/// Under l2norm: rsqrt(sum x^2 + eps) of the rows of the K and Q tiles, also into the gates.
template <class E>
__device__ __forceinline__ void apply_norms(FusedShared<E> &s, StepGates &g, const E *k, const E *q,
                                            int ld, int key_dim, int warp, int warps, int lane) {
  for (int r = warp; r < 2 * kStep; r += warps) {
    const int t = r & (kStep - 1);
    const E *row = (r < kStep ? k : q) + t * ld;
    float sum = 0.0F;
    for (int i = lane; i < key_dim; i += 32) sum = fmaf(to_float(row[i]), to_float(row[i]), sum);
    const float norm = rsqrtf(warp_sum(sum) + kL2NormEps);
    if (lane != 0) continue;
    if (r < kStep) {
      s.norm_k[t] = norm;
      g.key_decay[t] *= norm;
      g.to_end[t] *= norm;
    } else {
      s.norm_q[t] = norm;
      g.query_decay[t] *= norm;
    }
  }
}

/// One 16 x 16 block of A (unit < 4) or P, from the K and Q tiles.
template <class E>
__device__ __forceinline__ void masked_products(FusedShared<E> &s, const StepGates &g, const E *k,
                                                const E *q, int ld, int key_dim, float scale,
                                                int unit, int lane) {
  const bool is_p = unit >= 4;
  const int rows = ((unit >> 1) & 1) * 16, columns = (unit & 1) * 16;
  if (columns > rows) return;  // Above the diagonal: never read.
  float c[2][4] = {};
  const E *left = (is_p ? q : k) + rows * ld;
  for (int i = 0; i < key_dim; i += 16) {
    LeftTile<E> a;
    left_from_shared(a, left + i, ld, lane);
    multiply_add<Right::n_major>(c[0], c[1], a, k + columns * ld + i, ld, lane);
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int row = rows + (lane >> 2) + (e >> 1) * 8;
      const int column = columns + j * 8 + (lane & 3) * 2 + (e & 1);
      const float x = c[j][e] * s.norm_k[column];
      if (is_p) {
        const float y = scale * s.norm_q[row] * exp2_fast(g.c[row] - g.c[column]) * x;
        s.p[row * FusedShared<E>::kLdT + column] = from_float<E>(row >= column ? y : 0.0F);
      } else if (row > column) {
        s.a[column][row] = g.beta[row] * s.norm_k[row] * exp2_fast(g.c[row] - g.c[column]) * x;
      }
    }
  }
}

/// T diag(beta) with T = (I + A)^-1, in two parts, by one warp. The block above the diagonal is
/// never read.
template <class E>
__device__ __forceinline__ void invert(FusedShared<E> &s, const StepGates &g, int lane) {
  float y[16], u[8];
  invert32(s.a, lane, y, u);
  const auto put = [&](int row, int column, float x) {
    float t = g.beta[column] * x;
    if constexpr (kNarrowRange<E>) t /= g.power[row];
    const E high = from_float<E>(t);
    s.t_high[row * FusedShared<E>::kLdT + column] = high;
    if constexpr (sizeof(E) == 2) {
      s.t_low[row * FusedShared<E>::kLdT + column] = from_float<E>(t - to_float(high));
    }
  };
  const int h = lane >> 4, c = lane & 15;
#pragma unroll
  for (int i = 0; i < 16; ++i) put(16 * h + i, lane, y[i]);
#pragma unroll
  for (int i = 0; i < 8; ++i) put(16 + 8 * h + i, c, u[i]);
}

/// Gates of a step out of a token's log decay and beta (0 past the end), without norms.
template <class E>
__device__ __forceinline__ void write_gates(StepGates &s, float g, float beta, float scale,
                                            int lane) {
  const float c = warp_scan(g * kLog2E, lane);
  const float last = __shfl_sync(kFullWarp, c, kStep - 1);
  const float from_start = exp2_fast(c), to_end = exp2_fast(last - c);
  s.c[lane] = c;
  s.key_decay[lane] = from_start;
  s.query_decay[lane] = scale * from_start;
  s.to_end[lane] = to_end;
  s.beta[lane] = beta;
  if (lane == kStep - 1) s.decay = from_start;
  if constexpr (kNarrowRange<E>) {
    s.power[lane] = power_below(beta);
    float most = fabsf(beta) * to_end;
#pragma unroll
    for (int i = 16; i > 0; i >>= 1) most = fmaxf(most, __shfl_xor_sync(kFullWarp, most, i));
    s.gain = fmaxf(1.0F, 1.0F / power_below(most));
  }
}

/// x[j][e] *= factor[token] for the tokens of a [16, 32] accumulator.
__device__ __forceinline__ void scale_tokens(float (&x)[4][4], const float *factor, int lane) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const float2 f = *reinterpret_cast<const float2 *>(factor + j * 8 + (lane & 3) * 2);
    x[j][0] *= f.x, x[j][1] *= f.y, x[j][2] *= f.x, x[j][3] *= f.y;
  }
}

/// left *= T'^T for a [16, 32] left operand in accumulators, where t is lower triangular, [n][k].
template <class E>
__device__ __forceinline__ void multiply_triangle(float (&d)[4][4], const LeftTile<E> (&a)[2],
                                                  const E *t, int lane) {
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int k = 0; k <= n; ++k) {
      multiply_add<Right::n_major>(d[2 * n], d[2 * n + 1], a[k],
                                   t + n * 16 * FusedShared<E>::kLdT + k * 16, FusedShared<E>::kLdT,
                                   lane);
    }
  }
}

}  // namespace gdn::cuda

#endif  // GDN_CUDA_FUSED_STEP_CUH_
