// Activations, small norms and roundings element by element, where a norm over everything would
// hide a wrong threshold, bound or epsilon. On every instruction set.

#include <gtest/gtest.h>

#include <cmath>
#include <iterator>
#include <limits>

#include "cases/layer_call.h"
#include "own_case.h"

namespace gdn::testing {
namespace {

using ActivationTest = TargetTest;

INSTANTIATE_TEST_SUITE_P(Cpu, ActivationTest, ::testing::ValuesIn(tested_targets()),
                         name_of_target);

/// Relative error of an f32 result that a few roundings cause.
constexpr double kRoundings = 5e-7;

/// From -30 to 30; thresholds and bounds lie inside.
std::vector<float> dense(int64_t count) {
  std::vector<float> x(static_cast<size_t>(count));
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = -30.0F + 60.0F * static_cast<float>(i) / static_cast<float>(count - 1);
  }
  return x;
}

double softplus(double x) { return std::log1p(std::exp(x)); }
double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

Array array_of(const Shape &shape, const std::vector<float> &values) {
  Array array(Element::f32, shape);
  array.assign(values);
  return array;
}

template <class F>
void expect_each(const Array &actual, const std::vector<float> &x, const char *what, F expected) {
  const std::vector<float> found = actual.values();
  ASSERT_EQ(found.size(), x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double e = expected(static_cast<double>(x[i]));
    ASSERT_NEAR(found[i], e, std::abs(e) * kRoundings) << what << " of " << x[i];
  }
}

TEST_P(ActivationTest, Gating) {
  const std::vector<float> x = dense(1201);
  const Shape shape = {1, 1201, 1};
  for (const bool biased : {false, true}) {
    for (const bool doubled : {false, true}) {
      GatingCall call;
      call.flags = doubled ? GDN_ALLOW_NEG_EIGVAL : 0;
      call.A_log = array_of({1}, {0.0F});
      call.a = array_of(shape, x);
      call.b = array_of(shape, x);
      if (biased) call.dt_bias = array_of({1}, {2.5F});
      call.g = Array(Element::f32, shape);
      call.beta = Array(Element::f32, shape);
      ASSERT_EQ(call.run(GetParam()), "");
      expect_each(*call.g, x, "softplus", [&](double a) {
        return -softplus(biased ? static_cast<double>(static_cast<float>(a) + 2.5F) : a);
      });
      expect_each(*call.beta, x, "sigmoid",
                  [&](double b) { return (doubled ? 2.0 : 1.0) * sigmoid(b); });
    }
  }
}

TEST_P(ActivationTest, NanStaysNan) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  // A vector of numbers on either side.
  std::vector<float> x = dense(33);
  x[16] = kNan;
  const auto expect_one = [](const Array &array, const char *what) {
    const std::vector<float> values = array.values();
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(std::isnan(values[i]), i == 16) << what << " " << i;
    }
  };
  GatingCall gating;
  gating.A_log = array_of({33}, std::vector<float>(33, 0.0F));
  gating.a = array_of({1, 1, 33}, x);
  gating.b = array_of({1, 1, 33}, x);
  gating.g = Array(Element::f32, {1, 1, 33});
  gating.beta = Array(Element::f32, {1, 1, 33});
  ASSERT_EQ(gating.run(GetParam()), "");
  expect_one(*gating.g, "g");
  expect_one(*gating.beta, "beta");

  NormCall norm;
  norm.rms = true;
  for (const Element type : kTypes) {
    norm.x = Array(type, {33});
    norm.x->assign(std::vector<float>(33, 0.5F));
    norm.z = Array(type, {33});
    norm.z->assign(x);
    norm.y = Array(type, {33});
    ASSERT_EQ(norm.run(GetParam()), "");
    expect_one(*norm.y, name_of(type));
  }
}

