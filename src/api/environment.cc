#include "api/environment.h"

#include <charconv>
#include <cstdlib>
#include <utility>

#include "core/backend.h"

namespace gdn::api {
namespace {

std::string variable(const char *name) {
  const char *value = std::getenv(name);
  return value != nullptr ? value : "";
}

Number number(const char *name, int32_t lowest, int32_t highest, std::string expected) {
  const std::string text = variable(name);
  int32_t value = 0;
  const char *end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  const bool whole = error == std::errc() && rest == end;
  const bool valid = text.empty() || (whole && value >= lowest && value <= highest);
  return {name, std::move(expected), text, valid ? value : 0, valid};
}

Environment read() {
  return {variable("GDN_BACKEND"),
          variable("GDN_ISA"),
          variable("GDN_THREADS_FROM"),
          number("GDN_CHECK", 0, 1, "0 or 1"),
          number("GDN_NO_SPLIT", 0, 1, "0 or 1"),
          number("GDN_NUM_THREADS", 1, kMaxThreads,
                 "a number from 1 to " + std::to_string(kMaxThreads))};
}

}  // namespace

const Environment &environment() {
  // Never destroyed: threads may call while the process exits.
  static const auto *const instance = new Environment(read());
  return *instance;
}

}  // namespace gdn::api
