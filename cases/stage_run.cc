#include "cases/stage_run.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "cases/judge.h"

namespace gdn::testing {
namespace {

/// One head is a block: dimension 2 of [B, T, H, ..], 1 of states. `values` of the array's elements
/// are compared.
std::vector<int64_t> blocks_by_head(const Shape &shape, bool states, size_t values) {
  const int64_t heads = states ? shape[1] : shape[2];
  const int64_t rows = static_cast<int64_t>(values) / (shape.size() == 4 ? shape[3] : 1);
  const int64_t rows_of_head = states ? shape[2] : 1;
  std::vector<int64_t> blocks(static_cast<size_t>(rows));
  for (int64_t r = 0; r < rows; ++r) blocks[static_cast<size_t>(r)] = r / rows_of_head % heads;
  return blocks;
}

/// A case with the values of all stages, and what the reference makes of each stage's rounded
/// inputs.
struct PreparedStages {
  const Case *c;
  Element type;
  uint64_t seed;
  DeltaRuleCall call;
  Expected expected;
  std::unique_ptr<StageCall> stages;
  std::vector<std::vector<float>> values;  // Outputs of all stages, in order.
  std::vector<std::vector<float>> given;   // What `stages` holds as inputs of later stages.

  PreparedStages(const Case &of, Element t, uint64_t s)
      : c(&of), type(t), seed(s), call(make_call(of, t, s)), expected(expect(call)) {
    const DeltaRuleCall wide = call.widened();
    const int32_t chunk = of.chunk_size > 0 ? of.chunk_size : GDN_CHUNK_SIZE;
    StageCall exact(wide, chunk);
    for (const Stage stage : kStages) note(exact.run(stage, reference_target()));
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
      note(exact.run(kStages[i], reference_target()));
      const std::vector<Array *> outputs = exact.outputs(kStages[i]);
      for (size_t j = outputs.size(); j-- > 0;) values.insert(values.begin(), outputs[j]->values());
    }
  }

  void note(const std::string &failure) {
    if (expected.failure.empty()) expected.failure = failure;
  }

  /// Every array holds the value that the next stages read.
  void restore() {
    size_t i = 0;
    for (const Stage stage : kStages) {
      for (Array *array : stages->outputs(stage)) array->assign(given[i++]);
    }
  }
};

PreparedStages &prepare(const Case &c, Element type, uint64_t seed) {
  static std::unique_ptr<PreparedStages> latest;
  if (!latest || latest->c != &c || latest->type != type || latest->seed != seed) {
    latest.reset();
    latest = std::make_unique<PreparedStages>(c, type, seed);
  }
  return *latest;
}

/// Holds one case's stages against the reference.
class Judge {
 public:
  explicit Judge(PreparedStages &p) : p_(p), c_(*p.c) {}

  std::vector<StageVerdict> run(const Target &target) {
    p_.restore();
    const uint64_t inputs = p_.call.input_hash();
    size_t next = p_.values.size();
    // The last stage first: a stage's outputs are inputs of later ones alone.
    for (size_t i = std::size(kStages); i-- > 0;) {
      const Stage stage = kStages[i];
      open(name_of(stage));
      const std::vector<Array *> outputs = p_.stages->outputs(stage);
      for (Array *array : outputs) array->poison();
      next -= outputs.size();
      if (!called(stage, target)) continue;
      for (size_t j = 0; j < outputs.size(); ++j) {
        const bool states = stage == Stage::fwd_h && outputs[j] != &p_.stages->v_new;
        const bool gates = stage == Stage::cumsum || stage == Stage::solve;
        judge(*outputs[j], p_.values[next + j], states, gates ? outputs[j]->type() : p_.type, true);
      }
    }
    std::reverse(verdicts_.begin(), verdicts_.end());
    chain(target);
    if (const std::string damage = p_.stages->damage(); !damage.empty()) fail(damage);
    if (p_.call.input_hash() != inputs) fail("An input was modified.");
    return std::move(verdicts_);
  }

 private:
  void open(std::string part) { verdicts_.push_back({std::move(part), {}, "", true}); }

