// The schedule in model cycles: which pipe binds is what the head of each kernel says.

#include <gtest/gtest.h>

#include <algorithm>

#include "ascend/problems.h"

namespace gdn::ascend::testing {
namespace {

using model::Cycles;
using model::name_of;

Cycles cycles_of(const Problem &problem, uint64_t seed) {
  Cycles cycles;
  model::Options options;
  options.blocks = 2;
  options.seed = seed;
  options.cycles = &cycles;
  const Status status = problem.run(options);
  EXPECT_TRUE(status.ok()) << status.message();
  return cycles;
}

/// The busiest pipe of a Vector core.
Pipe busiest(const Cycles &cycles) {
  const auto &busy = cycles.busy[static_cast<size_t>(CoreKind::vector)];
  return static_cast<Pipe>(std::max_element(busy.begin(), busy.end()) - busy.begin());
}

TEST(Cycles, BindingPipe) {
  for (const Problem &problem : kProblems) {
    EXPECT_STREQ(name_of(busiest(cycles_of(problem, 1))), name_of(problem.binds)) << problem.name;
  }
}

TEST(Cycles, DoNotDependOnTheSchedule) {
  for (const Problem &problem : kProblems) {
    const Cycles first = cycles_of(problem, 1);
    EXPECT_GT(first.total, 0.0);
    for (uint64_t seed = 2; seed <= 5; ++seed) {
      const Cycles other = cycles_of(problem, seed);
      EXPECT_EQ(first.total, other.total) << problem.name;
      EXPECT_EQ(first.busy, other.busy) << problem.name;
    }
  }
}

// With full chunks the merges of solve_tril bind, and pipes of both kinds of core are busy beside
// each other.
TEST(Cycles, TheInverseBindsTheCubeCore) {
  const Offsets offsets({1024, 512});
  auto p = shaped<SolveTril>(offsets, 128, 2, 2);
  const Data A(DType::f32, {1, p.sequences.tokens, 2, 128});
  const Data T(DType::f32, {1, p.sequences.tokens, 2, 128});
  p.A = A.tensor();
  p.T = T.tensor();
  Cycles cycles;
  model::Options options;
  options.blocks = 2;
  options.cycles = &cycles;
  ASSERT_TRUE(solve_tril(p, options).ok());
  double sum = 0.0;
  double most = 0.0;
  for (const auto &pipes : cycles.busy) {
    for (const double busy : pipes) {
      sum += busy;
      most = std::max(most, busy);
    }
  }
  EXPECT_EQ(most, cycles.busy_of(CoreKind::cube, Pipe::fix));
  EXPECT_LT(cycles.total, sum / 2);
}

}  // namespace
}  // namespace gdn::ascend::testing
