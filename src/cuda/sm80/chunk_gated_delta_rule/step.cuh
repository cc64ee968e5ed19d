#ifndef GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_STEP_CUH_
#define GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_STEP_CUH_

#include <type_traits>

#include "cuda/device/functions.cuh"
#include "cuda/device/inverse.cuh"
#include "cuda/sm80/device/copy.cuh"
#include "cuda/sm80/device/gain.cuh"

// What the blocks of the portable fused kernel compute in each step besides the chain of states.

namespace gdn::cuda::sm80 {

constexpr int kStep = 32;  ///< Tokens a step.

/// Most warps of a block, 16 value columns each; fewer for f32, whose operands need registers.
template <class E>
constexpr int kStateWarps = sizeof(E) == 2 ? 8 : 4;

/// Gates of one step, a token a lane. Decays are in base 2; r is 1 / |k| or 1 / |q| under l2norm,
/// else 1.
struct alignas(16) StepGates {
  float c[kStep];            ///< Sum of log decays from the step's first token on.
  float key_decay[kStep];    ///< 2^c r_k.
  float query_decay[kStep];  ///< scale 2^c r_q.
  float to_end[kStep];       ///< 2^(c_last - c) r_k.
  float beta[kStep];
  union {
    // fp16 alone (gain.cuh). Row i of T diag(beta) has a factor of about beta_i and is kept without
    // its power of two, `power`; to_end and decay carry a power of two that the state is multiplied
    // by `undo` for.
    float power[kStep];
    float c_low[kStep];  ///< f32 alone: what rounding the sum to c left.
  };
  float inverse_power[kStep];
  float undo;
  float decay;  ///< 2^c_last.
};

/// f32 alone: sums of log decays are kept in two floats, c and c_low. Strong decays make sums
/// large, and their rounding errors would be relative errors of the factors 2^(c_i - c_j) near 1.
template <class E>
constexpr bool kSumsInTwo = std::is_same_v<E, float>;

/// bf16 alone: V', P and the update of the state are products' operands in two parts, as T is,
/// since where a key repeats under beta near 2, sums over V' cancel and nothing damps an error.
template <class E>
constexpr bool kTwoParts = std::is_same_v<E, bf16>;

/// What a block works on. In shared memory: registers are for the state.
template <class E>
struct FusedPlace {
  const E *k, *q, *v;  ///< At the sequence's first token.
  E *o;
  int64_t batch, begin, h;
  int64_t slot;         ///< Of the state.
  int64_t checkpoint;   ///< Row of the first one.
  int column, columns;  ///< First value column, and how many.
  int steps, last_tokens;

