// The ladder's stages on the backend "ascend" through the C interface: its own rule and ours, and
// the same bits from several schedules.

#include <cstdlib>

#include "case_test.h"
#include "cases/errors.h"
#include "cases/stage_call.h"

namespace gdn::testing {
namespace {

class LadderTest : public ::testing::Test {
 public:
  LadderTest(const Case &c, Element type, int32_t chunk, std::vector<int> seeds)
      : case_(c), type_(type), chunk_(chunk), seeds_(std::move(seeds)) {}

  void TestBody() override {
    const DeltaRuleCall call = make_call(case_, type_);
    const DeltaRuleCall wide = call.widened();
    StageCall exact(wide, chunk_);
    for (const Stage stage : kStages) ASSERT_EQ(exact.run(stage, reference_target()), "");
    const uint64_t inputs = call.input_hash();
    // Each stage reads the reference's result of the one before.
    StageCall stages(call, chunk_);
    stages.copy_values(exact);
    for (size_t i = std::size(kStages); i-- > 0;) {
      SCOPED_TRACE(name_of(kStages[i]));
      run_schedules(kStages[i], exact, stages);
    }
    EXPECT_EQ(stages.damage(), "");
    EXPECT_EQ(call.input_hash(), inputs) << "an input was modified";
  }

 private:
  void run_schedules(Stage stage, StageCall &exact, StageCall &stages) {
    const std::vector<Array *> outputs = stages.outputs(stage);
    const std::vector<Array *> expected = exact.outputs(stage);
    std::vector<std::vector<unsigned char>> first;
    for (const int seed : seeds_) {
      for (Array *array : outputs) array->poison();
      setenv("GDN_ASCEND_SEED", std::to_string(seed).c_str(), 1);
      ASSERT_EQ(stages.run(stage, {"ascend", "model"}), "") << "schedule " << seed;
      for (size_t i = 0; i < outputs.size(); ++i) {
        if (seed == seeds_[0]) {
          judge(*outputs[i], expected[i]->values(), stage,
                stage == Stage::fwd_h && outputs[i] != &stages.v_new);
          first.push_back(outputs[i]->bytes());
        }
        EXPECT_EQ(outputs[i]->bytes(), first[i]) << "schedule " << seed;
      }
    }
  }

  void judge(const Array &array, const std::vector<float> &expected, Stage stage, bool states) {
    const Shape &shape = array.shape();
    const int64_t heads = states ? shape[1] : shape[2];
    const int64_t width = stage == Stage::cumsum ? 1 : shape[3];
    const int64_t rows_of_head = states ? shape[2] : 1;
    std::vector<int64_t> head_of_row(static_cast<size_t>(array.size() / width));
    for (size_t r = 0; r < head_of_row.size(); ++r) {
      head_of_row[r] = static_cast<int64_t>(r) / rows_of_head % heads;
    }
    const std::vector<float> actual = array.values();
    const Error error = compare(actual, expected, width, head_of_row, array.type());
    // The last two round operands that are not inputs to 16 bits.
    const bool rounds = stage == Stage::fwd_h || stage == Stage::fwd_o;
    const Tolerance tolerance = tolerance_of(case_, rounds ? type_ : Element::f32, array.type());
    EXPECT_TRUE(error.finite);
    EXPECT_LE(error.total, tolerance.total);
    EXPECT_LE(error.worst_block, tolerance.block) << "head " << error.block;
    EXPECT_EQ(stage_rule(actual, expected), "");
  }

  const Case &case_;
  Element type_;
  int32_t chunk_;
  std::vector<int> seeds_;
};

void register_one(const char *suite, const Case &c, Element type, int32_t chunk,
                  const std::vector<int> &seeds) {
  const std::string name = std::string(c.name) + "/" + name_of(type) + "/" + std::to_string(chunk);
  ::testing::RegisterTest(suite, name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                          [&c, type, chunk, seeds]() -> ::testing::Test * {
                            return new LadderTest(c, type, chunk, seeds);
                          });
}

/// quick: each case once, with its quick number of value heads, types and chunks by turns, and a
/// schedule of its own; small ones with three schedules. full: everything, with three where HV is HK.
void register_all() {
  int turn = 0;
  for (const Case &c : cases()) {
    if (!c.tagged(kLadder)) continue;
    for (const Element type : {Element::bf16, Element::f16}) {
      for (const int32_t chunk : {64, 128}) {
        register_one("full", c, type, chunk,
                     c.hv == c.hk ? std::vector<int>{1, 2, 3} : std::vector<int>{1 + turn});
      }
    }
    if (!c.tagged(kQuick)) continue;
    const Element type = turn % 2 == 0 ? Element::bf16 : Element::f16;
    const bool small = c.tokens * c.hv <= 4096;
    register_one("quick", c, type, turn % 4 < 2 ? 128 : 64,
                 small ? std::vector<int>{1, 2, 3} : std::vector<int>{1 + turn});
    ++turn;
  }
}

}  // namespace
}  // namespace gdn::testing

int main(int argc, char **argv) {
  ::testing::InitGoogleTest(&argc, argv);
  gdn::testing::register_all();
  return RUN_ALL_TESTS();
}
