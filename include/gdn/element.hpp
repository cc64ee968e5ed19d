// Copyright the libgdn authors. Licensed under Apache-2.0.
#ifndef GDN_ELEMENT_HPP_
#define GDN_ELEMENT_HPP_

/**
 * @file element.hpp
 * @brief Element types of tensors: storage for bfloat16 and float16, part of gdn.hpp.
 */

#include <dlpack/dlpack.h>

#include <bit>
#include <cstdint>

namespace gdn {

/// 1 sign, 8 exponent and 7 fraction bits: the upper half of a float. Storage and conversion only.
struct bfloat16 {
  std::uint16_t bits = 0;  ///< The number as stored.

  bfloat16() = default;
  /// Rounds to nearest, ties to even.
  explicit bfloat16(float value) {
    const auto x = std::bit_cast<std::uint32_t>(value);
    const bool nan = (x & 0x7fffffffU) > 0x7f800000U;
    bits = static_cast<std::uint16_t>(nan ? x >> 16 | 0x40U : (x + 0x7fffU + (x >> 16 & 1U)) >> 16);
  }
  /// Exact.
  explicit operator float() const {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
};

/// IEEE binary16: 1 sign, 5 exponent and 10 fraction bits. Storage and conversion only.
struct float16 {
  std::uint16_t bits = 0;  ///< The number as stored.

  float16() = default;
  /// Rounds to nearest, ties to even; beyond 65504 to infinity.
  explicit float16(float value) {
    const auto x = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t magnitude = x & 0x7fffffffU;
    std::uint32_t half = 0;
    if (magnitude > 0x7f800000U) {
      half = 0x7e00U;
    } else if (magnitude >= 0x47800000U) {  // 65536 and more.
      half = 0x7c00U;
    } else if (magnitude >= 0x38800000U) {  // Normal; a carry may end in infinity, rightly.
      half = (magnitude - 0x38000000U + 0xfffU + (magnitude >> 13 & 1U)) >> 13;
    } else {
      // Subnormal: adding 0.5 makes the float unit round at float16's last place, 2^-24.
      half = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - 0x3f000000U;
    }
    bits = static_cast<std::uint16_t>(half | (x >> 16 & 0x8000U));
  }
  /// Exact.
  explicit operator float() const {
    const std::uint32_t sign = (bits & 0x8000U) << 16;
    const std::uint32_t magnitude = bits & 0x7fffU;
    if (magnitude >= 0x7c00U) {
      return std::bit_cast<float>(sign | 0x7f800000U | (magnitude & 0x3ffU) << 13);
    }
    // Read as a float the number is 2^112 too small, subnormals included.
    const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112F;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(scaled));
  }
};

/// Type code and bits of a C++ element type; not defined for types that no operand has.
template <class T>
struct ElementType;

/// What ElementType specialisations hold.
template <std::uint8_t kCode, std::uint8_t kBits>
struct ElementTypeOf {
  /// The DLPack description.
  static constexpr DLDataType dtype() { return {kCode, kBits, 1}; }
};

template <>
struct ElementType<float> : ElementTypeOf<kDLFloat, 32> {};
template <>
struct ElementType<bfloat16> : ElementTypeOf<kDLBfloat, 16> {};
template <>
struct ElementType<float16> : ElementTypeOf<kDLFloat, 16> {};
template <>
struct ElementType<std::int8_t> : ElementTypeOf<kDLInt, 8> {};
template <>
struct ElementType<std::uint8_t> : ElementTypeOf<kDLUInt, 8> {};
template <>
struct ElementType<std::int32_t> : ElementTypeOf<kDLInt, 32> {};
template <>
struct ElementType<std::int64_t> : ElementTypeOf<kDLInt, 64> {};
/// DLPack's bool, type code 6, which older versions of its header do not name.
template <>
struct ElementType<bool> : ElementTypeOf<6, 8> {};

}  // namespace gdn

#endif  // GDN_ELEMENT_HPP_
