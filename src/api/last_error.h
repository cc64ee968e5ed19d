#ifndef GDN_API_LAST_ERROR_H_
#define GDN_API_LAST_ERROR_H_

#include <exception>
#include <new>
#include <string_view>

#include "core/float_environment.h"
#include "core/status.h"
#include "gdn/gdn.h"

namespace gdn::api {

/// Stores a failed call's message for gdn_last_error(): "operation: message". Cuts it to a fixed
/// buffer, so that it works without memory too.
void set_last_error(const char *operation, std::string_view message) noexcept;

/// Runs the body of an entry point in the library's own floating-point environment: turns its
/// Status into a gdn_status, keeps the message, and lets no exception out.
template <class Body>
gdn_status guarded(const char *operation, Body &&body) noexcept {
  const FloatEnvironment environment(Denormals::kept);
  try {
    const Status status = body();
    if (!status.ok()) set_last_error(operation, status.message());
    return static_cast<gdn_status>(status.code());
  } catch (const std::bad_alloc &) {
    set_last_error(operation, "memory ran out.");
    return GDN_OUT_OF_MEMORY;
  } catch (const std::exception &e) {
    set_last_error(operation, e.what());
    return GDN_INTERNAL_ERROR;
  } catch (...) {
    set_last_error(operation, "an exception of unknown type was thrown.");
    return GDN_INTERNAL_ERROR;
  }
}

}  // namespace gdn::api

#endif  // GDN_API_LAST_ERROR_H_
