// The stages on the backend "ascend" through the C interface: the ladder and the hard cases, under
// the ladder's own rule and ours, each stage by itself and all of them chained, and the same bits
// from several schedules.

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
    const uint64_t inputs = call.input_hash();
    StageCall stages(call, chunk_);
    // The cases of the whole operation are for the chain.
    const bool whole = case_.tagged(kWhole);
    if (!whole) run_each(call, stages);
    // What w and u lose in 16 bits is too much for the hard cases' chains with longer chunks than
    // the public one, whoever computes them.
    if (chunk_ == GDN_CHUNK_SIZE || !case_.tagged(kHard)) {
      chain(call, stages, whole ? seeds_.size() : 1);
    }
    EXPECT_EQ(stages.damage(), "");
    EXPECT_EQ(call.input_hash(), inputs) << "an input was modified";
  }

 private:
  /// Each stage by itself.
  void run_each(const DeltaRuleCall &call, StageCall &stages) {
    const DeltaRuleCall wide = call.widened();
    StageCall exact(wide, chunk_);
    for (const Stage stage : kStages) ASSERT_EQ(exact.run(stage, reference_target()), "");
    // Each stage reads the reference's results of those before, rounded to its types, as the
    // reference does then. The last stage comes first, so that none reads what another has left.
    stages.copy_values(exact);
    exact.copy_values(stages);
    for (size_t i = std::size(kStages); i-- > 0;) {
      SCOPED_TRACE(name_of(kStages[i]));
      ASSERT_EQ(exact.run(kStages[i], reference_target()), "");
      run_schedules(kStages[i], exact, stages);
    }
  }

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
    // The rule is made for inputs of the size of the ladder's.
    if (case_.recipe != Recipe::huge_v) {
      EXPECT_EQ(stage_rule(actual, expected), "");
    }
  }

  /// What one stage leaves is what the next reads; against the recurrence.
  void chain(const DeltaRuleCall &call, StageCall &stages, size_t schedules) {
    SCOPED_TRACE("all stages");
    const Expected expected = expect(call);
    ASSERT_EQ(expected.failure, "");
    std::vector<unsigned char> o, state;
    for (size_t i = 0; i < schedules; ++i) {
      setenv("GDN_ASCEND_SEED", std::to_string(seeds_[i]).c_str(), 1);
      for (const Stage stage : kStages) {
        for (Array *array : stages.outputs(stage)) array->poison();
      }
      for (const Stage stage : kStages) ASSERT_EQ(stages.run(stage, {"ascend", "model"}), "");
      if (i == 0) {
        judge(stages.o, expected.o, Stage::fwd_o, false);
        judge(stages.final_state, expected.state, Stage::fwd_h, true);
        o = stages.o.bytes();
        state = stages.final_state.bytes();
      }
      EXPECT_EQ(stages.o.bytes(), o) << "schedule " << seeds_[i];
      EXPECT_EQ(stages.final_state.bytes(), state) << "schedule " << seeds_[i];
    }
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

// What the kernels do not take.
constexpr uint32_t kNotServed = kInPlace | kPool | kSlotPerToken | kNoG | kNoBeta | kQkL2Norm |
                                kGate | kBetaSigmoid | kNegEigval | kVFirst | kInterleaved |
                                kNoFinalState | kStateBf16 | kStrided | kStridedState | kHeadFirst |
                                kBroadcast | kReversed | kGatesSameType;

bool served(const Case &c) {
  return (c.options & kNotServed) == 0 && c.dk == 128 && c.dv == 128 && c.checkpoint_every == 0;
}

/// Small enough to be run each time.
bool small(const Case &c) {
  return c.tagged(kQuick) && c.tokens * c.hv <= (c.lengths.size() >= 5 ? 17000 : 8500);
}

/// quick: the small cases, types and chunks by turns, and a schedule of their own; the smallest
/// with three schedules. full: every case with bf16 in chunks of 128 and f16 in chunks of 64, and
/// three schedules; with HV = HK, and hard cases, also the other way round, with one. Those of the
/// whole operation have the two by turns.
void register_all() {
  const std::vector<int> three = {1, 2, 3};
  int turn = 0;
  int whole = 0;
  for (const Case &c : cases()) {
    if (c.tagged(kWhole) && served(c)) {
      const bool odd = whole++ % 2 == 1;
      register_one("full", c, odd ? Element::f16 : Element::bf16, odd ? 64 : 128, three);
    }
    if (!c.tagged(kLadder) && !(c.tagged(kHard) && served(c))) continue;
    const std::vector<int> one = {1 + turn};
    for (const Element type : {Element::bf16, Element::f16}) {
      for (const int32_t chunk : {64, 128}) {
        const bool usual = (type == Element::bf16) == (chunk == 128);
        const bool fewest_heads = c.hv == c.hk || !c.tagged(kLadder);
        if (usual || fewest_heads) register_one("full", c, type, chunk, usual ? three : one);
      }
    }
    if (!small(c)) continue;
    const Element type = turn % 2 == 0 ? Element::bf16 : Element::f16;
    register_one("quick", c, type, turn % 4 < 2 ? 128 : 64, c.tokens * c.hv <= 4096 ? three : one);
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
