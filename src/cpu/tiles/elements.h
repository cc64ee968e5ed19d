#ifndef GDN_CPU_TILES_ELEMENTS_H_
#define GDN_CPU_TILES_ELEMENTS_H_

// The element types of tensors and their scalar conversions; included by every tile header.
// Everything of the tile layer lives in an unnamed namespace, so that a unit compiled for one
// instruction set emits no symbol that the linker could pick for another.

#include <cstdint>
#include <cstring>

#include "core/tensor.h"

namespace gdn::cpu::GDN_ISA {
namespace {

/// bfloat16 and IEEE half in memory. As types of their own they select the overloads of load() and
/// store(); Tensor::at<Bf16>() and Tensor::at<F16>() give pointers to them.
struct Bf16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};

inline uint32_t float_bits(float x) {
  uint32_t u;
  std::memcpy(&u, &x, sizeof u);
  return u;
}

inline float bits_float(uint32_t u) {
  float x;
  std::memcpy(&x, &u, sizeof x);
  return x;
}

inline float to_f32(float x) { return x; }

inline float to_f32(Bf16 x) { return bits_float(static_cast<uint32_t>(x.bits) << 16); }

inline float to_f32(F16 x) {
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000U) << 16;
  const uint32_t exponent = (x.bits >> 10) & 0x1FU;
  const uint32_t mantissa = x.bits & 0x3FFU;
  if (exponent == 0x1F) return bits_float(sign | 0x7F800000U | (mantissa << 13));
  if (exponent != 0) return bits_float(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
  return bits_float(sign | float_bits(magnitude));
}

inline float round_to(float x, float) { return x; }

/// Rounds to nearest even; a NaN stays a NaN.
inline Bf16 round_to(float x, Bf16) {
  const uint32_t u = float_bits(x);
  if ((u & 0x7FFFFFFFU) > 0x7F800000U) return {static_cast<uint16_t>((u >> 16) | 0x40U)};
  return {static_cast<uint16_t>((u + 0x7FFFU + ((u >> 16) & 1U)) >> 16)};
}

/// Rounds to nearest even, to infinity from 65520 on, through subnormals below 2^-14.
inline F16 round_to(float x, F16) {
  const uint32_t u = float_bits(x);
  const uint32_t sign = (u >> 16) & 0x8000U;
  const uint32_t a = u & 0x7FFFFFFFU;
  if (a > 0x7F800000U) return {static_cast<uint16_t>(sign | 0x7E00U | ((a >> 13) & 0x3FFU))};
  if (a >= 0x47800000U) return {static_cast<uint16_t>(sign | 0x7C00U)};
  if (a < 0x38800000U) {
    // Adding 0.5 leaves the multiple of 2^-24, rounded to nearest even, in the low bits.
    const uint32_t r = float_bits(bits_float(a) + 0.5F) - 0x3F000000U;
    return {static_cast<uint16_t>(sign | r)};
  }
  const uint32_t rounded = a + 0xFFFU + ((a >> 13) & 1U) - (112U << 23);
  return {static_cast<uint16_t>(sign | (rounded >> 13))};
}

/// Calls f(E{}) with the element type E that a tensor's dtype names.
template <class F>
inline void with_element(DType dtype, F &&f) {
  switch (dtype) {
    case DType::f32:
      return f(float{});
    case DType::bf16:
      return f(Bf16{});
    case DType::f16:
      return f(F16{});
    case DType::none:
      return;
  }
}

/// One element of a tensor of any type, as f32.
inline float load_scalar(const Tensor &t, int64_t offset) {
  if (t.dtype == DType::f32) return static_cast<const float *>(t.data)[offset];
  if (t.dtype == DType::bf16) return to_f32(static_cast<const Bf16 *>(t.data)[offset]);
  return to_f32(static_cast<const F16 *>(t.data)[offset]);
}

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_TILES_ELEMENTS_H_
