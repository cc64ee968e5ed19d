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

/// Runs kkt on a call and expects a refusal that says `part`.
void expect_refusal(const DeltaRuleCall &call, int32_t chunk_size, const char *part) {
  StageCall stages(call, chunk_size);
  const std::string failure = stages.run(Stage::kkt, kModel);
  EXPECT_NE(failure.find("GDN_UNSUPPORTED"), std::string::npos) << failure;
  EXPECT_NE(failure.find(part), std::string::npos) << failure;
}

TEST(AscendBackend, RefusesWhatItsKernelsDoNotTake) {
  const OwnCase own({70, 3}, 2, 128, 128, 0);
  expect_refusal(own.draw(Element::f32), 64, "k in bfloat16 or float16");
  expect_refusal(own.draw(Element::bf16), 32, "chunk_size is 32");
  const OwnCase interleaved({70, 3}, 2, 128, 128, kInterleaved);
  expect_refusal(interleaved.draw(Element::bf16), 64, "head_map = block");
  const OwnCase strided({70, 3}, 2, 128, 128, kStrided);
  expect_refusal(strided.draw(Element::bf16), 64, "tensors without gaps");
  const OwnCase narrow({70, 3}, 2, 64, 64, 0);
  expect_refusal(narrow.draw(Element::bf16), 64, "DK = 64");
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
