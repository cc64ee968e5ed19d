#ifndef GDN_CUDA_DEVICE_ELEMENT_CUH_
#define GDN_CUDA_DEVICE_ELEMENT_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "problem/tensor.h"

namespace gdn::cuda {

using bf16 = __nv_bfloat16;
using f16 = __half;

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_float(f16 x) { return __half2float(x); }

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

/// An element of a type known only at run time.
__device__ __forceinline__ float load_any(const Tensor &t, int64_t offset) {
  if (t.dtype == DType::f32) return static_cast<const float *>(t.data)[offset];
  if (t.dtype == DType::bf16) return to_float(static_cast<const bf16 *>(t.data)[offset]);
  return to_float(static_cast<const f16 *>(t.data)[offset]);
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

}  // namespace gdn::cuda

#endif  // GDN_CUDA_DEVICE_ELEMENT_CUH_
