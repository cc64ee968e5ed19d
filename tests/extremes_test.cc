// Inputs of any finite size where a norm or a gate divides the size out again: squares that leave
// float32 although the result does not, exponentials that overflow against ones that underflow. On
// every instruction set.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "cases/layer_call.h"
#include "own_case.h"

namespace gdn::testing {
namespace {

using ExtremesTest = TargetTest;

INSTANTIATE_TEST_SUITE_P(Cpu, ExtremesTest, ::testing::ValuesIn(tested_targets()), name_of_target);

constexpr float kInfinity = std::numeric_limits<float>::infinity();
/// What kernels may flush to 0.
constexpr double kSmallest = std::numeric_limits<float>::min();

/// Lengths of rows, among them ordinary ones. The last is the longest that leaves the elements of a
/// row finite.
constexpr float kLengths[] = {1.0F, 1e17F, 1e-6F, 3e18F, 1e19F, 1e-9F, 1e25F, 30.0F, 1e38F};

/// Scales each row of unit length to the next of kLengths, as far as the type goes.
void stretch(Array *rows, int64_t width, size_t first) {
  std::vector<float> x = rows->values();
  const float most = rows->type() == Element::f16 ? 6e4F : 3e38F;
  const float least = rows->type() == Element::f16 ? 1e-3F : 0.0F;
  for (size_t i = 0; i < x.size(); ++i) {
    const float length = kLengths[(i / static_cast<size_t>(width) + first) % std::size(kLengths)];
    x[i] *= std::clamp(length, least, most);
  }
  rows->assign(x);
}

TEST_P(ExtremesTest, KeysOfAnyLength) {
  for (const Element type : kTypes) {
    for (const int64_t dk : {int64_t{64}, int64_t{27}}) {
      SCOPED_TRACE(name_of(type) + std::string(", DK ") + std::to_string(dk));
      const OwnCase c({150, 3, 40}, 2, dk, 40, kInitialState | kQkL2Norm);
      DeltaRuleCall call = c.draw(type);
      stretch(&*call.q, dk, 0);
      stretch(&*call.k, dk, 4);
      expect_right(c.get(), &call);
    }
  }
}

TEST_P(ExtremesTest, AllKeysOfOneLength) {
  for (const float length : {1e17F, 1e19F, 3e38F, 1e-12F}) {
    for (const Element type : {Element::f32, Element::bf16}) {
      SCOPED_TRACE(name_of(type) + std::string(", length ") + std::to_string(length));
      const OwnCase c({70}, 1, 32, 32, kInitialState | kQkL2Norm);
      DeltaRuleCall call = c.draw(type);
      for (std::optional<Array> *rows : {&call.q, &call.k}) {
        std::vector<float> x = (*rows)->values();
        for (float &e : x) e *= length;
        (*rows)->assign(x);
      }
      expect_right(c.get(), &call);
    }
  }
}

TEST_P(ExtremesTest, EqualQueryAndKey) {
  for (const float size : {1.0F, 3e18F, 3e38F}) {
    const OwnCase c({1}, 1, 8, 8, kQkL2Norm | kNoG | kNoBeta);
    DeltaRuleCall call = c.draw(Element::f32);
    call.q->assign(std::vector<float>(8, size));
    call.k->assign(std::vector<float>(8, size));
    call.v->assign(std::vector<float>(8, 1.0F));
    for (const Operation operation : kOperations) {
      SCOPED_TRACE(name_of(operation) + std::string(", size ") + std::to_string(size));
      call.reset();
      ASSERT_EQ(run(operation, call, GetParam()), "");
      for (const float o : call.o->values()) EXPECT_NEAR(o, 1.0 / std::sqrt(8.0), 1e-6);
    }
  }
}

TEST_P(ExtremesTest, Norms) {
  for (const bool rms : {false, true}) {
    for (const int64_t width : {int64_t{1}, int64_t{37}, int64_t{128}}) {
      NormCall call;
      call.rms = rms;
      const auto rows = static_cast<int64_t>(std::size(kLengths));
      call.x = Array(Element::f32, {rows, width});
      std::vector<float> x(static_cast<size_t>(rows * width));
      for (size_t i = 0; i < x.size(); ++i) {
        const float wave = std::sin(static_cast<float>(i)) / 2.0F + 0.5F;
        x[i] = wave * kLengths[i / static_cast<size_t>(width)] * 3.0F;
      }
      call.x->assign(x);
      call.y = Array(Element::f32, {rows, width});
      ASSERT_EQ(call.run(GetParam()), "");
      const std::vector<float> y = call.y->values();
      for (int64_t row = 0; row < rows; ++row) {
        double sum = 0.0;
        for (int64_t i = row * width; i < (row + 1) * width; ++i) {
          const auto e = static_cast<double>(x[static_cast<size_t>(i)]);
          sum += e * e;
        }
        const double mean = rms ? sum / static_cast<double>(width) : sum;
        for (int64_t i = row * width; i < (row + 1) * width; ++i) {
          const auto at = static_cast<size_t>(i);
          const double e = static_cast<double>(x[at]) / std::sqrt(mean + 1e-6);
          ASSERT_NEAR(y[at], e, std::abs(e) * 1e-6)
              << (rms ? "rms_norm_gated" : "l2norm") << " of " << x[at];
        }
      }
    }
  }
}

/// Pairs of A_log and a, and in float64 the log decay that they give.
struct RawGate {
  float A_log, a;