  void fail(const std::string &sentence) {
    std::string &failure = verdicts_.back().failure;
    failure += (failure.empty() ? "" : " ") + sentence;
  }

  bool called(Stage stage, const Target &target) {
    const std::string failure =
        p_.expected.failure.empty() ? p_.stages->run(stage, target) : p_.expected.failure;
    if (failure.empty()) return true;
    verdicts_.back().served = !failure.starts_with("GDN_UNSUPPORTED");
    fail(failure);
    return false;
  }

  /// What one stage leaves is what the next reads.
  void chain(const Target &target) {
    open("all stages");
    for (const Stage stage : kStages) {
      for (Array *array : p_.stages->outputs(stage)) array->poison();
    }
    for (const Stage stage : kStages) {
      if (!called(stage, target)) return;
    }
    judge(p_.stages->o, p_.expected.o, false, p_.type, false);
    if (p_.call.state_out() != nullptr) {
      judge(p_.stages->final_state, p_.expected.state, true, p_.type, false);
    }
  }

  void judge(const Array &array, std::vector<float> expected, bool states, Element inputs,
             bool one_stage) {
    std::vector<float> actual = array.values();
    drop_padding(array, states, &actual, &expected);
    const int64_t width = array.shape().size() == 4 ? array.shape()[3] : 1;
    const Error error = compare(actual, expected, width,
                                blocks_by_head(array.shape(), states, actual.size()), array.type());
    Error &worst = verdicts_.back().error;
    if (error.total >= worst.total || !error.finite) worst = error;
    const Tolerance tolerance = tolerance_of(c_, inputs, array.type());
    if (!error.finite) fail("A result is not finite.");
    if (!(error.total <= tolerance.total)) {
      fail("The error is " + std::to_string(error.total) + ", expected at most " +
           std::to_string(tolerance.total) + ".");
    }
    if (!(error.worst_block <= tolerance.block)) {
      fail("The error of head " + std::to_string(error.block) + " is " +
           std::to_string(error.worst_block) + ", expected at most " +
           std::to_string(tolerance.block) + ".");
    }
    // The rule is made for inputs of the size of the ladder's.
    if (one_stage && c_.recipe != Recipe::huge_v) {
      if (const std::string broken = stage_rule(actual, expected); !broken.empty()) fail(broken);
    }
  }

  /// Takes what belongs to no sequence off both; nobody may have written it.
  void drop_padding(const Array &array, bool states, std::vector<float> *actual,
                    std::vector<float> *expected) {
    if (!c_.has(kPadded)) return;
    int64_t tokens = 0;
    int64_t chunks = 0;
    for (const int64_t length : c_.lengths) {
      tokens += length;
      chunks += (length + GDN_CHUNK_SIZE - 1) / GDN_CHUNK_SIZE;
    }
    // h has more rows than chunks, a final state has one for each sequence.
    const auto sequences = static_cast<int64_t>(c_.lengths.size());
    const int64_t rows = array.shape()[states ? 0 : 1];
    const int64_t used = !states ? tokens : rows > sequences ? chunks : rows;
    const auto kept = rows > 0 ? array.size() / rows * used : 0;
    if (!std::all_of(actual->begin() + kept, actual->end(),
                     [](float e) { return std::isnan(e); })) {
      fail("Something was written after the end of cu_seqlens.");
    }
    actual->resize(static_cast<size_t>(kept));
    expected->resize(static_cast<size_t>(kept));
  }

  PreparedStages &p_;
  const Case &c_;
  std::vector<StageVerdict> verdicts_;
};

}  // namespace

bool for_stages(const Case &c) {
  constexpr uint64_t kNotForStages = kInPlace | kPool | kSlotPerToken | kOutputPerToken |
                                     kPositions | kHasInitialState | kNoG | kNoBeta | kQkL2Norm |
                                     kGate | kBetaSigmoid | kNegEigval;
  return (c.options & kNotForStages) == 0 && c.checkpoint_every == 0 && !c.tagged(kWhole);
}

std::vector<StageVerdict> run_stages(const Case &c, Element type, const Target &target,
                                     uint64_t seed) {
  return Judge(prepare(c, type, seed)).run(target);
}

}  // namespace gdn::testing
