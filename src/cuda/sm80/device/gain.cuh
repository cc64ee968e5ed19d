#ifndef GDN_CUDA_SM80_DEVICE_GAIN_CUH_
#define GDN_CUDA_SM80_DEVICE_GAIN_CUH_

#include <type_traits>

#include "cuda/device/functions.cuh"

// fp16 alone: its exponent does not reach what decays and betas do. Operands of products carry
// powers of two, which rounding does not see, and the results are multiplied by their inverses.

namespace gdn::cuda::sm80 {

template <class E>
constexpr bool kNarrowRange = std::is_same_v<E, f16>;

/// The power of two at or below |x|, between 2^-kMost and 2^kMost; 1 for 0.
template <int kMost = 60>
__device__ __forceinline__ float power_below(float x) {
  const int e = static_cast<int>(__float_as_uint(x) >> 23 & 0xff) - 127;
  return e == -127 ? 1.0F : __int_as_float((127 + min(max(e, -kMost), kMost)) << 23);
}

/// 1 / x of a power of two between 2^-126 and 2^126.
__device__ __forceinline__ float inverse_of_power(float x) {
  return __int_as_float((254 << 23) - __float_as_int(x));
}

/// The power of two, up to 2^100, that brings the largest of a warp's x >= 0 into [1, 2); 1 where
/// it is there or above.
__device__ __forceinline__ float warp_gain(float x) {
#pragma unroll
  for (int i = 16; i > 0; i >>= 1) x = fmaxf(x, __shfl_xor_sync(kFullWarp, x, i));
  return fmaxf(1.0F, inverse_of_power(power_below<100>(x)));
}

/// The larger of `most` and |x|.
template <int kRows, int kColumns>
__device__ __forceinline__ float largest(float most, const float (&x)[kRows][kColumns]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) most = fmaxf(most, fabsf(x[i][j]));
  }
  return most;
}

/// x *= factor.
template <int kRows, int kColumns>
__device__ __forceinline__ void scale_all(float (&x)[kRows][kColumns], float factor) {
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
#pragma unroll
    for (int j = 0; j < kColumns; ++j) x[i][j] *= factor;
  }
}

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_GAIN_CUH_
