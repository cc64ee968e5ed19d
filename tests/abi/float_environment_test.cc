// A call computes the same in any floating-point environment of its caller (rounding mode, traps,
// denormals), raises no trap and puts the environment back: every operation on every instruction
// set, and the reference.

#include <gtest/gtest.h>

#include <cfenv>
#include <cmath>
#include <limits>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "abi/scenario.h"
#include "cases/target.h"

namespace gdn::testing {
namespace {

struct Environment {
  const char *name;
  void (*enter)();
};

void flush_denormals() {
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040);
#endif
}

const Environment kEnvironments[] = {
    {"every exception traps", [] { feenableexcept(FE_ALL_EXCEPT); }},
    {"rounding down", [] { std::fesetround(FE_DOWNWARD); }},
    {"rounding up", [] { std::fesetround(FE_UPWARD); }},
    {"rounding to zero", [] { std::fesetround(FE_TOWARDZERO); }},
    {"denormals are zero", flush_denormals},
    {"all of it",
     [] {
       flush_denormals();
       std::fesetround(FE_UPWARD);
       feenableexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
     }},
};

/// What a program can see of its environment.
struct Seen {
  int rounding = std::fegetround();
  int traps = fegetexcept();
  int raised = std::fetestexcept(FE_ALL_EXCEPT);
#if defined(__x86_64__)
  unsigned control = _mm_getcsr();
#endif

  bool operator==(const Seen &) const = default;
};

/// Runs `body`, which does no arithmetic of its own, in an environment.
template <class Body>
void run_in(const Environment &environment, Body body) {
  std::fenv_t before;
  std::fegetenv(&before);
  environment.enter();
  const Seen entered;
  body();
  const Seen left;
  std::fesetenv(&before);
  EXPECT_EQ(left.rounding, entered.rounding);
  EXPECT_EQ(left.traps, entered.traps);
  EXPECT_EQ(left.raised, entered.raised);
  EXPECT_TRUE(left == entered);
}

std::vector<Target> all_targets() {
  std::vector<Target> targets = targets_of("cpu");
  targets.push_back(reference_target());
  return targets;
}

class FloatEnvironment : public ::testing::TestWithParam<std::tuple<ScenarioMaker, Target>> {
 protected:
  void SetUp() override {
    target_ = std::get<Target>(GetParam());
    if (!target_.supported) GTEST_SKIP() << target_.name() << " cannot run on this machine";
    scenario_ = std::get<ScenarioMaker>(GetParam()).make();
  }

  void reset(int threads) {
    scenario_->reset();
    scenario_->exec.backend = target_.backend.c_str();
    scenario_->exec.isa = target_.isa.c_str();
    scenario_->exec.threads = threads;
    scenario_->exec.workspace = workspace_.data();
    scenario_->exec.workspace_size = kWorkspaceBytes;
  }

  std::vector<std::vector<unsigned char>> contents() const {
    std::vector<std::vector<unsigned char>> out;
    for (const Operand &o : scenario_->operands()) out.push_back(o.array.bytes());
    return out;
  }

  /// Enough for any of the calls with three threads.
  static constexpr size_t kWorkspaceBytes = size_t{8} << 20;

  Target target_;
  Workspace workspace_{kWorkspaceBytes};
  std::unique_ptr<Scenario> scenario_;
};

TEST_P(FloatEnvironment, ChangesNothing) {
  reset(1);
  ASSERT_EQ(scenario_->run(), GDN_OK) << gdn_last_error();
  const auto right = contents();
  for (const Environment &environment : kEnvironments) {
    SCOPED_TRACE(environment.name);
    // Threads that the call starts inherit the environment.
    for (const int threads : {3, 1}) {
      reset(threads);
      gdn_status status = GDN_OK;
      run_in(environment, [&] { status = scenario_->run(); });
      EXPECT_EQ(status, GDN_OK) << gdn_last_error();
      EXPECT_TRUE(contents() == right) << threads << " threads";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, FloatEnvironment,
                         ::testing::Combine(::testing::ValuesIn(scenario_makers()),
                                            ::testing::ValuesIn(all_targets())),
                         [](const auto &param) {
                           std::string name = std::get<0>(param.param).name;
                           return name.append("_").append(std::get<1>(param.param).name());
                         });

TEST(FloatEnvironmentOfReference, KeepsDenormals) {
  ScenarioMaker cumsum;
  for (const ScenarioMaker &maker : scenario_makers()) {
    if (maker.name == std::string("cumsum")) cumsum = maker;
  }
  auto s = cumsum.make();
  std::vector<float> &g = (*s)["g"].floats;
  std::fill(g.begin(), g.end(), -1e-40F);
  s->reset();
  s->exec.backend = "reference";
  gdn_status status = GDN_OK;
  run_in({"denormals are zero", flush_denormals}, [&] { status = s->run(); });
  EXPECT_EQ(status, GDN_OK) << gdn_last_error();
  for (const float sum : (*s)["g_cumsum"].array.values()) ASSERT_LT(sum, 0.0F);
}

TEST(FloatEnvironmentOfRefusals, RaisesNoTrap) {
  auto s = chunk_scenario();
  for (const double scale : {std::numeric_limits<double>::quiet_NaN(), 1e300}) {
    s->reset();
    s->args.flags = GDN_HAS_SCALE;
    s->args.scale = scale;
    gdn_status status = GDN_OK;
    run_in(kEnvironments[0], [&] { status = s->run(); });
    EXPECT_EQ(status, GDN_INVALID_ARGUMENT);
    EXPECT_NE(std::string(gdn_last_error()).find("finite"), std::string::npos) << gdn_last_error();
  }
}

TEST(FloatEnvironmentOfQueries, RaisesNoTrap) {
  auto s = chunk_scenario();
  size_t bytes = 0;
  gdn_status status = GDN_INTERNAL_ERROR;
  run_in(kEnvironments[0],
         [&] { status = gdn_chunk_gated_delta_rule_workspace_size(&s->args, &s->exec, &bytes); });
  EXPECT_EQ(status, GDN_OK) << gdn_last_error();
  EXPECT_GE(bytes, s->workspace_bytes());
  gdn_selection selection;
  run_in(kEnvironments[0], [&] { status = gdn_select(nullptr, &selection); });
  EXPECT_EQ(status, GDN_OK) << gdn_last_error();
}

}  // namespace
}  // namespace gdn::testing
