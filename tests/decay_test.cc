// Decays at their limits, which errors summed over everything hide: log decays down to -infinity,
// decays so slow that a state goes through thousands of them, and sums of decays whose rounding
// would show. On every instruction set, by the chunk and by the recurrent operation.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "own_case.h"

namespace gdn::testing {
namespace {

using DecayTest = TargetTest;

INSTANTIATE_TEST_SUITE_P(Cpu, DecayTest, ::testing::ValuesIn(tested_targets()), name_of_target);

TEST_P(DecayTest, ToNothing) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  // Where the state is forgotten: at the first and the last token, twice in a row, on both sides of
  // a chunk's end, in all of a sequence.
  const auto forgets = [](int64_t t) {
    return t == 0 || t == 20 || t == 21 || t == 63 || t == 64 || t == 69 || t >= 75;
  };
  for (const Element type : kTypes) {
    for (const uint32_t options :
         {0U, static_cast<uint32_t>(kGatesSameType), static_cast<uint32_t>(kGate)}) {
      for (const float depth : {kInfinity, 3e38F, 1e30F, 6e4F, 1e3F}) {
        SCOPED_TRACE(name_of(type) + std::string(", depth ") + std::to_string(depth) +
                     ", options " + std::to_string(options));
        const OwnCase c({70, 5, 4}, 2, 32, 48, options | kInitialState);
        DeltaRuleCall call = c.draw(type);
        // A raw gate is positive where its log decay is negative.
        const float sign = (options & kGate) != 0 ? 1.0F : -1.0F;
        const std::vector<float> drawn = call.g->values();
        set_g(&call, [&](int64_t t, int64_t head) {
          return forgets(t + head) ? sign * depth : drawn[static_cast<size_t>(2 * t + head)];
        });
        expect_right(c.get(), &call);
      }
    }
  }
}

TEST_P(DecayTest, OfNanIsNan) {
  // A bound must not turn what is undefined into a state that is merely forgotten.
  for (const Element type : kTypes) {
    for (const uint32_t options : {0U, static_cast<uint32_t>(kGate)}) {
      SCOPED_TRACE(name_of(type) + std::string(", options ") + std::to_string(options));
      const OwnCase c({70, 40}, 2, 32, 48, options | kInitialState);
      DeltaRuleCall call = c.draw(type);
      std::vector<float> g = call.g->values();
      g[2 * 66 + 1] = std::numeric_limits<float>::quiet_NaN();  // Token 66, head 1.
      call.g->assign(g);
      for (const Operation operation : kOperations) {
        SCOPED_TRACE(name_of(operation));
        call.reset();
        ASSERT_EQ(run(operation, call, GetParam()), "");
        const std::vector<float> o = call.o->values();
        for (size_t i = 0; i < o.size(); ++i) {
          const size_t token = i / 48 / 2;
          const size_t head = i / 48 % 2;
          // Of token 66 on; those before it in its chunk may be lost with it.
          if (head == 1 && token >= 66 && token < 70) {
            ASSERT_TRUE(std::isnan(o[i])) << "token " << token;
          } else if (head == 0 || token < 64 || token >= 70) {
            ASSERT_TRUE(std::isfinite(o[i])) << "token " << token << ", head " << head;
          }
        }
      }
    }
  }
}

/// A log decay near `g` whose exponential lies about half way between two floats: rounded to
/// nearest, it errs by as much as it can.
float worst_rounded(double g) {
  float worst = 0.0F;
  double error = 0.0;
  for (int i = 0; i < 4096; ++i) {
    const auto candidate = static_cast<float>(g * (1.0 + i * 1e-5));
    const double e = std::exp(static_cast<double>(candidate));
    const double rounding = static_cast<double>(static_cast<float>(e)) - e;
    if (rounding / e > error) {
      error = rounding / e;
      worst = candidate;
    }
  }
  return worst;
}

TEST_P(DecayTest, ThroughThousandsOfTokens) {
  constexpr int64_t kTokens = 4096;
  for (const Element type : kTypes) {
    for (const uint32_t layout : {0U, static_cast<uint32_t>(kVFirst)}) {
      SCOPED_TRACE(name_of(type) + std::string(layout != 0 ? ", v first" : ""));
      const OwnCase c({kTokens}, 3, 24, 24, kInitialState | layout);
      DeltaRuleCall call = c.draw(type);
      only_decay(&call);
      const float g[] = {worst_rounded(-4e-3), worst_rounded(-1e-3), worst_rounded(-2e-4)};
      set_g(&call, [&](int64_t, int64_t head) { return g[head]; });
      expect_states(&call, 5e-5);
    }
  }
}

TEST_P(DecayTest, OneByOneThroughThousandsOfTokens) {
  constexpr int kTokens = 4096;
  for (const uint32_t layout : {0U, static_cast<uint32_t>(kVFirst)}) {
    SCOPED_TRACE(layout != 0 ? "v first" : "k first");
    const OwnCase c({1}, 3, 24, 24, kInitialState | kInPlace | layout);
    DeltaRuleCall call = c.draw(Element::f32);
    only_decay(&call);
    const float g[] = {worst_rounded(-4e-3), worst_rounded(-1e-3), worst_rounded(-2e-4)};
    set_g(&call, [&](int64_t, int64_t head) { return g[head]; });
    call.reset();
    const gdn_gated_delta_rule_args args = call.args();
    const gdn_exec exec = exec_for(GetParam(), 1);
    for (int t = 0; t < kTokens; ++t) {
      ASSERT_EQ(gdn_fused_recurrent_gated_delta_rule(&args, &exec), GDN_OK) << gdn_last_error();
    }
    std::vector<float> expected = call.initial_values;
    for (size_t i = 0; i < expected.size(); ++i) {
      const double sum = kTokens * static_cast<double>(g[i / (24 * 24)]);
      expected[i] = static_cast<float>(std::exp(sum) * static_cast<double>(expected[i]));
    }
    EXPECT_LE(worst_row(call.initial_state->values(), expected, 24 * 24), 5e-5);
  }
}

TEST_P(DecayTest, InTheMiddleOfAChunk) {
  // What comes after the state is forgotten is kept as exactly as if nothing had been.
  for (const Element type : kTypes) {
    SCOPED_TRACE(name_of(type));
    const OwnCase c({96, 60}, 2, 32, 48, kInitialState);
    DeltaRuleCall call = c.draw(type);
    set_g(&call, [](int64_t t, int64_t head) { return (t + head) % 32 == 20 ? -20.0F : -1e-3F; });
    expect_states(&call, 3e-5);
  }
}

TEST_P(DecayTest, OfOneToken) {
  // exp(g) by itself, over all of its range.
  const std::vector<int64_t> lengths(350, 1);
  for (const Element type : kTypes) {
    const OwnCase c(lengths, 1, 16, 16, kInitialState);
    DeltaRuleCall call = c.draw(type);
    only_decay(&call);
    set_g(&call, [](int64_t t, int64_t) { return -0.249F * static_cast<float>(t); });
    SCOPED_TRACE(name_of(type));
    expect_states(&call, 1e-6);
  }
}

TEST_P(DecayTest, SummedOverAChunk) {
  // Rounded to f32, a sum beyond -64 would be off by 2^-18.
  std::vector<int64_t> lengths;
  for (int64_t n = 1; n <= 26; ++n) lengths.push_back(n);
  const OwnCase c(lengths, 2, 16, 16, kInitialState);
  DeltaRuleCall call = c.draw(Element::f32);
  only_decay(&call);
  set_g(&call, [](int64_t t, int64_t head) {
    return -2.5F - 0.17F * static_cast<float>((t + head) % 3) - 1e-6F * static_cast<float>(t % 7);
  });
  const Expected expected = expect(call);
  for (const Operation operation : kOperations) {
    SCOPED_TRACE(name_of(operation));
    call.reset();
    ASSERT_EQ(run(operation, call, GetParam()), "");
    EXPECT_LE(worst_row(call.final_state->values(), expected.state, 256), 1e-6);
    EXPECT_LE(worst_row(call.o->values(), expected.o, 16), 1e-6);
  }
}

}  // namespace
}  // namespace gdn::testing
