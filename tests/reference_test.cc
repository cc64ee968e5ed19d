// The float64 reference: against closed forms, and against the chunkwise algebra written out here
// in float64, which shares nothing with its token recurrence.

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "cases/case_run.h"
#include "cases/stage_call.h"

namespace gdn::testing {
namespace {

// A call with one head of width 1: q, k, v, g, beta are sequences of numbers.
struct Scalar {
  std::vector<float> q, k, v, g, beta;
  float initial = 0.0F;
  double scale = 1.0;
};

struct Result {
  std::vector<float> o;
  float state;
};

Result run_scalar(const Scalar &s, Operation operation) {
  const auto n = static_cast<int64_t>(s.q.size());
  const auto array = [&](const std::vector<float> &values, size_t rank) {
    Shape shape(rank, 1);
    shape[1] = n;
    Array a(Element::f32, shape);
    a.assign(values);
    return a;
  };
  DeltaRuleCall call;
  call.flags = GDN_HAS_SCALE;
  call.scale = s.scale;
  call.lengths = {n};
  call.q = array(s.q, 4);
  call.k = array(s.k, 4);
  call.v = array(s.v, 4);
  call.g = array(s.g, 3);
  call.beta = array(s.beta, 3);
  call.o = Array(Element::f32, {1, n, 1, 1});
  call.initial_state = Array(Element::f32, {1, 1, 1, 1});
  call.initial_values = {s.initial};
  call.final_state = Array(Element::f32, {1, 1, 1, 1});
  call.reset();
  EXPECT_EQ(run(operation, call, reference_target()), "");
  return {call.o->values(), call.final_state->values()[0]};
}

class ReferenceOperation : public ::testing::TestWithParam<Operation> {};
INSTANTIATE_TEST_SUITE_P(Both, ReferenceOperation,
                         ::testing::Values(Operation::chunk, Operation::recurrent));

TEST_P(ReferenceOperation, TwoTokensByHand) {
  // S = 4. Token 1: decay 1/2 -> 2; v' = 0.5 (3 - 2 * 2) = -0.5; S = 2 - 0.5 * 2 = 1;
  // o = 10 * 1 * 3 = 30. Token 2: decay 1 -> 1; v' = 1 (5 - 1) = 4; S = 5; o = 10 * 5 * 1 = 50.
  Scalar s;
  s.q = {3, 1};
  s.k = {2, 1};
  s.v = {3, 5};
  s.g = {-std::log(2.0F), 0};
  s.beta = {0.5F, 1};
  s.initial = 4;
  s.scale = 10;
  const Result r = run_scalar(s, GetParam());
  EXPECT_NEAR(r.o[0], 30, 1e-5);
  EXPECT_NEAR(r.o[1], 50, 1e-5);
  EXPECT_NEAR(r.state, 5, 1e-6);
}

TEST_P(ReferenceOperation, WithBetaZeroTheStateDecays) {
  // With beta = 0 nothing is written and the state decays alone.
  Scalar s;
  const size_t n = 50;
  s.q.assign(n, 1);
  s.k.assign(n, 1);
  s.v.assign(n, 7);
  s.g.assign(n, -0.1F);
  s.beta.assign(n, 0);
  s.initial = 2;
  const Result r = run_scalar(s, GetParam());
  for (size_t t = 0; t < n; ++t) {
    EXPECT_NEAR(r.o[t], 2 * std::exp(-0.1 * static_cast<double>(t + 1)), 1e-6);
  }
}

TEST_P(ReferenceOperation, UnitKeyAndBetaOneStoresTheLatestValue) {
  Scalar s;
  s.q = {1, 1, 1};
  s.k = {1, 1, 1};
  s.v = {3, -2, 9};
  s.g = {-0.3F, -2, -0.01F};
  s.beta = {1, 1, 1};
  s.initial = 100;
  const Result r = run_scalar(s, GetParam());
  EXPECT_EQ(r.o, s.v);
  EXPECT_EQ(r.state, 9);
}

TEST_P(ReferenceOperation, BetaIsAGeometricApproach) {
  // Without decay S_t = v + (1 - beta)^t (S_0 - v).
  Scalar s;
  const size_t n = 20;
  s.q.assign(n, 1);
  s.k.assign(n, 1);
  s.v.assign(n, 4);
  s.g.assign(n, 0);
  s.beta.assign(n, 0.25F);
  const Result r = run_scalar(s, GetParam());
  for (size_t t = 0; t < n; ++t) {
    EXPECT_NEAR(r.o[t], 4 - 4 * std::pow(0.75, static_cast<double>(t + 1)), 1e-6);
  }
}

// The chunkwise form in float64, on the values of a widened call (float32, compact, block or
// interleaved heads, K first). Chunks of 48 tokens, a length that no implementation uses.
class ChunkForm {
 public:
  explicit ChunkForm(const DeltaRuleCall &call)
      : q_(call.q->values()),
        k_(call.k->values()),
        v_(call.v->values()),
        g_(call.g->values()),
        beta_(call.beta->values()),
        initial_(call.initial_state->values()),
        hk_(call.k->shape()[2]),
        hv_(call.v->shape()[2]),
        dk_(call.k->shape()[3]),
        dv_(call.v->shape()[3]),
        interleaved_(call.head_map == GDN_HEAD_MAP_INTERLEAVED) {
    o.resize(v_.size());
    state = std::vector<double>(initial_.begin(), initial_.end());
    int64_t begin = 0;
    for (size_t n = 0; n < call.lengths.size(); ++n) {
      for (int64_t h = 0; h < hv_; ++h) {
        double *s = state.data() + (static_cast<int64_t>(n) * hv_ + h) * dk_ * dv_;
        for (int64_t t = 0; t < call.lengths[n]; t += 48) {
          chunk(begin + t, std::min<int64_t>(48, call.lengths[n] - t), h, s);
        }
      }
      begin += call.lengths[n];
    }
  }