  __device__ __forceinline__ int tokens(int step) const {
    return step + 1 < steps ? kStep : last_tokens;
  }
};

template <class E>
struct FusedShared {
  static constexpr int kLdT = padded<E>(kStep);
  FusedPlace<E> place;
  StepGates gates[3];                              ///< Of this step and the next two.
  alignas(16) float norm_k[kStep], norm_q[kStep];  ///< rsqrt(sum x^2 + eps), or 1.
  alignas(16) float a[2][kStep][kInverseLd];  ///< a[.][j][i] = A[i, j], of this step and the next.
  alignas(16) E p[2][kStep * kLdT];           ///< Masked, decayed and scaled Q K^T, likewise,
  alignas(16) E p_low[2][kTwoParts<E> ? kStep * kLdT : 1];  ///< and what rounding it left.
  alignas(16) E t_high[kStep * kLdT];                       ///< T diag(beta) rounded to E,
  alignas(16) E t_low[sizeof(E) == 2 ? kStep * kLdT : 1];   ///< and what that rounding left.
};

/// The tiles of a step: K, Q [kStep, kKeyDim], zero past the width, V and later O [kStep, columns].
template <class E, int kKeyDim>
struct StepTiles {
  static constexpr int kLd = padded<E>(kKeyDim);
  static constexpr int kLdV = padded<E>(kStateWarps<E> * 16);
  E k[kStep * kLd], q[kStep * kLd], v[kStep * kLdV];
};

/// Bytes of a block's shared memory.
template <class E, int kKeyDim>
size_t fused_shared_bytes(int stages) {
  return (sizeof(FusedShared<E>) + 15) / 16 * 16 +
         static_cast<size_t>(stages) * sizeof(StepTiles<E, kKeyDim>);
}

/// Blocks of a multiprocessor.
template <class E, int kKeyDim>
constexpr int kFusedBlocks = kKeyDim == 128 && sizeof(E) == 2 ? 2 : 1;

/// Steps whose tiles a block keeps, on a GPU that gives one at most `most` bytes: three, if as many
/// blocks as there are registers for still reside, or if with two stages they would not either.
template <class E, int kKeyDim>
int fused_stages(size_t most) {
  const auto fits = [&](int stages, size_t blocks) {
    constexpr size_t kReserved = 1024;  // Of each block, by the driver.
    return blocks * (fused_shared_bytes<E, kKeyDim>(stages) + kReserved) <= most + kReserved;
  };
  constexpr size_t kBlocks = kFusedBlocks<E, kKeyDim>;
  if (fits(3, kBlocks) || (!fits(2, kBlocks) && fits(3, 1))) return 3;
  return fits(2, 1) ? 2 : 1;
}

/// Under l2norm: rsqrt(sum x^2 + eps) of the rows of the K and Q tiles, also into the gates.
template <class E, int kKeyDim>
__device__ __forceinline__ void apply_norms(FusedShared<E> &s, StepGates &g,
                                            const StepTiles<E, kKeyDim> &tiles, int warp, int warps,
                                            int lane) {
  for (int r = warp; r < 2 * kStep; r += warps) {
    const int t = r & (kStep - 1);
    const E *row = (r < kStep ? tiles.k : tiles.q) + t * tiles.kLd;
    float sum = 0.0F;
#pragma unroll
    for (int i = lane; i < kKeyDim; i += 32) sum = fmaf(to_float(row[i]), to_float(row[i]), sum);
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

constexpr int kUnits = 6;  ///< 16 x 16 blocks of the lower triangles of A and P.

/// x <- what rounding it to E leaves.
template <class E>
__device__ __forceinline__ void subtract_rounded(float (&x)[4]) {
#pragma unroll
  for (int e = 0; e < 4; e += 2) {
    const float2 rounded = unpack2<E>(pack2<E>(x[e], x[e + 1]));
    x[e] -= rounded.x, x[e + 1] -= rounded.y;
  }
}

/// 2^(c_row - c_column).
template <class E>
__device__ __forceinline__ float decay_between(const StepGates &g, int row, int column) {
  if constexpr (kSumsInTwo<E>) {
    return exp2_fast((g.c[row] - g.c[column]) + (g.c_low[row] - g.c_low[column]));
  } else {
    return exp2_fast(g.c[row] - g.c[column]);
  }
}

/// One block of A (unit < 3) or P, from the K and Q tiles.
template <class E, int kKeyDim>
__device__ __forceinline__ void masked_products(FusedShared<E> &s, const StepGates &g, int buffer,
                                                const StepTiles<E, kKeyDim> &tiles, float scale,
                                                int unit, int lane) {
  constexpr int kLdK = StepTiles<E, kKeyDim>::kLd;
  const bool is_p = unit >= 3;
  const int block = is_p ? unit - 3 : unit;  // (0, 0), (1, 0), (1, 1).
  const int rows = block > 0 ? 16 : 0, columns = block > 1 ? 16 : 0;
  float c[2][4] = {};
  const E *const left = (is_p ? tiles.q : tiles.k) + rows * kLdK;
  const E *const right = tiles.k + columns * kLdK;
#pragma unroll 4
  for (int i = 0; i < kKeyDim; i += 16) {
    LeftTile<E> a;
    left_from_shared(a, left + i, kLdK, lane);
    multiply_add<Right::n_major>(c[0], c[1], a, right + i, kLdK, lane);
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int row = rows + (lane >> 2) + (e >> 1) * 8;
      const int column = columns + j * 8 + (lane & 3) * 2 + (e & 1);
      const float x = c[j][e] * s.norm_k[column] * decay_between<E>(g, row, column);
      if (is_p) {
        c[j][e] = row >= column ? scale * s.norm_q[row] * x : 0.0F;
      } else if (row > column) {
        s.a[buffer][column][row] = g.beta[row] * s.norm_k[row] * x;
      }
    }
  }
  constexpr int kLd = FusedShared<E>::kLdT;
  if (!is_p) return;
  store_unit<E>(s.p[buffer] + rows * kLd + columns, kLd, c, lane);
  if constexpr (kTwoParts<E>) {
#pragma unroll
    for (int j = 0; j < 2; ++j) subtract_rounded<E>(c[j]);
    store_unit<E>(s.p_low[buffer] + rows * kLd + columns, kLd, c, lane);
  }
}

/// T diag(beta) with T = (I + A)^-1, in two parts. The block above the diagonal is never read.
template <class E>
__device__ __forceinline__ void invert(FusedShared<E> &s, const StepGates &g, int buffer,
                                       int lane) {
  // Read one at a time: there are no registers for all.
  const volatile float *const inverse_power = g.inverse_power;
  const auto put = [&](int row, int column, float x) {
    float t = g.beta[column] * x;
    if constexpr (kNarrowRange<E>) t *= inverse_power[row];
    const E high = from_float<E>(t);
    s.t_high[row * FusedShared<E>::kLdT + column] = high;
    if constexpr (sizeof(E) == 2) {
      s.t_low[row * FusedShared<E>::kLdT + column] = from_float<E>(t - to_float(high));
    }
  };
  const int h = lane >> 4, c = lane & 15;
  float(*const a)[kInverseLd] = s.a[buffer];
  {  // Beside a warp's part of the state the columns cannot stay in registers.
    float y[16];
    invert_diagonal(a, lane, y);
    __syncwarp();
    keep_diagonal(a, lane, y);
#pragma unroll
    for (int i = 0; i < 16; ++i) put(16 * h + i, lane, y[i]);
  }
  __syncwarp();
  float r[8], u[8];
  multiply_corner(a, lane, r, [&](int k) { return a[c][k]; });
  __syncwarp();
  finish_corner(a, lane, u, r);
#pragma unroll
  for (int i = 0; i < 8; ++i) put(16 + 8 * h + i, c, u[i]);
}

/// Gates of a step out of a token's log decay and beta (0 past the end), without norms.
template <class E>
__device__ __forceinline__ void write_gates(StepGates &s, float g, float beta, float scale,
                                            int lane) {
  float c, from_start, to_end;
  if constexpr (kSumsInTwo<E>) {
    constexpr double kLog2EDouble = 1.4426950408889634;
    constexpr float kLn2 = 0.6931471805599453F;
    const double sum = warp_scan(kLog2EDouble * g, lane);
    c = static_cast<float>(sum);
    const auto low = static_cast<float>(sum - c);
    s.c_low[lane] = low;
    const float e = exp2_fast(c);
    from_start = fmaf(e, kLn2 * low, e);
    to_end = exp2_fast((__shfl_sync(kFullWarp, c, kStep - 1) - c) +
                       (__shfl_sync(kFullWarp, low, kStep - 1) - low));
  } else {
    c = warp_scan(g * kLog2E, lane);
    const float last = __shfl_sync(kFullWarp, c, kStep - 1);
    from_start = exp2_fast(c), to_end = exp2_fast(last - c);
  }
  float gain = 1.0F;
  if constexpr (kNarrowRange<E>) {
    s.power[lane] = power_below(beta);
    s.inverse_power[lane] = inverse_of_power(s.power[lane]);
    gain = warp_gain(fabsf(beta) * to_end);
    s.undo = inverse_of_power(gain);
  }
  s.c[lane] = c;
  s.key_decay[lane] = from_start;
  s.query_decay[lane] = scale * from_start;
  s.to_end[lane] = to_end * gain;
  s.beta[lane] = beta;
  if (lane == kStep - 1) s.decay = from_start * gain;
}

/// x[j][e] *= factor[token] for the tokens of a [16, 32] accumulator.
__device__ __forceinline__ void scale_tokens(float (&x)[4][4], const float *factor, int lane) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const float2 f = *reinterpret_cast<const float2 *>(factor + j * 8 + (lane & 3) * 2);
    x[j][0] *= f.x, x[j][1] *= f.y, x[j][2] *= f.x, x[j][3] *= f.y;
  }
}

