// Buffers that are much longer than their sequences, where stages number blocks by tokens. The
// table of cases has short paddings.

#include "own_case.h"

#include <algorithm>

#include "cases/stage_call.h"

namespace gdn::testing {
namespace {

using PaddingTest = TargetTest;

INSTANTIATE_TEST_SUITE_P(Cpu, PaddingTest, ::testing::ValuesIn(tested_targets()), name_of_target);

/// The rows that belong to sequences: everything of the tokens before `tokens`.
std::vector<float> used_rows(const Array &array, int64_t tokens) {
  std::vector<float> values = array.values();
  values.resize(values.size() / static_cast<size_t>(array.shape()[1]) *
                static_cast<size_t>(tokens));
  return values;
}

TEST_P(PaddingTest, StagesOfShortSequencesInALongBuffer) {
  constexpr int64_t kTokens = 900;
  for (const std::vector<int64_t> &ends :
       {std::vector<int64_t>{0}, {0, 0}, {0, 3}, {0, 70, 70, 83}}) {
    for (const int32_t chunk_size : {16, 128}) {
      SCOPED_TRACE("chunks of " + std::to_string(chunk_size) + ", " +
                   std::to_string(ends.size() - 1) + " sequences");
      const int64_t used = ends.back();
      const OwnCase c({kTokens}, 2, 12, 20, 0);
      DeltaRuleCall whole = c.draw(Element::f32);
      DeltaRuleCall padded = whole;
      padded.flags |= GDN_PADDED;
      padded.cu_seqlens = Array(Element::i32, {static_cast<int64_t>(ends.size())});
      padded.cu_seqlens->assign(ends);
      padded.lengths.clear();
      for (size_t n = 0; n + 1 < ends.size(); ++n) padded.lengths.push_back(ends[n + 1] - ends[n]);
      // The reference walks sequences, the kernels under test number blocks.
      StageCall expected(padded, chunk_size);
      StageCall actual(padded, chunk_size);
      for (const Stage stage : kStages) {
        SCOPED_TRACE(name_of(stage));
        ASSERT_EQ(expected.run(stage, reference_target()), "");
        actual.copy_values(expected);
        for (Array *array : actual.outputs(stage)) array->poison();
        ASSERT_EQ(actual.run(stage, GetParam()), "");
        const std::vector<Array *> outputs = actual.outputs(stage);
        for (size_t i = 0; i < outputs.size(); ++i) {
          if (outputs[i]->shape()[0] != 1 || outputs[i]->shape()[1] != kTokens) continue;
          const std::vector<float> rows = used_rows(*outputs[i], used);
          const std::vector<float> right = used_rows(*expected.outputs(stage)[i], used);
          for (size_t j = 0; j < rows.size(); ++j) {
            ASSERT_NEAR(rows[j], right[j], 1e-4 + 1e-3 * std::abs(right[j]));
          }
          const std::vector<float> all = outputs[i]->values();
          EXPECT_TRUE(std::all_of(all.begin() + static_cast<int64_t>(rows.size()), all.end(),
                                  [](float e) { return std::isnan(e); }));
        }
      }
      EXPECT_EQ(actual.damage(), "");
    }
  }
}

}  // namespace
}  // namespace gdn::testing
