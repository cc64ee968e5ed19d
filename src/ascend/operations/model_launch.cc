#include "ascend/operations/model_launch.h"

#include <cstdlib>
#include <string>

#include "ascend/operations/operations.h"

namespace gdn::ascend {

model::Options default_options() {
  model::Options options;
  if (const char *seed = std::getenv("GDN_ASCEND_SEED")) {
    options.seed = std::strtoull(seed, nullptr, 10);
  }
  return options;
}

Status ModelLaunch::status_of(const std::vector<model::Finding> &findings) {
  if (findings.empty()) return {};
  return {Code::internal_error, "the model of the NPU found " + std::to_string(findings.size()) +
                                    " faults in the kernel, the first: " + findings.front().text};
}

}  // namespace gdn::ascend
