#ifndef GDN_CASES_TARGET_H_
#define GDN_CASES_TARGET_H_

#include <gdn/gdn.h>

#include <string>
#include <string_view>
#include <vector>

namespace gdn::testing {

/// One compiled code path of the library.
struct Target {
  std::string backend;
  std::string isa;
  bool supported = true;  ///< By this machine.

  std::string name() const { return backend + "_" + isa; }
};

/// The code paths of a backend, slowest first.
std::vector<Target> targets_of(std::string_view backend);

/// The code paths under test: those of the backend that GDN_TEST_BACKEND names, else of "cpu".
std::vector<Target> tested_targets();

/// The float64 reference.
Target reference_target();

/// A gdn_exec that forces a target; it points into `target`.
gdn_exec exec_for(const Target &target, int threads = 0, uint32_t flags = 0);

/// Empty for GDN_OK, else the status and gdn_last_error().
std::string describe(gdn_status status);

}  // namespace gdn::testing

#endif  // GDN_CASES_TARGET_H_
