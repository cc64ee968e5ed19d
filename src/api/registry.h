#ifndef GDN_API_REGISTRY_H_
#define GDN_API_REGISTRY_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/backend.h"

namespace gdn::api {

/// The backends of this build. Of those that serve a device, the last is the default.
std::span<const Backend *const> backends();

/// nullptr if there is none of that name.
const Backend *find_backend(std::string_view name);

/// Index of an instruction set; -1 if the backend has none of that name.
int32_t find_isa(const Backend &backend, std::string_view name);

/// "reference, cpu".
std::string backend_names();

/// "generic, avx2, avx512".
std::string isa_names(const Backend &backend);

}  // namespace gdn::api

#endif  // GDN_API_REGISTRY_H_
