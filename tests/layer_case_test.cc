// The operations around the delta rule on the operands of the named cases, as gdn verify runs them.

#include "case_test.h"
#include "cases/layer_run.h"

namespace gdn::testing {
namespace {

template <LayerOperation kOperation>
class LayerCaseTest : public CaseTest {
 public:
  using CaseTest::CaseTest;

  void TestBody() override { EXPECT_EQ(run_layer(kOperation, case_, type_, target_).failure, ""); }
};

template <LayerOperation kOperation>
void register_operation(const Case &c) {
  if (!for_layer(kOperation, c)) return;
  const std::string suite = std::string(suite_of(c, 3e7, 5e8)) + "_" + name_of(kOperation);
  register_case<LayerCaseTest<kOperation>>(suite.c_str(), c);
}

void register_all() {
  for (const Case &c : cases()) {
    register_operation<LayerOperation::conv_fwd>(c);
    register_operation<LayerOperation::conv_update>(c);
    register_operation<LayerOperation::gating>(c);
    register_operation<LayerOperation::l2norm>(c);
    register_operation<LayerOperation::rms_norm>(c);
  }
}

}  // namespace
}  // namespace gdn::testing

int main(int argc, char **argv) {
  return gdn::testing::case_test_main(argc, argv, gdn::testing::register_all);
}
