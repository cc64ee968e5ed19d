#include "api/registry.h"

#include <cstddef>

#include "gdn/gdn.h"
#include "gdn_backends.inc"

namespace gdn::api {

std::span<const Backend *const> backends() {
#define GDN_BACKEND(name) &name::backend(),
  static const Backend *const all[] = {GDN_FOR_EACH_BACKEND(GDN_BACKEND)};
#undef GDN_BACKEND
  return all;
}

const Backend *find_backend(std::string_view name) {
  for (const Backend *b : backends()) {
    if (name == b->name()) return b;
  }
  return nullptr;
}

int32_t find_isa(const Backend &backend, std::string_view name) {
  const std::span<const Isa> isas = backend.isas();
  for (size_t i = 0; i < isas.size(); ++i) {
    if (name == isas[i].name) return static_cast<int32_t>(i);
  }
  return -1;
}

std::string backend_names() {
  std::string out;
  for (const Backend *b : backends()) {
    if (!out.empty()) out += ", ";
    out += b->name();
  }
  return out;
}

std::string isa_names(const Backend &backend) {
  std::string out;
  for (const Isa &isa : backend.isas()) {
    if (!out.empty()) out += ", ";
    out += isa.name;
  }
  return out;
}

namespace {

/// nullptr if there is no such backend or no such instruction set.
const Isa *isa_at(const char *backend, int i) {
  const Backend *b = backend != nullptr ? find_backend(backend) : nullptr;
  if (b == nullptr || i < 0 || static_cast<size_t>(i) >= b->isas().size()) return nullptr;
  return &b->isas()[static_cast<size_t>(i)];
}

}  // namespace
}  // namespace gdn::api

int gdn_backend_count(void) { return static_cast<int>(gdn::api::backends().size()); }

const char *gdn_backend_name(int i) {
  return i >= 0 && i < gdn_backend_count() ? gdn::api::backends()[static_cast<size_t>(i)]->name()
                                           : nullptr;
}

int gdn_isa_count(const char *backend) {
  const gdn::Backend *b = backend != nullptr ? gdn::api::find_backend(backend) : nullptr;
  return b != nullptr ? static_cast<int>(b->isas().size()) : 0;
}

const char *gdn_isa_name(const char *backend, int i) {
  const gdn::Isa *isa = gdn::api::isa_at(backend, i);
  return isa != nullptr ? isa->name : nullptr;
}

int gdn_isa_supported(const char *backend, int i) {
  const gdn::Isa *isa = gdn::api::isa_at(backend, i);
  return isa != nullptr && isa->supported ? 1 : 0;
}
