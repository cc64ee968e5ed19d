#include "tools/arguments.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <stdexcept>
#include <string>

#include "cases/layer_run.h"

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

std::vector<std::string> with_layer_operations(std::vector<std::string> names) {
  for (const testing::LayerOperation operation : testing::kLayerOperations) {
    names.emplace_back(name_of(operation));
  }
  return names;
}

void check(gdn_status status) {
  if (status == GDN_OK) return;
  std::string message = gdn_last_error();
  const size_t operation = message.find(": ");
  if (message.starts_with("gdn_") && operation != std::string::npos) {
    message.erase(0, operation + 2);
  }
  for (const char *option : {"backend", "isa", "threads"}) {
    const std::string field = fmt::format("exec->{}", option);
    for (size_t at = message.find(field); at != std::string::npos; at = message.find(field)) {
      message.replace(at, field.size(), fmt::format("--{}", option));
    }
  }
  for (const char *option : {"scale", "head_map"}) {
    if (message.starts_with(fmt::format("{} is", option))) message.insert(0, "--");
  }
  throw std::runtime_error(message);
}

}  // namespace gdn::tools
