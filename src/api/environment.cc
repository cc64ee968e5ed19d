#include "api/environment.h"

#include <charconv>
#include <cstdlib>

#include "core/backend.h"

namespace gdn::api {
namespace {

std::string variable(const char *name) {
  const char *value = std::getenv(name);
  return value != nullptr ? value : "";
}

int32_t thread_count(const std::string &text) {
  if (text.empty()) return 0;
  int32_t value = 0;
  const char *end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && rest == end && value >= 1 && value <= kMaxThreads ? value : -1;
}

Environment read() {
  const std::string threads = variable("GDN_NUM_THREADS");
  return {variable("GDN_BACKEND"),         variable("GDN_ISA"),   variable("GDN_CHECK") == "1",
          variable("GDN_NO_SPLIT") == "1", thread_count(threads), threads};
}

}  // namespace

const Environment &environment() {
  // Never destroyed: threads may call while the process exits.
  static const auto *const instance = new Environment(read());
  return *instance;
}

}  // namespace gdn::api
