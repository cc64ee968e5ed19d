#include "api/args_struct.h"

#include <algorithm>
#include <cstring>

namespace gdn::api {
namespace {

/// No version of any struct is longer; a larger struct_size is garbage, not to be followed.
constexpr size_t kMaxStructSize = 4096;

}  // namespace

bool read_bytes(Call *call, const char *name, const void *in, void *out, size_t size) {
  if (!call->ok()) return false;
  if (in == nullptr) {
    call->invalid(name, " is NULL, expected a pointer to its struct.");
    return false;
  }
  size_t found;
  std::memcpy(&found, in, sizeof found);
  // Structs grow by whole fields, so every version's size is a multiple of the alignment.
  if (found < sizeof(size_t) || found > kMaxStructSize || found % alignof(size_t) != 0) {
    call->invalid(name, "->struct_size is ", found, ", expected the sizeof of the struct (", size,
                  " in this version).");
    return false;
  }
  std::memcpy(out, in, std::min(found, size));
  const auto *bytes = static_cast<const unsigned char *>(in);
  for (size_t i = size; i < found; ++i) {
    if (bytes[i] != 0) {
      call->invalid(name, "->struct_size is ", found, ", longer than this version's ", size,
                    " bytes, and byte ", i, " is not zero: it sets a field that this version of ",
                    "the library does not know.");
      return false;
    }
  }
  return true;
}

}  // namespace gdn::api
