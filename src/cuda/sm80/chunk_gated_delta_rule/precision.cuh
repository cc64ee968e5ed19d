#ifndef GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_PRECISION_CUH_
#define GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_PRECISION_CUH_

#include <type_traits>

#include "cuda/device/tile.cuh"
#include "cuda/sm80/device/gain.cuh"

// What the type of q, k and v asks of a step, and the left operands that follow from it. A left
// operand is [16, 32], out of accumulators x[4][4]; at(k) is its columns 16 k .. 16 k + 15.

namespace gdn::cuda::sm80::chunk {

/// f32: plain products of whole elements.
///
/// Sums of log decays are kept in two floats. Strong decays make sums large, and their rounding
/// errors would be relative errors of the factors 2^(c_i - c_j) near 1.
struct WholePrecision {
  static constexpr bool kSumsInTwo = true;
  static constexpr bool kTInTwo = false;
  static constexpr bool kValuesInTwo = false;
  static constexpr bool kGains = false;
};

/// 16-bit types: operands are rounded. T is kept in two parts, the rounding and what that left, so
/// that it keeps f32's precision.
struct RoundedPrecision {
  static constexpr bool kSumsInTwo = false;
  static constexpr bool kTInTwo = true;
  static constexpr bool kValuesInTwo = false;
  static constexpr bool kGains = false;
};

template <class E>
struct Precision;
template <>
struct Precision<float> : WholePrecision {};
/// V', P and the update of the state are operands in two parts too, since where a key repeats under
/// beta near 2, sums over V' cancel and nothing damps an error. A product of two low parts, which
/// f32 would round away, is left out.
template <>
struct Precision<bf16> : RoundedPrecision {
  static constexpr bool kValuesInTwo = true;
};
/// Operands carry powers of two (gain.cuh).
template <>
struct Precision<f16> : RoundedPrecision {
  static constexpr bool kGains = true;
};

/// An operand that is rounded once, where it is made.
template <class E>
struct RoundedOperand {
  static constexpr bool kRounded = true;
  LeftTile<E> tile[2];

  __device__ __forceinline__ explicit RoundedOperand(const float (&x)[4][4]) {
    left_from_accumulators(tile[0], x[0], x[1]);
    left_from_accumulators(tile[1], x[2], x[3]);
  }
  __device__ __forceinline__ LeftTile<E> at(int k) const { return tile[k]; }
};

/// Accumulators that become operands where they are used: four times as many registers would go
/// into tiles of f32, twice as many into two parts.
struct KeptAccumulators {
  static constexpr bool kRounded = false;
  float x[4][4];

  __device__ __forceinline__ explicit KeptAccumulators(const float (&from)[4][4]) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) x[j][e] = from[j][e];
    }
  }
};

/// An operand of f32.
struct WholeOperand : KeptAccumulators {
  using KeptAccumulators::KeptAccumulators;

  __device__ __forceinline__ LeftTile<float> at(int k) const {
    LeftTile<float> a;
    left_from_accumulators(a, x[2 * k], x[2 * k + 1]);
    return a;
  }
};

/// An operand in two parts.
template <class E>
struct SplitOperand : KeptAccumulators {
  using KeptAccumulators::KeptAccumulators;

  __device__ __forceinline__ TwoTiles<E> at(int k) const {
    TwoTiles<E> a;
    left_from_accumulators(a.high, x[2 * k], x[2 * k + 1]);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float *const from = &x[2 * k + (i >> 1)][(i & 1) * 2];
      const float2 rounded = unpack2<E>(a.high.r[i]);
      a.low.r[i] = pack2<E>(from[0] - rounded.x, from[1] - rounded.y);
    }
    return a;
  }
};

/// X, and O on its way out.
template <class E>
using Operand = std::conditional_t<std::is_same_v<E, float>, WholeOperand, RoundedOperand<E>>;

/// V', and what of it goes into the state.
template <class E>
using ValueOperand = std::conditional_t<Precision<E>::kValuesInTwo, SplitOperand<E>, Operand<E>>;

/// x <- what rounding it to E leaves.
template <class E>
__device__ __forceinline__ void subtract_rounded(float (&x)[4]) {
#pragma unroll
  for (int e = 0; e < 4; e += 2) {
    const float2 rounded = unpack2<E>(pack2<E>(x[e], x[e + 1]));
    x[e] -= rounded.x, x[e + 1] -= rounded.y;
  }
}

}  // namespace gdn::cuda::sm80::chunk

#endif  // GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_PRECISION_CUH_
