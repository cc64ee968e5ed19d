#include "api/last_error.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace gdn::api {
namespace {

constexpr size_t kCapacity = 1024;

// Plain bytes: nothing to construct or destroy as threads come and go.
thread_local char last_error[kCapacity] = "";

}  // namespace

void set_last_error(const char *operation, std::string_view message) noexcept {
  size_t used = 0;
  const auto add = [&used](std::string_view text) {
    const size_t n = std::min(text.size(), kCapacity - 1 - used);
    std::memcpy(last_error + used, text.data(), n);
    used += n;
  };
  add(operation);
  add(": ");
  add(message);
  last_error[used] = '\0';
}

}  // namespace gdn::api

const char *gdn_last_error(void) { return gdn::api::last_error; }

const char *gdn_status_string(gdn_status status) {
  switch (status) {
    case GDN_OK:
      return "GDN_OK";
    case GDN_INVALID_ARGUMENT:
      return "GDN_INVALID_ARGUMENT";
    case GDN_UNSUPPORTED:
      return "GDN_UNSUPPORTED";
    case GDN_WORKSPACE_TOO_SMALL:
      return "GDN_WORKSPACE_TOO_SMALL";
    case GDN_OUT_OF_MEMORY:
      return "GDN_OUT_OF_MEMORY";
    case GDN_DEVICE_ERROR:
      return "GDN_DEVICE_ERROR";
    case GDN_INTERNAL_ERROR:
      return "GDN_INTERNAL_ERROR";
  }
  return "unknown status";
}
