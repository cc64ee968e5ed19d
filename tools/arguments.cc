#include "tools/arguments.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <regex>
#include <stdexcept>
#include <string>
#include <utility>

namespace gdn::tools {

namespace {

/// The number that is the whole text, if it fits.
template <class T>
std::optional<T> parse(const std::string &text) {
  T value = 0;
  const char *end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && rest == end ? std::optional(value) : std::nullopt;
}

}  // namespace

CLI::Validator whole_number(uint64_t lowest, uint64_t highest) {
  return {[=](const std::string &text) {
            const std::optional<uint64_t> value = parse<uint64_t>(text);
            if (value && *value >= lowest && *value <= highest) return std::string();
            return fmt::format("expected a whole number from {} to {}, found {}", lowest, highest,
                               text);
          },
          "", "whole number"};
}

CLI::Validator multiple_of(int64_t unit) {
  return {[=](const std::string &text) {
            const std::optional<int64_t> value = parse<int64_t>(text);
            if (value && *value >= 0 && *value % unit == 0) return std::string();
            return fmt::format("expected a multiple of {}, found {}", unit, text);
          },
          "", "multiple"};
}

CLI::Validator thread_count() { return whole_number(0, GDN_MAX_THREADS); }

CLI::Validator number(double lowest, double highest) {
  return {[=](const std::string &text) {
            const std::optional<double> value = parse<double>(text);  // Comparisons refuse NaN.
            if (value && *value >= lowest && *value <= highest) return std::string();
            return fmt::format("expected a number from {} to {}, found {}", lowest, highest, text);
          },
          "", "number"};
}

void check(gdn_status status) {
  if (status == GDN_OK) return;
  static const std::pair<std::regex, const char *> names[] = {
      {std::regex("^gdn_[a-z0-9_]+: "), ""},
      {std::regex("\\bexec->(backend|isa|threads)\\b"), "--$1"},
      {std::regex("^(scale|head_map) is"), "--$1 is"},
  };
  std::string message = gdn_last_error();
  for (const auto &[pattern, name] : names) message = std::regex_replace(message, pattern, name);
  throw std::runtime_error(message);
}

}  // namespace gdn::tools
