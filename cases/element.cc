#include "cases/element.h"

#include <bit>
#include <cmath>

namespace gdn::testing {
namespace {

// kDLBool; older dlpack.h files lack the name.
constexpr uint8_t kBoolCode = 6;

}  // namespace

size_t size_of(Element type) {
  switch (type) {
    case Element::f32:
    case Element::i32:
      return 4;
    case Element::bf16:
    case Element::f16:
      return 2;
    case Element::i64:
      return 8;
    case Element::u8:
    case Element::boolean:
      return 1;
  }
  return 0;
}

const char *name_of(Element type) {
  constexpr const char *kNames[] = {"f32", "bf16", "f16", "i32", "i64", "u8", "bool"};
  return kNames[static_cast<int>(type)];
}

DLDataType dlpack_of(Element type) {
  const auto bits = static_cast<uint8_t>(8 * size_of(type));
  switch (type) {
    case Element::bf16:
      return {kDLBfloat, bits, 1};
    case Element::i32:
    case Element::i64:
      return {kDLInt, bits, 1};
    case Element::u8:
      return {kDLUInt, bits, 1};
    case Element::boolean:
      return {kBoolCode, bits, 1};
    default:
      return {kDLFloat, bits, 1};
  }
}

uint16_t to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return static_cast<uint16_t>((bits >> 16) | 0x40U);
  return static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

float from_bf16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

uint16_t to_f16(float x) {
  const auto sign = static_cast<uint16_t>((std::bit_cast<uint32_t>(x) >> 16) & 0x8000U);
  const double magnitude = std::abs(static_cast<double>(x));
  if (std::isnan(x)) return static_cast<uint16_t>(sign | 0x7e00U);
  if (magnitude >= 65520.0) return static_cast<uint16_t>(sign | 0x7c00U);
  // In units of the last place the value is an integer plus a fraction; nearbyint rounds ties to
  // even. A result of 2048 units is the next binade's 1024, by the same encoding.
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  const int unit = exponent - 11 < -24 ? -24 : exponent - 11;
  const auto count = static_cast<int>(std::nearbyint(std::ldexp(magnitude, -unit)));
  const int biased = unit + 24;
  const int encoded = count < 1024 ? count : (biased << 10) + count;
  return static_cast<uint16_t>(sign | encoded);
}

float from_f16(uint16_t bits) {
  const int exponent = (bits >> 10) & 0x1f;
  const int fraction = bits & 0x3ff;
  float magnitude = 0.0F;
  if (exponent == 0x1f) {
    magnitude = fraction != 0 ? NAN : INFINITY;
  } else {
    magnitude = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                              : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
  }
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

float round_to(Element type, float x) {
  if (type == Element::bf16) return from_bf16(to_bf16(x));
  if (type == Element::f16) return from_f16(to_f16(x));
  return x;
}

}  // namespace gdn::testing
