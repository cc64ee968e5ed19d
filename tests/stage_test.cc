// Each stage of the chunkwise algorithm against the float64 reference on the same inputs, and the
// chain of all stages against the recurrence. Suites as in chunk_test.cc.

#include <algorithm>
#include <cmath>
#include <memory>

#include "case_test.h"
#include "cases/errors.h"
#include "cases/stage_call.h"

namespace gdn::testing {
namespace {

// One head is a block: dimension 2 of [B, T, H, ..], 1 of states. `values` of the array's elements
// are compared.
std::vector<int64_t> blocks_by_head(const Shape &shape, bool states, size_t values) {
  const int64_t heads = states ? shape[1] : shape[2];
  const int64_t rows = static_cast<int64_t>(values) / (shape.size() == 4 ? shape[3] : 1);
  const int64_t rows_of_head = states ? shape[2] : 1;
  std::vector<int64_t> blocks(static_cast<size_t>(rows));
  for (int64_t r = 0; r < rows; ++r) blocks[static_cast<size_t>(r)] = r / rows_of_head % heads;
  return blocks;
}

// A case with the values of all stages, and what the reference makes of each stage's rounded
// inputs.
struct PreparedStages {
  const Case *c = nullptr;
  Element type = Element::f32;
  DeltaRuleCall call;
  Expected expected;
  std::unique_ptr<StageCall> stages;
  std::vector<std::vector<float>> values;  // Outputs of all stages, in order.
  std::vector<std::vector<float>> given;   // What `stages` holds as inputs of later stages.

  PreparedStages(const Case &of, Element t)
      : c(&of), type(t), call(make_call(of, t)), expected(expect(call)) {
    const DeltaRuleCall wide = call.widened();
    const int32_t chunk = of.chunk_size > 0 ? of.chunk_size : GDN_CHUNK_SIZE;
    StageCall exact(wide, chunk);
    for (const Stage stage : kStages) check(exact.run(stage, reference_target()));
    // bf16 and f16 chains store T and h in 16 bits where the case asks for gates in 16 bits.
    const Element narrow = of.has(kGatesSameType) ? t : Element::f32;
    stages = std::make_unique<StageCall>(call, chunk, StageTypes{narrow, narrow});
    stages->copy_values(exact);
    exact.copy_values(*stages);
    for (const Stage stage : kStages) {
      for (const Array *array : stages->outputs(stage)) given.push_back(array->values());
    }
    // The last stage first, so that no stage reads what another has computed anew.
    for (size_t i = std::size(kStages); i-- > 0;) {
      check(exact.run(kStages[i], reference_target()));
      const std::vector<Array *> outputs = exact.outputs(kStages[i]);
      for (size_t j = outputs.size(); j-- > 0;) values.insert(values.begin(), outputs[j]->values());
    }
  }

  void check(const std::string &failure) {
    if (expected.failure.empty()) expected.failure = failure;
  }

  // Every array holds the value that the next stages read.
  void restore() {
    size_t i = 0;
    for (const Stage stage : kStages) {
      for (Array *array : stages->outputs(stage)) array->assign(given[i++]);
    }
  }
};

class StageTest : public CaseTest {
 public:
  using CaseTest::CaseTest;

  void TestBody() override {
    static std::unique_ptr<PreparedStages> latest;
    if (!latest || latest->c != &case_ || latest->type != type_) {
      latest.reset();
      latest = std::make_unique<PreparedStages>(case_, type_);
    }
    ASSERT_EQ(latest->expected.failure, "");
    const uint64_t inputs = latest->call.input_hash();
    each_stage(*latest);
    chain(*latest);
    EXPECT_EQ(latest->stages->damage(), "");
    EXPECT_EQ(latest->call.input_hash(), inputs) << "an input was modified";
  }

 private:
  void each_stage(PreparedStages &p) {
    p.restore();
    size_t next = p.values.size();
    // The last stage first: a stage's outputs are inputs of later ones alone.
    for (size_t i = std::size(kStages); i-- > 0;) {
      const Stage stage = kStages[i];
      SCOPED_TRACE(name_of(stage));
      const std::vector<Array *> outputs = p.stages->outputs(stage);
      for (Array *array : outputs) array->poison();
      ASSERT_EQ(p.stages->run(stage, target_), "");
      next -= outputs.size();
      for (size_t j = 0; j < outputs.size(); ++j) {
        const bool states = stage == Stage::fwd_h && outputs[j] != &p.stages->v_new;
        const bool gates = stage == Stage::cumsum || stage == Stage::solve;
        judge(*outputs[j], p.values[next + j], states, gates ? outputs[j]->type() : type_);
      }
    }
  }

