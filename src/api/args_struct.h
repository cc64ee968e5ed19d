#ifndef GDN_API_ARGS_STRUCT_H_
#define GDN_API_ARGS_STRUCT_H_

#include <cstddef>

#include "api/call.h"

namespace gdn::api {

/// Copies the caller's struct of its own struct_size into *out (size bytes, zeroed): fields that an
/// older caller does not have read as zero. Fails if the struct is longer than ours and its tail is
/// not zero.
bool read_bytes(Call *call, const char *name, const void *in, void *out, size_t size);

/// The same for a struct of gdn.h. False after a failure.
template <class S>
bool read_struct(Call *call, const char *name, const S *in, S *out) {
  static_assert(offsetof(S, struct_size) == 0);
  *out = S{};
  return read_bytes(call, name, in, out, sizeof(S));
}

}  // namespace gdn::api

#endif  // GDN_API_ARGS_STRUCT_H_