  std::vector<double> o, state;

 private:
  using Matrix = std::vector<std::vector<double>>;

  int64_t key_head(int64_t h) const { return interleaved_ ? h % hk_ : h / (hv_ / hk_); }
  double k(int64_t t, int64_t h, int64_t d) const {
    return k_[static_cast<size_t>((t * hk_ + key_head(h)) * dk_ + d)];
  }
  double q(int64_t t, int64_t h, int64_t d) const {
    return q_[static_cast<size_t>((t * hk_ + key_head(h)) * dk_ + d)];
  }
  double v(int64_t t, int64_t h, int64_t d) const {
    return v_[static_cast<size_t>((t * hv_ + h) * dv_ + d)];
  }

  void chunk(int64_t t0, int64_t length, int64_t h, double *s) {
    const auto n = static_cast<size_t>(length);
    const auto at = [&](size_t i) { return t0 + static_cast<int64_t>(i); };
    std::vector<double> c(n), beta(n);
    double sum = 0.0;
    for (size_t i = 0; i < n; ++i) {
      sum += g_[static_cast<size_t>(at(i) * hv_ + h)];
      c[i] = sum;
      beta[i] = beta_[static_cast<size_t>(at(i) * hv_ + h)];
    }
    // Solves (I + A) V' = diag(beta) (V - diag(exp(c)) K S) by forward substitution.
    Matrix v_new(n, std::vector<double>(static_cast<size_t>(dv_)));
    for (size_t i = 0; i < n; ++i) {
      for (int64_t e = 0; e < dv_; ++e) {
        double x = 0.0;
        for (int64_t d = 0; d < dk_; ++d) x += k(at(i), h, d) * s[d * dv_ + e];
        v_new[i][static_cast<size_t>(e)] = beta[i] * (v(at(i), h, e) - std::exp(c[i]) * x);
      }
      for (size_t j = 0; j < i; ++j) {
        double dot = 0.0;
        for (int64_t d = 0; d < dk_; ++d) dot += k(at(i), h, d) * k(at(j), h, d);
        const double a = beta[i] * std::exp(c[i] - c[j]) * dot;
        for (size_t e = 0; e < v_new[i].size(); ++e) v_new[i][e] -= a * v_new[j][e];
      }
    }
    const double scale = 1.0 / std::sqrt(static_cast<double>(dk_));
    for (size_t i = 0; i < n; ++i) {
      for (int64_t e = 0; e < dv_; ++e) {
        double x = 0.0;
        for (int64_t d = 0; d < dk_; ++d) x += q(at(i), h, d) * s[d * dv_ + e];
        x *= std::exp(c[i]);
        for (size_t j = 0; j <= i; ++j) {
          double dot = 0.0;
          for (int64_t d = 0; d < dk_; ++d) dot += q(at(i), h, d) * k(at(j), h, d);
          x += std::exp(c[i] - c[j]) * dot * v_new[j][static_cast<size_t>(e)];
        }
        o[static_cast<size_t>((at(i) * hv_ + h) * dv_ + e)] = scale * x;
      }
    }
    for (int64_t d = 0; d < dk_; ++d) {
      for (int64_t e = 0; e < dv_; ++e) {
        double x = std::exp(c[n - 1]) * s[d * dv_ + e];
        for (size_t i = 0; i < n; ++i) {
          x += std::exp(c[n - 1] - c[i]) * k(at(i), h, d) * v_new[i][static_cast<size_t>(e)];
        }
        s[d * dv_ + e] = x;
      }
    }
  }