  double log_decay() const {
    const auto x = static_cast<double>(a);
    return -std::exp(static_cast<double>(A_log)) * std::log1p(std::exp(x));
  }
};

constexpr RawGate kGates[] = {
    {90.0F, -kInfinity}, {90.0F, -100.0F},  {90.0F, -95.5F}, {90.0F, -15.0F}, {90.0F, -20.25F},
    {200.0F, -201.5F},   {120.0F, -119.0F}, {17.0F, -30.0F}, {-90.0F, 20.0F}, {-30.0F, 5.0F},
    {0.0F, -kInfinity},  {90.0F, -300.0F},  {1.0F, -3.0F},   {88.0F, -88.0F}};

TEST_P(ExtremesTest, Gating) {
  const auto heads = static_cast<int64_t>(std::size(kGates));
  for (size_t first = 0; first < std::size(kGates); ++first) {
    // All in one call, and each with ordinary neighbours.
    std::vector<float> A_log(std::size(kGates), 0.5F);
    std::vector<float> a(std::size(kGates), 0.25F);
    for (size_t i = 0; i < a.size(); ++i) {
      if (first != 0 && i != first) continue;
      A_log[i] = kGates[i].A_log;
      a[i] = kGates[i].a;
    }
    GatingCall call;
    call.A_log = Array(Element::f32, {heads});
    call.A_log->assign(A_log);
    call.a = Array(Element::f32, {1, 1, heads});
    call.a->assign(a);
    call.b = call.a;
    call.g = Array(Element::f32, {1, 1, heads});
    call.beta = Array(Element::f32, {1, 1, heads});
    ASSERT_EQ(call.run(GetParam()), "");
    const std::vector<float> g = call.g->values();
    for (size_t i = 0; i < g.size(); ++i) {
      const double e = RawGate{A_log[i], a[i]}.log_decay();
      ASSERT_NEAR(g[i], e, std::abs(e) * 1e-6 + kSmallest)
          << "A_log " << A_log[i] << ", a " << a[i];
    }
  }
}

TEST_P(ExtremesTest, GateInTheKernel) {
  for (const RawGate &gate : kGates) {
    SCOPED_TRACE("A_log " + std::to_string(gate.A_log) + ", a " + std::to_string(gate.a));
    const OwnCase c({9}, 1, 16, 16, kInitialState | kGate | kNoDtBias);
    DeltaRuleCall call = c.draw(Element::f32);
    call.A_log->assign(std::vector<float>{gate.A_log});
    set_g(&call, [&](int64_t, int64_t) { return gate.a; });
    expect_right(c.get(), &call);
  }
}

}  // namespace
}  // namespace gdn::testing
