#include "ascend/operations/model_launch.h"

#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>

#include "ascend/operations/operations.h"

namespace gdn::ascend {

Status read_environment(model::Options *options) {
  const char *value = std::getenv("GDN_ASCEND_SEED");
  const std::string_view text = value != nullptr ? value : "";
  if (text.empty()) return {};
  const char *end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, options->seed);
  if (error == std::errc() && rest == end) return {};
  return {Code::invalid_argument, "GDN_ASCEND_SEED is \"" + std::string(text) +
                                      "\", expected a whole number from 0 to " +
                                      std::to_string(UINT64_MAX) + "."};
}

Status ModelLaunch::status_of(const std::vector<model::Finding> &findings) {
  if (findings.empty()) return {};
  return {Code::internal_error, "the model of the NPU found " + std::to_string(findings.size()) +
                                    " faults in the kernel, the first: " + findings.front().text};
}

}  // namespace gdn::ascend