  std::vector<float> q_, k_, v_, g_, beta_, initial_;
  int64_t hk_, hv_, dk_, dv_;
  bool interleaved_;
};

double largest_difference(const std::vector<float> &a, const std::vector<double> &e) {
  double largest = a.size() == e.size() ? 0.0 : INFINITY;
  for (size_t i = 0; i < e.size(); ++i) {
    const double difference = std::abs(a[i] - e[i]) / std::max(1.0, std::abs(e[i]));
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

TEST(Reference, AgreesWithTheChunkForm) {
  int compared = 0;
  for (const Case &c : cases()) {
    constexpr uint64_t kUnknownHere =
        ~static_cast<uint64_t>(kInitialState | kInterleaved | kStrided | kStridedState |
                               kHeadFirst | kBroadcast | kReversed | kIndex64 | kGatesSameType);
    if ((c.options & kUnknownHere) != 0 || !c.has(kInitialState) || c.has_scale ||
        c.checkpoint_every > 0 || c.tokens * c.batch > 600 || work_of(c) > 4e7) {
      continue;
    }
    SCOPED_TRACE(c.name);
    const DeltaRuleCall call = make_call(c, Element::bf16);
    const Expected expected = expect(call);
    ASSERT_EQ(expected.failure, "");
    const ChunkForm chunked(call.widened());
    EXPECT_LT(largest_difference(expected.o, chunked.o), 1e-6);
    EXPECT_LT(largest_difference(expected.state, chunked.state), 1e-6);
    ++compared;
  }
  EXPECT_GT(compared, 20);
}

TEST(Reference, ChainedStagesAreTheRecurrence) {
  for (const char *name : {"empty_and_single", "heads_2_6_interleaved", "v_first_dims", "scale"}) {
    SCOPED_TRACE(name);
    const Case &c = *std::find_if(cases().begin(), cases().end(),
                                  [&](const Case &x) { return x.name == name; });
    const DeltaRuleCall call = make_call(c, Element::f32);
    const Expected expected = expect(call);
    for (const int32_t chunk : {16, 64, 128}) {
      StageCall stages(call, chunk);
      for (const Stage stage : kStages) ASSERT_EQ(stages.run(stage, reference_target()), "");
      const std::vector<double> o(expected.o.begin(), expected.o.end());
      const std::vector<double> state(expected.state.begin(), expected.state.end());
      EXPECT_LT(largest_difference(stages.o.values(), o), 2e-6);
      EXPECT_LT(largest_difference(stages.final_state.values(), state), 2e-6);
    }
  }
}

// Results in 16 bits are the float64 result rounded once.
TEST(Reference, RoundsOnce) {
  const Case &c = *std::find_if(cases().begin(), cases().end(),
                                [](const Case &x) { return x.name == "no_initial_state"; });
  for (const Element type : {Element::bf16, Element::f16}) {
    DeltaRuleCall call = make_call(c, type);
    ASSERT_EQ(run(Operation::chunk, call, reference_target()), "");
    std::vector<float> expected = expect(call).o;
    for (float &x : expected) x = round_to(type, x);
    // The expectation went through float32, and one value in 2^13 (f16) then looks like a tie.
    const std::vector<float> actual = call.o->values();
    int different = 0;
    for (size_t i = 0; i < actual.size(); ++i) different += actual[i] != expected[i] ? 1 : 0;
    EXPECT_LE(different, static_cast<int>(actual.size() / 4096));
  }
}

}  // namespace
}  // namespace gdn::testing
