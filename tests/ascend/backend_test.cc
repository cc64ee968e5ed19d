// The backend "ascend" as one of the library's: when it runs, and what it refuses.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <string>

#include "cases/errors.h"
#include "cases/stage_call.h"
#include "own_case.h"

namespace gdn::testing {
namespace {

const Target kModel = {"ascend", "model"};

TEST(AscendBackend, RunsOnlyWhenNamed) {
  gdn_selection selection;
  ASSERT_EQ(gdn_select(nullptr, &selection), GDN_OK) << gdn_last_error();
  EXPECT_STRNE(selection.backend, "ascend");
  const gdn_exec exec = exec_for(kModel);
  ASSERT_EQ(gdn_select(&exec, &selection), GDN_OK) << gdn_last_error();
  EXPECT_STREQ(selection.backend, "ascend");
  EXPECT_STREQ(selection.isa, "model");
}

TEST(AscendBackend, LacksTheWholeOperation) {
  const OwnCase own({5}, 1, 128, 128, 0);
  DeltaRuleCall call = own.draw(Element::bf16);
  for (const Operation operation : kOperations) {
    const std::string failure = run(operation, call, kModel);
    EXPECT_NE(failure.find("GDN_UNSUPPORTED"), std::string::npos) << failure;
    EXPECT_NE(failure.find("the ascend backend does not have this operation"), std::string::npos)
        << failure;
  }
}

/// Expects a refusal with this code that says `part`.
void expect_refusal(const std::string &failure, const char *code, const std::string &part) {
  EXPECT_NE(failure.find(code), std::string::npos) << failure;
  EXPECT_NE(failure.find(part), std::string::npos) << failure;
}

/// Runs kkt on a call and expects a refusal that says `part`.
void expect_refusal(const DeltaRuleCall &call, int32_t chunk_size, const char *part) {
  StageCall stages(call, chunk_size);
  expect_refusal(stages.run(Stage::kkt, kModel), "GDN_UNSUPPORTED", part);
}

TEST(AscendBackend, RefusesWhatItsKernelsDoNotTake) {
  const OwnCase own({70, 3}, 2, 128, 128, 0);
  expect_refusal(own.draw(Element::f32), 64, "k in bfloat16 or float16, but it is in float32");
  expect_refusal(own.draw(Element::bf16), 32, "chunk_size is 32");
  const OwnCase interleaved({70, 3}, 2, 128, 128, kInterleaved);
  expect_refusal(interleaved.draw(Element::bf16), 64,
                 "head_map = block alone, but it is interleaved");
  const OwnCase strided({70, 3}, 2, 128, 128, kStrided);
  expect_refusal(strided.draw(Element::bf16), 64,
                 "tensors without gaps, but k of shape [1, 73, 1, 128] has the strides [");
  const OwnCase narrow({70, 3}, 2, 64, 64, 0);
  expect_refusal(narrow.draw(Element::bf16), 64, "DK = 64");
  const OwnCase padded({70, 3}, 2, 128, 128, kPadded);
  expect_refusal(padded.draw(Element::bf16), 64, "end with their sequences, but GDN_PADDED");
  DeltaRuleCall mixed = own.draw(Element::bf16);
  mixed.beta = Array(Element::f16, mixed.beta->shape());
  expect_refusal(mixed, 64, "beta in float32 or in the type of k, bfloat16, but it is in float16");
  DeltaRuleCall apart = own.draw(Element::bf16);
  apart.cu_seqlens = Array(Element::i32, {3}, {{2}, 0});
  apart.cu_seqlens->assign(std::vector<int64_t>{0, 70, 73});
  expect_refusal(apart, 64, "tensors without gaps, but cu_seqlens has the stride 2");
}

TEST(AscendBackend, RefusesOtherStates) {
  const OwnCase own({70, 3}, 2, 128, 128, kInitialState | kStateBf16);
  const DeltaRuleCall call = own.draw(Element::bf16);
  StageCall stages(call, 64);
  expect_refusal(stages.run(Stage::fwd_h, kModel), "GDN_UNSUPPORTED",
                 "states in float32, but initial_state is in bfloat16");
}

TEST(AscendBackend, RefusesASeedThatIsNoNumber) {
  const OwnCase own({5}, 1, 128, 128, 0);
  const DeltaRuleCall call = own.draw(Element::bf16);
  StageCall stages(call, 64);
  for (const std::string seed : {"abc", "7x", "-1", " 7", "18446744073709551616"}) {
    setenv("GDN_ASCEND_SEED", seed.c_str(), 1);
    expect_refusal(stages.run(Stage::cumsum, kModel), "GDN_INVALID_ARGUMENT",
                   "GDN_ASCEND_SEED is \"" + seed +
                       "\", expected a whole number from 0 to 18446744073709551615.");
  }
  for (const char *seed : {"", "0", "18446744073709551615"}) {
    setenv("GDN_ASCEND_SEED", seed, 1);
    EXPECT_EQ(stages.run(Stage::cumsum, kModel), "");
  }
  unsetenv("GDN_ASCEND_SEED");
}

// Vector cores take heads in groups of 8.
TEST(AscendBackend, MoreThanEightValueHeadsOfAKeyHead) {
  const OwnCase own({70, 3}, 10, 128, 128, 0);
  const DeltaRuleCall call = own.draw(Element::bf16);
  const DeltaRuleCall wide = call.widened();
  StageCall exact(wide, 64);
  for (const Stage stage : kStages) ASSERT_EQ(exact.run(stage, reference_target()), "");
  StageCall stages(call, 64);
  for (const Stage stage : kStages) {
    SCOPED_TRACE(name_of(stage));
    ASSERT_EQ(stages.run(stage, kModel), "");
    for (size_t i = 0; i < stages.outputs(stage).size(); ++i) {
      const Array &array = *stages.outputs(stage)[i];
      EXPECT_LE(worst_row(array.values(), exact.outputs(stage)[i]->values(), array.size()), 6e-3);
    }
  }
}

TEST(AscendBackend, NoTokens) {
  const OwnCase own({0, 0}, 2, 128, 128, kInitialState);
  const DeltaRuleCall call = own.draw(Element::bf16);
  StageCall stages(call, 64);
  for (const Stage stage : kStages) EXPECT_EQ(stages.run(stage, kModel), "") << name_of(stage);
  EXPECT_EQ(stages.final_state.values(), call.initial_state->values());
}

// Sequences of the same lengths, with offsets of either type.
TEST(AscendBackend, OffsetsOf64Bits) {
  const OwnCase own({70, 3}, 2, 128, 128, 0);
  const OwnCase wide({70, 3}, 2, 128, 128, kIndex64);
  const DeltaRuleCall one = own.draw(Element::f16);
  const DeltaRuleCall other = wide.draw(Element::f16);
  StageCall stages(one, 128);
  StageCall stages_wide(other, 128);
  for (const Stage stage : kStages) {
    ASSERT_EQ(stages.run(stage, kModel), "");
    ASSERT_EQ(stages_wide.run(stage, kModel), "");
  }
  EXPECT_EQ(stages.o.bytes(), stages_wide.o.bytes());
}

}  // namespace
}  // namespace gdn::testing
