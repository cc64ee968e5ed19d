#include "api/environment.h"

#include <cstdlib>

namespace gdn::api {
namespace {

std::string variable(const char *name) {
  const char *value = std::getenv(name);
  return value != nullptr ? value : "";
}

}  // namespace

const Environment &environment() {
  // Never destroyed: threads may call while the process exits.
  static const auto *const instance =
      new Environment{variable("GDN_BACKEND"), variable("GDN_ISA"), variable("GDN_CHECK") == "1"};
  return *instance;
}

}  // namespace gdn::api
