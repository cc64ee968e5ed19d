#ifndef GDN_API_TEXT_H_
#define GDN_API_TEXT_H_

#include <dlpack/dlpack.h>

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/tensor.h"

namespace gdn::api {

/// DLPack's code of bool, which version 0.6 of its header does not name yet.
inline constexpr uint8_t kBoolCode = 6;

// Pieces of error messages. Nothing here runs on the success path of a call.

inline void append(std::string *out, std::string_view text) { out->append(text); }
void append(std::string *out, double value);
template <std::integral I>
void append(std::string *out, I value) {
  out->append(std::to_string(value));
}

/// Concatenates text and numbers.
template <class... Parts>
std::string cat(const Parts &...parts) {
  std::string out;
  (append(&out, parts), ...);
  return out;
}

/// "[1, 128, 16, 64]"; a rank over 8 is cut short.
std::string shape_text(const int64_t *shape, int32_t rank);

/// "float32", "int64", "bool8", "float16 with 4 lanes"; numbers for a type code that has no name
/// here.
std::string dtype_text(DLDataType type);

/// "cpu", "cuda:1"; numbers for a device type that has no name here.
std::string device_text(int32_t type, int32_t id);

}  // namespace gdn::api

#endif  // GDN_API_TEXT_H_
