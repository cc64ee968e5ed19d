#ifndef GDN_REFERENCE_CONVERT_H_
#define GDN_REFERENCE_CONVERT_H_

#include <bit>
#include <cmath>
#include <cstdint>

namespace gdn::reference {

// Conversions between double and the 16-bit types. To round a double once, it is first brought to
// float by rounding to odd: float keeps more than two bits beyond either 16-bit type, so the second
// step (to nearest, ties to even) sees on which side of a tie the value lies.

/// Float nearest to x towards zero, its last bit set if that was not exact. NaN and inf are kept.
inline float round_to_odd(double x) {
  const float f = static_cast<float>(x);
  if (std::isnan(x) || std::isinf(x) || static_cast<double>(f) == x) return f;
  uint32_t bits = std::bit_cast<uint32_t>(f);
  if (std::abs(static_cast<double>(f)) > std::abs(x)) bits -= 1;
  return std::bit_cast<float>(bits | 1U);
}

inline double bf16_to_double(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

inline uint16_t double_to_bf16(double x) {
  const uint32_t bits = std::bit_cast<uint32_t>(round_to_odd(x));
  if (std::isnan(x)) return static_cast<uint16_t>((bits >> 16) | 0x40U);
  return static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

inline double f16_to_double(uint16_t bits) {
  const int exponent = (bits >> 10) & 0x1f;
  const int fraction = bits & 0x3ff;
  double magnitude;
  if (exponent == 0x1f) {
    magnitude = fraction != 0 ? std::nan("") : HUGE_VAL;
  } else if (exponent == 0) {
    magnitude = std::ldexp(fraction, -24);
  } else {
    magnitude = std::ldexp(fraction + 0x400, exponent - 25);
  }
  return std::copysign(magnitude, (bits & 0x8000) != 0 ? -1.0 : 1.0);
}

inline uint16_t double_to_f16(double x) {
  const uint32_t bits = std::bit_cast<uint32_t>(round_to_odd(x));
  const uint32_t sign = (bits >> 16) & 0x8000U;
  const uint32_t magnitude = bits & 0x7fffffffU;
  if (std::isnan(x)) return static_cast<uint16_t>(sign | 0x7e00U | ((magnitude >> 13) & 0x3ffU));
  const int exponent = static_cast<int>(magnitude >> 23) - 127;
  if (exponent > 15) return static_cast<uint16_t>(sign | 0x7c00U);
  if (exponent < -25) return static_cast<uint16_t>(sign);
  // The float's 24-bit significand loses 13 bits, more for results below 2^-14.
  const uint32_t significand = (magnitude & 0x7fffffU) | 0x800000U;
  const int shift = exponent < -14 ? -1 - exponent : 13;
  const uint32_t kept = significand >> shift;
  const uint32_t rest = significand & ((1U << shift) - 1U);
  const uint32_t half = 1U << (shift - 1);
  const uint32_t up = rest > half || (rest == half && (kept & 1U) != 0) ? 1U : 0U;
  // `kept` holds the implicit bit of a normal number, which counts as one exponent step; a carry
  // out of the significand moves to the next exponent, up to infinity, by the same addition.
  const uint32_t base = exponent < -14 ? 0U : static_cast<uint32_t>(exponent + 14) << 10;
  return static_cast<uint16_t>(sign | (base + kept + up));
}

}  // namespace gdn::reference

#endif  // GDN_REFERENCE_CONVERT_H_
