// The recurrent operation against the float64 reference: decode, speculative verify, pools, state
// in place; every case that is short enough, on every instruction set. The recurrent operation also
// serves whole sequences.

#include "case_test.h"

namespace gdn::testing {
namespace {

class RecurrentTest : public CaseTest {
 public:
  using CaseTest::CaseTest;

  void TestBody() override {
    EXPECT_EQ(run_case(Operation::recurrent, case_, type_, target_).failure, "");
  }
};

// Rows [from, from + count) of dimension 1 of a [1, T, ..] array.
Array tokens_of(const Array &array, int64_t from, int64_t count) {
  Shape shape = array.shape();
  const auto row = static_cast<size_t>(array.size() / shape[1]);
  shape[1] = count;
  const std::vector<float> all = array.values();
  Array part(array.type(), shape);
  part.assign(
      std::span(all).subspan(static_cast<size_t>(from) * row, static_cast<size_t>(count) * row));
  return part;
}

// Decoding token by token in place, and verifying four drafts at a time of which some are rejected,
// both end where one call over the accepted tokens ends.
class SequenceTest : public CaseTest {
 public:
  using CaseTest::CaseTest;

  void TestBody() override {
    const Prepared &whole = prepare(case_, type_);
    ASSERT_EQ(whole.expected.failure, "");
    token_by_token(whole);
    speculative(whole);
  }

 private:
  DeltaRuleCall part_of(const DeltaRuleCall &call, int64_t from, int64_t count) const {
    DeltaRuleCall part(call);
    part.lengths = {count};
    part.q = tokens_of(*call.q, from, count);
    part.k = tokens_of(*call.k, from, count);
    part.v = tokens_of(*call.v, from, count);
    part.g = tokens_of(*call.g, from, count);
    part.beta = tokens_of(*call.beta, from, count);
    part.o = Array(type_, part.v->shape());
    part.o->poison();
    part.final_state.reset();
    part.in_place = false;
    return part;
  }

  void judge(const std::vector<float> &o, const std::vector<float> &state, const Prepared &whole) {
    const Tolerance tolerance = tolerance_of(case_, type_, type_);
    const std::vector<int64_t> rows(o.size() / static_cast<size_t>(case_.dv), 0);
    EXPECT_LE(compare(o, whole.expected.o, case_.dv, rows, type_).total, tolerance.total);
    const std::vector<int64_t> state_rows(state.size() / static_cast<size_t>(case_.dv), 0);
    EXPECT_LE(compare(state, whole.expected.state, case_.dv, state_rows, type_).total,
              tolerance.total);
  }

  void token_by_token(const Prepared &whole) {
    Array state(Element::f32, whole.call.initial_state->shape());
    state.assign(whole.call.initial_values);
    std::vector<float> o;
    for (int64_t t = 0; t < case_.tokens; ++t) {
      DeltaRuleCall step = part_of(whole.call, t, 1);
      step.initial_state = state;
      step.in_place = true;
      ASSERT_EQ(run(Operation::recurrent, step, target_), "");
      const std::vector<float> row = step.o->values();
      o.insert(o.end(), row.begin(), row.end());
    }
    judge(o, state.values(), whole);
  }

  // Slots 1 .. 4 take the states after each of four tokens. The last `rejected` of every four are
  // drafts to be thrown away: the next call starts at the slot of the last accepted one.
  void speculative(const Prepared &whole) {
    Shape shape = whole.call.initial_state->shape();
    const auto size = static_cast<size_t>(whole.call.initial_state->size());
    shape[0] = 6;
    Array pool(Element::f32, shape);
    std::vector<float> values(6 * size, 0.0F);
    // The state before the first call lies where one accepted token would have left it.
    std::copy(whole.call.initial_values.begin(), whole.call.initial_values.end(),
              values.begin() + static_cast<int64_t>(size));
    pool.assign(values);
    std::vector<float> o;
    int64_t accepted = 1;
    for (int64_t t = 0; t < case_.tokens;) {
      const int64_t count = std::min<int64_t>(4, case_.tokens - t);
      DeltaRuleCall call = part_of(whole.call, t, count);
      call.initial_state = pool;
      call.state_indices = Array(Element::i32, {1, 4});
      call.state_indices->assign(std::vector<int64_t>{1, 2, 3, 4});
      call.num_accepted_tokens = Array(Element::i32, {1});
      call.num_accepted_tokens->assign(std::vector<int64_t>{accepted});
      ASSERT_EQ(run(Operation::recurrent, call, target_), "");
      accepted = std::min<int64_t>(count, 1 + t % 4);
      const std::vector<float> rows = call.o->values();
      o.insert(o.end(), rows.begin(),
               rows.begin() + accepted * static_cast<int64_t>(rows.size()) / count);
      t += accepted;
    }
    values = pool.values();
    const auto last = values.begin() + accepted * static_cast<int64_t>(size);
    judge(o, {last, last + static_cast<int64_t>(size)}, whole);
    const std::vector<float> untouched(size, 0.0F);
    EXPECT_TRUE(std::equal(untouched.begin(), untouched.end(), values.begin())) << "slot 0";
    EXPECT_TRUE(std::equal(untouched.begin(), untouched.end(),
                           values.begin() + 5 * static_cast<int64_t>(size)))
        << "slot 5";
  }
};

void register_all() {
  for (const Case &c : cases()) {
    if (c.tagged(kQuick) && !c.chunk_only() && work_of(c) < 1.5e8) {
      register_case<RecurrentTest>("recurrent", c);
    }
  }
  register_case<SequenceTest>("sequence", case_named("decode_sequence"));
}

}  // namespace
}  // namespace gdn::testing

int main(int argc, char **argv) {
  return gdn::testing::case_test_main(argc, argv, gdn::testing::register_all);
}