TEST_P(ActivationTest, GateInTheKernel) {
  const std::vector<int64_t> lengths(601, 1);
  for (const Element type : kTypes) {
    SCOPED_TRACE(name_of(type));
    const OwnCase c(lengths, 1, 16, 16, kInitialState | kGate | kNoDtBias);
    DeltaRuleCall call = c.draw(type);
    only_decay(&call);
    call.A_log->assign(std::vector<float>{-1.25F});
    call.g->assign(dense(601));
    // The state decays by exp(-0.29 softplus(a)): a wrong threshold shows as it is.
    expect_states(&call, 2e-6);
  }
}

TEST_P(ActivationTest, SigmoidInTheKernel) {
  const std::vector<int64_t> lengths(601, 1);
  for (const Element type : kTypes) {
    for (const uint32_t doubled : {0U, static_cast<uint32_t>(kNegEigval)}) {
      SCOPED_TRACE(name_of(type));
      const OwnCase c(lengths, 1, 16, 16, kBetaSigmoid | doubled);
      DeltaRuleCall call = c.draw(type);
      call.beta->assign(dense(601));
      // The state becomes beta k v^T.
      expect_states(&call, type == Element::f32 ? 1e-6 : 6e-3);
    }
  }
}

TEST_P(ActivationTest, SiluOfAConvolution) {
  const std::vector<float> x = dense(1201);
  ConvCall call;
  call.flags = GDN_SILU;
  call.x = array_of({1, 1, 1201}, x);
  call.weight = array_of({1, 2}, {0.0F, 1.0F});
  call.y = Array(Element::f32, {1, 1, 1201});
  ASSERT_EQ(call.run(GetParam()), "");
  expect_each(*call.y, x, "silu", [](double e) { return e * sigmoid(e); });
}

TEST_P(ActivationTest, SiluOfANorm) {
  const std::vector<float> z = dense(1201);
  NormCall call;
  call.rms = true;
  call.flags = GDN_HAS_EPS;
  call.x = array_of({1201}, std::vector<float>(1201, 0.5F));
  call.z = array_of({1201}, z);
  call.y = Array(Element::f32, {1201});
  ASSERT_EQ(call.run(GetParam()), "");
  expect_each(*call.y, z, "silu", [](double e) { return e * sigmoid(e); });
}

TEST_P(ActivationTest, DefaultEpsilon) {
  // Rows so short that the epsilon of 1e-6 weighs as much as their squares.
  const std::vector<float> x(16, 3e-4F);
  const double square = static_cast<double>(x[0]) * static_cast<double>(x[0]);
  for (const bool rms : {false, true}) {
    NormCall call;
    call.rms = rms;
    call.x = array_of({1, 16}, x);
    call.y = Array(Element::f32, {1, 16});
    ASSERT_EQ(call.run(GetParam()), "");
    const double sum = rms ? square : 16.0 * square;
    expect_each(*call.y, x, rms ? "rms_norm_gated" : "l2norm",
                [&](double e) { return e / std::sqrt(sum + 1e-6); });
  }
}

TEST_P(ActivationTest, EpsilonOfShortKeys) {
  for (const Element type : kTypes) {
    SCOPED_TRACE(name_of(type));
    const OwnCase c({70, 3}, 2, 32, 32, kInitialState | kQkL2Norm);
    DeltaRuleCall call = c.draw(type);
    // From 10^-3 to 10^-2 long: the smallest squares weigh as much as the epsilon of 1e-6.
    for (std::optional<Array> *rows : {&call.q, &call.k}) {
      std::vector<float> x = (*rows)->values();
      for (size_t i = 0; i < x.size(); ++i) {
        x[i] *= 1e-3F * static_cast<float>(1 + i / 32 % 10);
      }
      (*rows)->assign(x);
    }
    expect_right(c.get(), &call);
  }
}

