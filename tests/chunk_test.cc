// The chunk operation against the float64 reference: every case, type and instruction set, each
// registered by name. Suites: small (cheap cases, for sanitizer builds too), quick, full.
//
// GDN_TEST_RESULTS=FILE appends the errors as lines of JSON, for plot_errors.py.

#include "case_test.h"
#include "cases/results.h"

namespace gdn::testing {
namespace {

class ChunkTest : public CaseTest {
 public:
  using CaseTest::CaseTest;

  void TestBody() override {
    const Verdict verdict = run_case(Operation::chunk, case_, type_, target_);
    record_result(case_, type_, target_, verdict);
    EXPECT_EQ(verdict.failure, "");
  }
};

void register_all() {
  for (const Case &c : cases()) {
    if (!c.recurrent_only()) register_case<ChunkTest>(suite_of(c, 4e8, 1e12), c);
  }
}

}  // namespace
}  // namespace gdn::testing

int main(int argc, char **argv) {
  return gdn::testing::case_test_main(argc, argv, gdn::testing::register_all);
}
