// Several callers at once, callers that come and go, and a forked process.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "case_test.h"

namespace gdn::testing {
namespace {

#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadSanitizer = true;
#elif defined(__has_feature)
constexpr bool kThreadSanitizer = __has_feature(thread_sanitizer);
#else
constexpr bool kThreadSanitizer = false;
#endif

Operation operation_of(const DeltaRuleCall &call) {
  return call.recurrent_only() ? Operation::recurrent : Operation::chunk;
}

// What a call leaves in its outputs, and what went wrong.
struct Ran {
  std::vector<unsigned char> bytes;
  std::string failure;

  bool operator==(const Ran &) const = default;
};

Ran run_once(DeltaRuleCall &call, const Target &target, int threads) {
  call.reset();
  Ran ran;
  ran.failure = run(operation_of(call), call, target, threads);
  ran.bytes = call.o->bytes();
  if (call.state_out() != nullptr) {
    const std::vector<unsigned char> state = call.state_out()->bytes();
    ran.bytes.insert(ran.bytes.end(), state.begin(), state.end());
  }
  return ran;
}

constexpr const char *kNames[] = {"heads_1_8",     "strided_batch", "verify_slots_accepted",
                                  "pool_negative", "decode_8_pool", "gate_sigmoid"};

class ConcurrencyTest : public ::testing::TestWithParam<Target> {
 protected:
  void SetUp() override {
    if (!GetParam().supported) GTEST_SKIP() << GetParam().name() << " cannot run on this machine";
  }
};

INSTANTIATE_TEST_SUITE_P(Cpu, ConcurrencyTest, ::testing::ValuesIn(tested_targets()),
                         [](const auto &target) { return target.param.name(); });

TEST_P(ConcurrencyTest, CallersDoNotDisturbEachOther) {
  std::vector<std::string> failures(std::size(kNames));
  std::vector<std::thread> callers;
  for (size_t i = 0; i < std::size(kNames); ++i) {
    callers.emplace_back([&, i] {
      const Target target = GetParam();
      DeltaRuleCall call = make_call(case_named(kNames[i]), Element::bf16);
      const Ran alone = run_once(call, target, 1);
      failures[i] = alone.failure;
      for (int round = 0; round < 10; ++round) {
        const Ran again = run_once(call, target, 1 + (static_cast<int>(i) + round) % 4);
        if (!(again == alone)) failures[i] += "other bits in round " + std::to_string(round) + ". ";
      }
    });
  }
  for (std::thread &caller : callers) caller.join();
  for (const std::string &failure : failures) EXPECT_EQ(failure, "");
}

// A caller's error is its own: gdn_last_error belongs to the calling thread.
TEST_P(ConcurrencyTest, ErrorsBelongToTheirThread) {
  gdn_gated_delta_rule_args args = {};
  args.struct_size = sizeof(args);
  const gdn_exec exec = exec_for(GetParam());
  ASSERT_EQ(gdn_chunk_gated_delta_rule(&args, &exec), GDN_INVALID_ARGUMENT);
  const std::string mine = gdn_last_error();
  EXPECT_NE(mine, "");
  std::string other = "not run";
  std::thread([&] { other = gdn_last_error(); }).join();
  EXPECT_EQ(other, "");
  EXPECT_EQ(gdn_last_error(), mine);
}

TEST_P(ConcurrencyTest, CallersComeAndGo) {
  const Target target = GetParam();
  DeltaRuleCall call = make_call(case_named("decode_8_pool"), Element::f32);
  const Ran expected = run_once(call, target, 1);
  for (int i = 0; i < 20; ++i) {
    std::thread([&] { EXPECT_EQ(run_once(call, target, 1 + i % 3), expected); }).join();
  }
}

TEST_P(ConcurrencyTest, SurvivesFork) {
  if (kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer does not follow threads past fork";
  const Target target = GetParam();
  DeltaRuleCall call = make_call(case_named("heads_1_8"), Element::bf16);
  const Ran before = run_once(call, target, 3);
  ASSERT_EQ(before.failure, "");
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(60);  // A deadlock ends the child.
    _exit(run_once(call, target, 3) == before ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
      << (WIFSIGNALED(status) ? "the child hung or crashed" : "the child got other bits");
  EXPECT_EQ(run_once(call, target, 3), before) << "in the parent after fork";
}

}  // namespace
}  // namespace gdn::testing