  void judge(const Array &array, std::vector<float> expected, bool states, Element inputs) {
    std::vector<float> actual = array.values();
    drop_padding(array, states, &actual, &expected);
    const int64_t width = array.shape().size() == 4 ? array.shape()[3] : 1;
    const Error error = compare(actual, expected, width,
                                blocks_by_head(array.shape(), states, actual.size()), array.type());
    const Tolerance tolerance = tolerance_of(case_, inputs, array.type());
    EXPECT_TRUE(error.finite);
    EXPECT_LE(error.total, tolerance.total);
    EXPECT_LE(error.worst_block, tolerance.block) << "head " << error.block;
    // The rule is made for inputs of the size of the ladder's.
    if (case_.recipe != Recipe::huge_v) {
      EXPECT_EQ(stage_rule(actual, expected), "");
    }
  }

  // What one stage leaves is what the next reads.
  void chain(PreparedStages &p) {
    SCOPED_TRACE("all stages");
    for (const Stage stage : kStages) {
      for (Array *array : p.stages->outputs(stage)) array->poison();
    }
    for (const Stage stage : kStages) ASSERT_EQ(p.stages->run(stage, target_), "");
    judge_chain(p.stages->o, p.expected.o, false);
    if (p.call.state_out() != nullptr) judge_chain(p.stages->final_state, p.expected.state, true);
  }

  // Takes what belongs to no sequence off both; nobody may have written it.
  void drop_padding(const Array &array, bool states, std::vector<float> *actual,
                    std::vector<float> *expected) {
    if (!case_.has(kPadded)) return;
    int64_t tokens = 0;
    int64_t chunks = 0;
    for (const int64_t length : case_.lengths) {
      tokens += length;
      chunks += (length + GDN_CHUNK_SIZE - 1) / GDN_CHUNK_SIZE;
    }
    // h has more rows than chunks, a final state has one for each sequence.
    const auto sequences = static_cast<int64_t>(case_.lengths.size());
    const int64_t rows = array.shape()[states ? 0 : 1];
    const int64_t used = !states ? tokens : rows > sequences ? chunks : rows;
    const auto kept = rows > 0 ? array.size() / rows * used : 0;
    EXPECT_TRUE(std::all_of(actual->begin() + kept, actual->end(), [](float e) {
      return std::isnan(e);
    })) << "written after the end of cu_seqlens";
    actual->resize(static_cast<size_t>(kept));
    expected->resize(static_cast<size_t>(kept));
  }

  void judge_chain(const Array &array, std::vector<float> expected, bool states) {
    std::vector<float> actual = array.values();
    drop_padding(array, states, &actual, &expected);
    const Error error = compare(actual, expected, array.shape()[3],
                                blocks_by_head(array.shape(), states, actual.size()), array.type());
    const Tolerance tolerance = tolerance_of(case_, type_, array.type());
    EXPECT_TRUE(error.finite);
    EXPECT_LE(error.total, tolerance.total);
    EXPECT_LE(error.worst_block, tolerance.block) << "head " << error.block;
  }
};

// Stages know nothing of these.
constexpr uint64_t kNotForStages = kInPlace | kPool | kSlotPerToken | kOutputPerToken | kPositions |
                                   kHasInitialState | kNoG | kNoBeta | kQkL2Norm | kGate |
                                   kBetaSigmoid | kNegEigval;

// Stages see one head at a time: of the ladder's four numbers of value heads the least and the most
// are enough here, and the others where the quick tests have them.
bool between(const Case &c) {
  return c.tagged(kLadder) && !c.tagged(kQuick) && c.hv != c.hk && c.hv != 4 * c.hk;
}

void register_all() {
  for (const Case &c : cases()) {
    if ((c.options & kNotForStages) != 0 || c.checkpoint_every > 0 || c.tagged(kWhole)) continue;
    if (between(c)) continue;
    register_case<StageTest>(suite_of(c, 1.5e8, 1e9), c);
  }
}

}  // namespace
}  // namespace gdn::testing

int main(int argc, char **argv) {
  return gdn::testing::case_test_main(argc, argv, gdn::testing::register_all);
}
