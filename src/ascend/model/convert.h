#ifndef GDN_ASCEND_MODEL_CONVERT_H_
#define GDN_ASCEND_MODEL_CONVERT_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "ascend/model/instruction.h"

namespace gdn::ascend::model {

inline float widen(bf16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }

inline float widen(f16 x) {
  const uint32_t magnitude = x.bits & 0x7fffU;
  const uint32_t sign = (x.bits & 0x8000U) << 16;
  if (magnitude >= 0x7c00U) {
    return std::bit_cast<float>(sign | 0x7f800000U | (magnitude & 0x3ffU) << 13);
  }
  // The exponent's bias differs by 112; the product makes subnormal numbers right too.
  const float value = std::bit_cast<float>(magnitude << 13) * 0x1p112F;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
}

/// To nearest, ties to even.
inline bf16 to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return {static_cast<uint16_t>(bits >> 16 | 0x40U)};
  return {static_cast<uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16)};
}

/// To nearest, ties to even; beyond the largest number, infinity.
inline f16 to_f16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000U);
  const float magnitude = std::fabs(x);
  if (std::isnan(x)) return {static_cast<uint16_t>(sign | 0x7e00U)};
  if (magnitude >= 65520.0F) return {static_cast<uint16_t>(sign | 0x7c00U)};
  // 11 bits are kept, fewer below 2^-14: a whole number of steps of 2^lowest.
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  const int lowest = std::max(exponent - 11, -24);
  const float steps = std::nearbyint(std::ldexp(magnitude, -lowest));
  const float rounded = std::ldexp(steps, lowest);
  if (rounded < 0x1p-14F) {
    return {static_cast<uint16_t>(sign | static_cast<int>(rounded * 0x1p24F))};
  }
  const uint32_t kept = std::bit_cast<uint32_t>(rounded) - (112U << 23);
  return {static_cast<uint16_t>(sign | kept >> 13)};
}

/// Element i of an array of `type`.
inline float widen_at(const unsigned char *data, Type type, int64_t i) {
  if (type == Type::f32) {
    float x;
    std::memcpy(&x, data + i * 4, 4);
    return x;
  }
  uint16_t bits;
  std::memcpy(&bits, data + i * 2, 2);
  return type == Type::f16 ? widen(f16{bits}) : widen(bf16{bits});
}

/// Sets element i of an array of `type`, rounded.
inline void narrow_at(unsigned char *data, Type type, int64_t i, float x) {
  if (type == Type::f32) {
    std::memcpy(data + i * 4, &x, 4);
    return;
  }
  const uint16_t bits = type == Type::f16 ? to_f16(x).bits : to_bf16(x).bits;
  std::memcpy(data + i * 2, &bits, 2);
}

}  // namespace gdn::ascend::model

#endif  // GDN_ASCEND_MODEL_CONVERT_H_