/// Numbers around every place where a conversion to 16 bits decides: ties to even and to odd, both
/// neighbours of a tie, exponents up to overflow, and for f16 its subnormals.
std::vector<float> rounding_cases(Element type, size_t count) {
  const int lowest = type == Element::f16 ? -26 : -120;
  const int highest = type == Element::f16 ? 16 : 127;
  const size_t steps = type == Element::f16 ? 1024 : 128;  // Of the mantissa: 10 or 7 bits.
  const float between[] = {0.0F, 0.5F, 0.49998F, 0.50002F, 0.25F, 0.99F};
  std::vector<float> x(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t j = i / std::size(between);
    const auto exponent = static_cast<int>(j * 7 % static_cast<size_t>(highest - lowest + 1));
    const float step = static_cast<float>(j * 37 % steps) + between[i % std::size(between)];
    const float mantissa = 1.0F + step / static_cast<float>(steps);
    x[i] = std::ldexp(j % 4 < 2 ? mantissa : -mantissa, lowest + exponent);
  }
  return x;
}

TEST_P(ActivationTest, StoredOutputsAreRoundedToNearestEven) {
  for (const Element type : {Element::bf16, Element::f16}) {
    SCOPED_TRACE(name_of(type));
    const OwnCase c({1}, 16, 8, 216, kInitialState | kNoG | kInPlace);
    DeltaRuleCall call = c.draw(type);
    only_decay(&call);
    // k = 0 and q the first unit vector: o is the first row of the state.
    std::vector<float> q(8, 0.0F);
    call.k->assign(q);
    q[0] = 1.0F;
    call.q->assign(q);
    call.v->assign(std::vector<float>(16 * 216, 0.0F));
    call.flags |= GDN_HAS_SCALE;
    call.scale = 1.0;
    const std::vector<float> values = rounding_cases(type, 16 * 216);
    for (size_t i = 0; i < call.initial_values.size(); ++i) {
      const bool first = i / 216 % 8 == 0;
      call.initial_values[i] = first ? values[i / (8 * 216) * 216 + i % 216] : 0.0F;
    }
    call.reset();
    ASSERT_EQ(run(Operation::recurrent, call, GetParam()), "");
    const std::vector<float> o = call.o->values();
    for (size_t i = 0; i < o.size(); ++i) {
      ASSERT_EQ(o[i], round_to(type, values[i])) << values[i];
    }
    EXPECT_EQ(call.initial_state->values(), call.initial_values);
  }
}

TEST_P(ActivationTest, StoredStatesAreRoundedToNearestEven) {
  for (const uint32_t layout : {0U, static_cast<uint32_t>(kVFirst)}) {
    SCOPED_TRACE(layout != 0 ? "v first" : "k first");
    const OwnCase c({1}, 16, 8, 216, kPool | kStateBf16 | kNoG | kNoBeta | layout);
    DeltaRuleCall call = c.draw(Element::f32);
    // From a state of zeros, k the first unit vector: the first row of the state is v.
    std::vector<float> k(8, 0.0F);
    k[0] = 1.0F;
    call.k->assign(k);
    call.v->assign(rounding_cases(Element::bf16, 16 * 216));
    const std::vector<float> v = call.v->values();
    std::fill(call.initial_values.begin(), call.initial_values.end(), 0.0F);
    for (const Operation operation : kOperations) {
      SCOPED_TRACE(name_of(operation));
      call.reset();
      ASSERT_EQ(run(operation, call, GetParam()), "");
      const auto slot = static_cast<size_t>(call.state_indices->integers()[0]);
      const std::vector<float> state = call.initial_state->values();
      for (size_t head = 0; head < 16; ++head) {
        for (size_t j = 0; j < 216; ++j) {
          const size_t at = (slot * 16 + head) * 8 * 216 + (layout != 0 ? j * 8 : j);
          const float value = v[head * 216 + j];
          ASSERT_EQ(state[at], round_to(Element::bf16, value)) << value;
        }
      }
    }
  }
}

}  // namespace
}  // namespace gdn::testing
