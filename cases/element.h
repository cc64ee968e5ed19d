#ifndef GDN_CASES_ELEMENT_H_
#define GDN_CASES_ELEMENT_H_

#include <dlpack/dlpack.h>

#include <cstddef>
#include <cstdint>

namespace gdn::testing {

/// Element types of test arrays.
enum class Element : uint8_t { f32, bf16, f16, i32, i64, u8, boolean };

/// Bytes of one element.
size_t size_of(Element type);

/// "f32", "bf16", ..
const char *name_of(Element type);

/// The DLPack description.
DLDataType dlpack_of(Element type);

/// Correctly rounded (to nearest, ties to even); NaN and infinity are kept.
uint16_t to_bf16(float x);
uint16_t to_f16(float x);
float from_bf16(uint16_t bits);
float from_f16(uint16_t bits);

/// x rounded to `type` and back, for the floating types.
float round_to(Element type, float x);

}  // namespace gdn::testing

#endif  // GDN_CASES_ELEMENT_H_
