#ifndef GDN_CUDA_DEVICE_ELEMENT_CUH_
#define GDN_CUDA_DEVICE_ELEMENT_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "core/tensor.h"

namespace gdn::cuda {

using bf16 = __nv_bfloat16;
using f16 = __half;

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_float(f16 x) { return __half2float(x); }

template <class E>
__host__ __device__ constexpr DType dtype_of() {
  return std::is_same_v<E, float> ? DType::f32 : std::is_same_v<E, bf16> ? DType::bf16 : DType::f16;
}

/// Rounds to nearest even.
template <class E>
__device__ __forceinline__ E from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ __forceinline__ f16 from_float<f16>(float x) {
  return __float2half_rn(x);
}

/// Two elements in one register, the first in the low half.
template <class E>
__device__ __forceinline__ uint32_t pack2(float a, float b);
template <>
__device__ __forceinline__ uint32_t pack2<bf16>(float a, float b) {
  const __nv_bfloat162 x = __floats2bfloat162_rn(a, b);
  return *reinterpret_cast<const uint32_t *>(&x);
}
template <>
__device__ __forceinline__ uint32_t pack2<f16>(float a, float b) {
  const __half2 x = __floats2half2_rn(a, b);
  return *reinterpret_cast<const uint32_t *>(&x);
}

/// The inverse of pack2.
template <class E>
__device__ __forceinline__ float2 unpack2(uint32_t x);
template <>
__device__ __forceinline__ float2 unpack2<bf16>(uint32_t x) {
  return {__uint_as_float(x << 16), __uint_as_float(x & 0xffff0000u)};
}
template <>
__device__ __forceinline__ float2 unpack2<f16>(uint32_t x) {
  return __half22float2(*reinterpret_cast<const __half2 *>(&x));
}

/// 16 bytes of E as floats.
template <class E>
__device__ __forceinline__ void unpack16(float (&y)[16 / sizeof(E)], const uint4 &bits) {
  if constexpr (sizeof(E) == 4) {
    y[0] = __uint_as_float(bits.x), y[1] = __uint_as_float(bits.y);
    y[2] = __uint_as_float(bits.z), y[3] = __uint_as_float(bits.w);
  } else {
    const float2 a = unpack2<E>(bits.x), b = unpack2<E>(bits.y);
    const float2 c = unpack2<E>(bits.z), d = unpack2<E>(bits.w);
    y[0] = a.x, y[1] = a.y, y[2] = b.x, y[3] = b.y;
    y[4] = c.x, y[5] = c.y, y[6] = d.x, y[7] = d.y;
  }
}

/// The inverse, rounding to nearest even.
template <class E>
__device__ __forceinline__ uint4 pack16(const float (&y)[16 / sizeof(E)]) {
  if constexpr (sizeof(E) == 4) {
    return make_uint4(__float_as_uint(y[0]), __float_as_uint(y[1]), __float_as_uint(y[2]),
                      __float_as_uint(y[3]));
  } else {
    return make_uint4(pack2<E>(y[0], y[1]), pack2<E>(y[2], y[3]), pack2<E>(y[4], y[5]),
                      pack2<E>(y[6], y[7]));
  }
}

/// Four consecutive elements as floats; one access where `aligned` says that they start on four
/// elements' size.
template <class E>
__device__ __forceinline__ void load4(float (&x)[4], const E *p, bool aligned) {
  if (!aligned) {
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = to_float(p[i]);
  } else if constexpr (sizeof(E) == 4) {
    const float4 v = *reinterpret_cast<const float4 *>(p);
    x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
  } else {
    const uint2 v = *reinterpret_cast<const uint2 *>(p);
    const float2 a = unpack2<E>(v.x), b = unpack2<E>(v.y);
    x[0] = a.x, x[1] = a.y, x[2] = b.x, x[3] = b.y;
  }
}

/// The inverse, rounding to nearest even.
template <class E>
__device__ __forceinline__ void store4(E *p, const float (&x)[4], bool aligned) {
  if (!aligned) {
#pragma unroll
    for (int i = 0; i < 4; ++i) p[i] = from_float<E>(x[i]);
  } else if constexpr (sizeof(E) == 4) {
    *reinterpret_cast<float4 *>(p) = make_float4(x[0], x[1], x[2], x[3]);
  } else {
    *reinterpret_cast<uint2 *>(p) = make_uint2(pack2<E>(x[0], x[1]), pack2<E>(x[2], x[3]));
  }
}

__device__ __forceinline__ uint32_t raw_bits(const float *p) {
  return *reinterpret_cast<const uint32_t *>(p);
}
template <class E>
__device__ __forceinline__ uint32_t raw_bits(const E *p) {
  return *reinterpret_cast<const uint16_t *>(p);
}

/// Bits of an element of a type known only at run time. Converted later, several of them can be on
/// their way at once; a conversion in the branch of its type would wait for each.
__device__ __forceinline__ uint32_t load_bits(const Tensor &t, int64_t offset) {
  if (t.dtype == DType::f32) return static_cast<const uint32_t *>(t.data)[offset];
  return static_cast<const uint16_t *>(t.data)[offset];
}
__device__ __forceinline__ float from_bits(DType type, uint32_t bits) {
  if (type == DType::f32) return __uint_as_float(bits);
  if (type == DType::bf16) return __uint_as_float(bits << 16);
  return __half2float(__ushort_as_half(static_cast<uint16_t>(bits)));
}

/// An element of a type known only at run time.
__device__ __forceinline__ float load_any(const Tensor &t, int64_t offset) {
  return from_bits(t.dtype, load_bits(t, offset));
}

__device__ __forceinline__ void store_any(const Tensor &t, int64_t offset, float x) {
  if (t.dtype == DType::f32) {
    static_cast<float *>(t.data)[offset] = x;
  } else if (t.dtype == DType::bf16) {
    static_cast<bf16 *>(t.data)[offset] = from_float<bf16>(x);
  } else {
    static_cast<f16 *>(t.data)[offset] = from_float<f16>(x);
  }
}

/// Calls f with an E of the type that `dtype` names.
template <class F>
auto for_type(DType dtype, F f) {
  switch (dtype) {
    case DType::f32:
      return f(float{});
    case DType::bf16:
      return f(bf16{});
    default:
      return f(f16{});
  }
}

}  // namespace gdn::cuda

#endif  // GDN_CUDA_DEVICE_ELEMENT_CUH_
