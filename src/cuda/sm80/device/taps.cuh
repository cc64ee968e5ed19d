#ifndef GDN_CUDA_SM80_DEVICE_TAPS_CUH_
#define GDN_CUDA_SM80_DEVICE_TAPS_CUH_

#include <type_traits>

#include "core/layer.h"
#include "cuda/device/functions.cuh"

// The coefficients of a depthwise convolution.

namespace gdn::cuda::sm80 {

/// True if the elements along `dimension` of a tensor [B, C, T] are contiguous and their groups
/// start on 16 bytes.
inline bool groups_aligned(const Tensor &t, int dimension) {
  const auto size = static_cast<int64_t>(dtype_size(t.dtype));
  if (t.stride[dimension] != 1 || reinterpret_cast<uintptr_t>(t.data) % 16 != 0) return false;
  for (int i = 0; i < 3; ++i) {
    if (i != dimension && t.shape[i] > 1 && t.stride[i] * size % 16 != 0) return false;
  }
  return true;
}

/// True if the four weights of a channel are one access.
inline bool taps_aligned(const Tensor &w) {
  return w.shape[1] == 4 && w.stride[1] == 1 && w.stride[0] % 4 == 0 &&
         reinterpret_cast<uintptr_t>(w.data) % (4 * dtype_size(w.dtype)) == 0;
}

/// 16 bytes to global memory in one access: of a plain store ptxas may make four, each of a quarter
/// of every sector.
__device__ __forceinline__ void store_group(void *to, const uint4 &x) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(x.x), "r"(x.y), "r"(x.z),
               "r"(x.w)
               : "memory");
}

// P: a problem with weight and bias.

/// The weights and the bias of a channel as they lie in memory.
template <int kWidth>
struct TapBits {
  uint32_t weight[kWidth], bias;

  /// kWhole: the weights are four, in one access; 16-bit types two in a word.
  template <bool kWhole, class P>
  __device__ __forceinline__ void load(const P &p, int64_t c) {
    const Tensor &w = p.weight;
    const int64_t at = w.offset(c);
    if constexpr (!kWhole) {
#pragma unroll
      for (int i = 0; i < kWidth; ++i) weight[i] = load_bits(w, at + i * w.stride[1]);
    } else if (w.dtype == DType::f32) {
      const uint4 x = *reinterpret_cast<const uint4 *>(static_cast<const float *>(w.data) + at);
      weight[0] = x.x, weight[1] = x.y, weight[2] = x.z, weight[3] = x.w;
    } else {
      const uint2 x = *reinterpret_cast<const uint2 *>(static_cast<const f16 *>(w.data) + at);
      weight[0] = x.x, weight[1] = x.y;
    }
    bias = p.bias.present() ? load_bits(p.bias, p.bias.offset(c)) : 0;
  }
};

template <int kWidth>
struct Taps {
  float weight[kWidth];  ///< The last meets the newest input.
  float bias;

  template <bool kWhole, class P>
  __device__ __forceinline__ void set(const P &p, const TapBits<kWidth> &bits) {
    const bool pairs = kWhole && p.weight.dtype != DType::f32;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const uint32_t half = (bits.weight[i / 2] >> (16 * (i & 1))) & 0xffff;
      weight[i] = from_bits(p.weight.dtype, pairs ? half : bits.weight[i]);
    }
    bias = from_bits(p.bias.dtype, bits.bias);
  }

  /// window[kWidth - 1] is the newest input.
  __device__ __forceinline__ float apply(const float (&window)[kWidth], bool use_silu) const {
    float sum = bias;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) sum = fmaf(weight[i], window[i], sum);
    return use_silu ? silu(sum) : sum;
  }
};

/// The taps of kCount channels from c on.
template <int kCount, int kWidth, class P>
__device__ __forceinline__ void load_taps(Taps<kWidth> (&taps)[kCount], const P &p, bool aligned,
                                          int64_t c) {
  constexpr int kAtOnce = kCount < 4 ? kCount : 4;  // More would cost registers.
  const auto load = [&](auto whole) {
#pragma unroll
    for (int first = 0; first < kCount; first += kAtOnce) {
      TapBits<kWidth> bits[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        bits[i].template load<whole>(p, c + first + i);
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) taps[first + i].template set<whole>(p, bits[i]);
    }
  };
  if constexpr (kWidth == 4) {
    if (aligned) {
      load(std::true_type());
      return;
    }
  }
  load(std::false_type());
}

template <int kWidth>
__device__ __forceinline__ void push(float (&window)[kWidth], float x) {
#pragma unroll
  for (int i = 0; i + 1 < kWidth; ++i) window[i] = window[i + 1];
  window[kWidth - 1] = x;
}

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_TAPS_CUH_
