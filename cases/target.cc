#include "cases/target.h"

#include <cstdlib>

namespace gdn::testing {

std::vector<Target> targets_of(std::string_view backend) {
  const std::string name(backend);
  std::vector<Target> targets;
  for (int i = 0; i < gdn_isa_count(name.c_str()); ++i) {
    targets.push_back(
        {name, gdn_isa_name(name.c_str(), i), gdn_isa_supported(name.c_str(), i) != 0});
  }
  return targets;
}

std::vector<Target> tested_targets() {
  const char *backend = std::getenv("GDN_TEST_BACKEND");
  return targets_of(backend != nullptr ? backend : "cpu");
}

Target reference_target() { return {"reference", "f64", true}; }

gdn_exec exec_for(const Target &target, int threads, uint32_t flags) {
  gdn_exec exec = {};
  exec.struct_size = sizeof(exec);
  exec.threads = threads;
  exec.flags = flags;
  exec.backend = target.backend.c_str();
  exec.isa = target.isa.c_str();
  return exec;
}

std::string describe(gdn_status status) {
  if (status == GDN_OK) return "";
  return std::string(gdn_status_string(status)) + ": " + gdn_last_error();
}

}  // namespace gdn::testing