/// A [16, 32] left operand out of accumulators. f32 keeps the accumulators, since four times as
/// many registers as those would go into its tiles.
template <class E>
struct StepOperand {
  LeftTile<E> tile[2];

  __device__ __forceinline__ explicit StepOperand(const float (&u)[4][4]) {
    left_from_accumulators(tile[0], u[0], u[1]);
    left_from_accumulators(tile[1], u[2], u[3]);
  }
  __device__ __forceinline__ LeftTile<E> at(int k) const { return tile[k]; }
};
template <>
struct StepOperand<float> {
  float c[4][4];

  __device__ __forceinline__ explicit StepOperand(const float (&u)[4][4]) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) c[j][e] = u[j][e];
    }
  }
  __device__ __forceinline__ LeftTile<float> at(int k) const {
    LeftTile<float> a;
    left_from_accumulators(a, c[2 * k], c[2 * k + 1]);
    return a;
  }
};

/// Splits columns 16 k .. 16 k + 15 of accumulators into left operands of E: rounded, and what that
/// has left.
template <class E>
__device__ __forceinline__ void split(LeftTile<E> &high, LeftTile<E> &low, const float (&u)[4][4],
                                      int k) {
  left_from_accumulators(high, u[2 * k], u[2 * k + 1]);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float *const x = &u[2 * k + (i >> 1)][(i & 1) * 2];
    const float2 rounded = unpack2<E>(high.r[i]);
    low.r[i] = pack2<E>(x[0] - rounded.x, x[1] - rounded.y);
  }
}

/// d += a t^T for columns 16 k .. 16 k + 15 of a lower triangular t, [n][k].
template <class E>
__device__ __forceinline__ void multiply_triangle(float (&d)[4][4], const LeftTile<E> &a,
                                                  const E *t, int k, int lane) {
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    if (n >= k) {
      multiply_add<Right::n_major>(d[2 * n], d[2 * n + 1], a,
                                   t + n * 16 * FusedShared<E>::kLdT + k * 16, FusedShared<E>::kLdT,
                                   lane);
    }
  }
}

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_STEP_CUH_
