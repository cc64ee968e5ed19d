// The tests' own tools: conversions, guarded arrays, error measures.

#include "cases/cases.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "cases/array.h"
#include "cases/delta_rule_call.h"
#include "cases/errors.h"

namespace gdn::testing {
namespace {

using Narrow = uint16_t (*)(float);
using Widen = float (*)(uint16_t);

// Between any two neighbours: their midpoint goes to the even one, everything else to the nearer.
void check_rounding(Narrow narrow, Widen widen, int infinity) {
  for (int b = 0; b + 1 < infinity; ++b) {
    const float low = widen(static_cast<uint16_t>(b));
    const float high = widen(static_cast<uint16_t>(b + 1));
    const float middle = low + (high - low) / 2;
    for (const int sign : {0, 0x8000}) {
      const float s = sign != 0 ? -1.0F : 1.0F;
      ASSERT_EQ(narrow(s * low), b | sign);
      ASSERT_EQ(narrow(s * middle), (b % 2 == 0 ? b : b + 1) | sign) << middle;
      ASSERT_EQ(narrow(s * std::nextafter(middle, 0.0F)), b | sign) << middle;
      ASSERT_EQ(narrow(s * std::nextafter(middle, INFINITY)), (b + 1) | sign) << middle;
    }
  }
  EXPECT_EQ(narrow(INFINITY), infinity);
  EXPECT_EQ(narrow(-INFINITY), infinity | 0x8000);
  EXPECT_TRUE(std::isnan(widen(narrow(NAN))));
  EXPECT_TRUE(std::isinf(widen(static_cast<uint16_t>(infinity))));
}

// The float subnormals are too coarse for the midpoints of bf16's, so it starts above.
TEST(Element, Bf16RoundsToNearestEven) { check_rounding(to_bf16, from_bf16, 0x7f80); }
TEST(Element, F16RoundsToNearestEven) { check_rounding(to_f16, from_f16, 0x7c00); }

TEST(Element, OverflowGoesToInfinity) {
  EXPECT_EQ(to_f16(65519.0F), 0x7bff);
  EXPECT_EQ(to_f16(65520.0F), 0x7c00);
  EXPECT_EQ(to_bf16(3.4e38F), 0x7f80);
}

TEST(Array, SeesWritesOutsideItsElements) {
  Array a(Element::f32, {2, 3, 4}, {padded_strides({2, 3, 4}, {0, 1, 2}, 5), 2});
  const std::vector<float> values(24, 1.5F);
  a.assign(values);
  EXPECT_EQ(a.damage(), "");
  EXPECT_EQ(a.values(), values);
  auto *first =
      reinterpret_cast<float *>(static_cast<char *>(a.tensor()->data) + a.tensor()->byte_offset);
  const auto write = [&](int64_t offset) {
    const float before = first[offset];
    first[offset] = 2.0F;
    const std::string damage = a.damage();
    first[offset] = before;
    return damage;
  };
  EXPECT_NE(write(-1), "");
  EXPECT_NE(write(4), "");   // In the gap after a row.
  EXPECT_NE(write(54), "");  // Behind the last element: 1 * 32 + 2 * 9 + 3 = 53.
  EXPECT_EQ(write(3), "");
}

TEST(Array, TakesNegativeStrides) {
  Array a(Element::f32, {2, 3}, {{4, -1}, 0});
  const std::vector<float> values = {0, 1, 2, 3, 4, 5};
  a.assign(values);
  EXPECT_EQ(a.values(), values);
  EXPECT_EQ(a.damage(), "");
  const auto *origin = reinterpret_cast<const float *>(static_cast<const char *>(a.tensor()->data) +
                                                       a.tensor()->byte_offset);
  EXPECT_EQ(origin[-2], 2.0F);
  EXPECT_EQ(origin[4], 3.0F);
}

TEST(ArrayDeathTest, TheNextByteIsInaccessible) {
  const Array a(Element::bf16, {5});
  auto *first = static_cast<volatile char *>(a.tensor()->data) + a.tensor()->byte_offset;
  EXPECT_DEATH(static_cast<void>(first[10]), "");
}

TEST(Array, PoisonIsNotANumber) {
  for (const Element type : {Element::f32, Element::bf16, Element::f16}) {
    Array a(type, {3});
    a.poison();
    for (const float x : a.values()) EXPECT_TRUE(std::isnan(x));
  }
}

TEST(Errors, FindTheWorstBlock) {
  const std::vector<float> e = {1, 1, 1, 1, 0, 0, 2, 2};
  std::vector<float> a = e;
  const std::vector<int64_t> blocks = {0, 1, 2, 3};
  EXPECT_EQ(compare(a, e, 2, blocks, Element::f32).total, 0.0);
  a[3] = 1.5F;
  const Error error = compare(a, e, 2, blocks, Element::f32);
  EXPECT_EQ(error.block, 1);
  EXPECT_NEAR(error.worst_block, 0.5 / std::sqrt(2.0), 1e-9);
  EXPECT_NEAR(error.total, 0.5 / std::sqrt(12.0), 1e-9);
  a[4] = 1e-6F;  // Where zeros are expected any value is infinitely wrong.
  EXPECT_TRUE(std::isinf(compare(a, e, 2, blocks, Element::f32).worst_block));
  a[4] = NAN;
  EXPECT_FALSE(compare(a, e, 2, blocks, Element::f32).finite);
}

TEST(Errors, StageRule) {
  const std::vector<float> e = {1, -2, 3, -4};
  EXPECT_EQ(stage_rule(e, e), "");
  std::vector<float> a = {1.005F, -2, 3, -4};
  EXPECT_EQ(stage_rule(a, e), "");
  a[0] = 2.5F;
  EXPECT_NE(stage_rule(a, e), "");
  a[0] = 1.4F;
  EXPECT_NE(stage_rule(a, e), "");
  a[0] = NAN;
  EXPECT_NE(stage_rule(a, e), "");
}

TEST(Cases, CoverTheLadder) {
  std::set<std::string_view> names;
  int ladder = 0;
  for (const Case &c : cases()) {
    EXPECT_TRUE(names.insert(c.name).second) << c.name;
    EXPECT_EQ(c.hv % c.hk, 0) << c.name;
    ladder += c.tagged(kLadder) ? 1 : 0;
  }
  EXPECT_EQ(ladder, (5 + 20 + 3) * 4);
}

TEST(Cases, AreDrawnTheSameEachTime) {
  for (const Case &c : cases()) {
    if (c.tokens > 300 || c.tagged(kLadder)) continue;
    const DeltaRuleCall once = make_call(c, Element::bf16);
    EXPECT_EQ(once.input_hash(), make_call(c, Element::bf16).input_hash()) << c.name;
    EXPECT_EQ(once.damage(), "") << c.name;
    if (once.sequence_tokens() > 0) {
      EXPECT_NE(once.input_hash(), make_call(c, Element::bf16, 1).input_hash()) << c.name;
    }
  }
}

}  // namespace
}  // namespace gdn::testing
