// Each stage of the chunkwise algorithm against the float64 reference on the same inputs, and the
// chain of all stages against the recurrence. Suites as in chunk_test.cc.

#include "case_test.h"
#include "cases/stage_run.h"

namespace gdn::testing {
namespace {

class StageTest : public CaseTest {
 public:
  using CaseTest::CaseTest;

  void TestBody() override {
    const std::vector<StageVerdict> verdicts = run_stages(case_, type_, target_);
    EXPECT_EQ(verdicts.size(), std::size(kStages) + 1);
    for (const StageVerdict &verdict : verdicts) EXPECT_EQ(verdict.failure, "") << verdict.part;
  }
};

// Stages see one head at a time: of the ladder's four numbers of value heads the least and the most
// are enough here, and the others where the quick tests have them.
bool between(const Case &c) {
  return c.tagged(kLadder) && !c.tagged(kQuick) && c.hv != c.hk && c.hv != 4 * c.hk;
}

void register_all() {
  for (const Case &c : cases()) {
    if (!for_stages(c) || between(c)) continue;
    register_case<StageTest>(suite_of(c, 1.5e8, 1e9), c);
  }
}

}  // namespace
}  // namespace gdn::testing

int main(int argc, char **argv) {
  return gdn::testing::case_test_main(argc, argv, gdn::testing::register_all);
}
