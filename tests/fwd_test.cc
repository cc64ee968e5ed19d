// The fused forward against the float64 reference: every case, type and instruction set, each
// registered by name. Suites: small (cheap cases, for sanitizer builds too), quick, full.
//
// GDN_TEST_RESULTS=FILE writes the errors as JSON for plot_errors.py.

#include <gtest/gtest.h>

#include <cstdio>

#include "cases/case_run.h"
#include "cases/cases.h"
#include "cases/results.h"

namespace gdn::testing {
namespace {

class FwdTest : public ::testing::Test {
 public:
  FwdTest(const Case &c, Element type, Target target)
      : case_(c), type_(type), target_(std::move(target)) {}

  void TestBody() override {
    if (!target_.supported) GTEST_SKIP() << target_.name() << " cannot run on this machine";
    const Verdict verdict = run_case(Operation::chunk, case_, type_, target_);
    record_result(case_, type_, target_, verdict);
    EXPECT_EQ(verdict.failure, "");
  }

 private:
  const Case &case_;
  Element type_;
  Target target_;
};

const char *suite_of(const Case &c) {
  if (!c.tagged(kQuick)) return "full";
  return work_of(c) < 4e8 ? "small" : "quick";
}

void register_all() {
  for (const Case &c : cases()) {
    if (c.has(kSlotPerToken)) continue;
    for (const Element type : types_of(c)) {
      for (const Target &target : targets_of("cpu")) {
        const std::string name = std::string(c.name) + "/" + name_of(type) + "/" + target.name();
        ::testing::RegisterTest(
            suite_of(c), name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
            [&c, type, target]() -> ::testing::Test * { return new FwdTest(c, type, target); });
      }
    }
  }
}

}  // namespace
}  // namespace gdn::testing

int main(int argc, char **argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (gdn::testing::targets_of("cpu").empty()) {
    std::fputs("The library has no CPU backend: nothing to test.\n", stderr);
    return 1;
  }
  gdn::testing::register_all();
  return RUN_ALL_TESTS();
}
