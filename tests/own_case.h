#ifndef GDN_TESTS_OWN_CASE_H_
#define GDN_TESTS_OWN_CASE_H_

// Cases of the delta rule that one test makes for itself, with the values that it is about.

#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "case_test.h"

namespace gdn::testing {

inline constexpr Element kTypes[] = {Element::f32, Element::bf16, Element::f16};
inline constexpr Operation kOperations[] = {Operation::chunk, Operation::recurrent};

inline const char *name_of(Operation operation) {
  return operation == Operation::chunk ? "chunk" : "recurrent";
}

/// A case made here instead of in cases.json: packed sequences, drawn as the ladder's.
class OwnCase {
 public:
  OwnCase(std::vector<int64_t> lengths, int64_t hv, int64_t dk, int64_t dv, uint64_t options)
      : lengths_(std::move(lengths)) {
    c_.name = "own";
    c_.lengths = lengths_;
    c_.packed = true;
    c_.batch = 1;
    c_.tokens = std::accumulate(lengths_.begin(), lengths_.end(), int64_t{0});
    c_.hk = 1;
    c_.hv = hv;
    c_.dk = dk;
    c_.dv = dv;
    c_.options = options;
  }
  OwnCase(const OwnCase &) = delete;
  OwnCase &operator=(const OwnCase &) = delete;

  const Case &get() const { return c_; }
  DeltaRuleCall draw(Element type) const { return make_call(c_, type); }

 private:
  std::vector<int64_t> lengths_;
  Case c_ = {};
};

/// Sets g to f(token, head), numbered over the packed tokens.
template <class F>
void set_g(DeltaRuleCall *call, F f) {
  const int64_t heads = call->g->shape()[2];
  std::vector<float> g(static_cast<size_t>(call->g->size()));
  for (size_t i = 0; i < g.size(); ++i) {
    g[i] = f(static_cast<int64_t>(i) / heads, static_cast<int64_t>(i) % heads);
  }
  call->g->assign(g);
}

/// Nothing enters the state: it only decays.
inline void only_decay(DeltaRuleCall *call) {
  call->beta->assign(std::vector<float>(static_cast<size_t>(call->beta->size()), 0.0F));
}

/// The largest relative RMS error over rows of `width` elements; infinite for what is not finite.
inline double worst_row(const std::vector<float> &actual, const std::vector<float> &expected,
                        int64_t width) {
  std::vector<int64_t> rows(actual.size() / static_cast<size_t>(width));
  std::iota(rows.begin(), rows.end(), 0);
  const Error error = compare(actual, expected, width, rows, Element::f32);
  return error.finite ? error.worst_block : std::numeric_limits<double>::infinity();
}

/// A test of each code path of the backend under test.
class TargetTest : public ::testing::TestWithParam<Target> {
 protected:
  void SetUp() override {
    if (!GetParam().supported) GTEST_SKIP() << GetParam().name() << " cannot run on this machine";
  }

  /// Runs a call by both operations and judges all that it writes.
  void expect_right(const Case &c, DeltaRuleCall *call) {
    const Expected expected = expect(*call);
    for (const Operation operation : kOperations) {
      SCOPED_TRACE(name_of(operation));
      call->reset();
      ASSERT_EQ(run(operation, *call, GetParam()), "");
      EXPECT_EQ(judge(c, *call, expected).failure, "");
    }
  }

  /// Runs a call by both operations and bounds the error of final_state, each head of each sequence
  /// by itself.
  void expect_states(DeltaRuleCall *call, double bound) {
    const Expected expected = expect(*call);
    const Shape &shape = call->final_state->shape();
    for (const Operation operation : kOperations) {
      SCOPED_TRACE(name_of(operation));
      call->reset();
      ASSERT_EQ(run(operation, *call, GetParam()), "");
      EXPECT_LE(worst_row(call->final_state->values(), expected.state, shape[2] * shape[3]), bound);
    }
  }
};

inline std::string name_of_target(const ::testing::TestParamInfo<Target> &target) {
  return target.param.name();
}

}  // namespace gdn::testing

#endif  // GDN_TESTS_OWN_CASE_H_
