// When and how the Hopper path cuts sequences: follows from shapes, so that any machine can tell.
// An internal part of the library, from its own header.

#include "cuda/sm90/chunk_gated_delta_rule/segments.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace gdn::cuda::sm90::chunk_gated_delta_rule {
namespace {

constexpr int64_t kMultiprocessors = 132;  ///< Of an H100 or H200.

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

DeltaRule call(int64_t sequences, int64_t tokens, int64_t heads, bool packed = true) {
  DeltaRule p;
  p.sequences.count = sequences;
  p.sequences.batch = packed ? 1 : sequences;
  p.sequences.tokens = tokens;
  p.sequences.cu_seqlens.present = packed;
  p.heads.value_heads = heads;
  p.key_dim = p.value_dim = 128;
  return p;
}

TEST(Segments, OnlyFewSequencesAndHeadsAreCut) {
  for (const auto &p :
       {call(1, 32768, 4), call(1, 32768, 32), call(1, 131072, 32), call(2, 65536, 8)}) {
    EXPECT_GT(segment_length(p, kMultiprocessors), 0);
    EXPECT_EQ(forgetting_length(p, kMultiprocessors), 0);
  }
  for (const auto &p : {call(1, 8192, 64), call(1, 2048, 32), call(2, 8192, 32)}) {
    EXPECT_EQ(segment_length(p, kMultiprocessors), 0);
    EXPECT_GT(forgetting_length(p, kMultiprocessors), 0);
  }
  for (const auto &p :
       {call(1, 32768, 65), call(5, 32768, 13), call(1, 512, 4), call(1, 0, 4), call(0, 0, 4)}) {
    EXPECT_EQ(segment_length(p, kMultiprocessors), 0);
    EXPECT_EQ(forgetting_length(p, kMultiprocessors), 0);
  }
}

TEST(Segments, OfHeadsThatForgetEachHasAMultiprocessor) {
  for (int64_t tokens = 256; tokens <= 1 << 16; tokens += 448) {
    for (const int64_t heads : {1, 3, 4, 16, 17, 32, 48, 64}) {
      for (const int64_t multiprocessors : {78, 114, 132}) {
        for (int64_t n = 1; n * heads <= 64; ++n) {
          const int64_t length = forgetting_length(call(n, n * tokens, heads), multiprocessors);
          if (length == 0) continue;
          const int64_t segments = n * divide_up(tokens, length);
          EXPECT_LE(segments * heads, multiprocessors) << tokens << " " << heads;
          EXPECT_GE(length, 256);
        }
      }
    }
  }
}

// What segments cost heads that remember is more where few of them run at once.
TEST(Segments, FollowTheDevice) {
  EXPECT_NE(segment_length(call(1, 32768, 4), 78), segment_length(call(1, 32768, 4), 132));
  EXPECT_EQ(forgetting_length(call(1, 8192, 64), 78), 0);
  EXPECT_GT(forgetting_length(call(1, 8192, 32), 78), 0);
}

TEST(Segments, LengthsAreWholeChunks) {
  for (const int64_t tokens : {1, 63, 64, 65, 1000, 8192, 32768, 100001, 1 << 20}) {
    for (int64_t heads = 1; heads <= 64; ++heads) {
      const DeltaRule p = call(1, tokens, heads);
      EXPECT_EQ(segment_length(p, kMultiprocessors) % 64, 0) << tokens << " " << heads;
      EXPECT_EQ(forgetting_length(p, kMultiprocessors) % 64, 0) << tokens << " " << heads;
      EXPECT_GT(forced_segment_length(p, kMultiprocessors), 0) << tokens << " " << heads;
      EXPECT_EQ(forced_segment_length(p, kMultiprocessors) % 64, 0) << tokens << " " << heads;
    }
  }
}

// Whatever the lengths, empty sequences among them, the workspace has a place for each segment.
TEST(Segments, NoCallHasMoreThanTheMost) {
  std::mt19937_64 random(20261130);
  for (int i = 0; i < 20000; ++i) {
    const int64_t sequences = 1 + static_cast<int64_t>(random() % 16);
    const int64_t length = 64 * (1 + static_cast<int64_t>(random() % 4));
    int64_t tokens = 0, segments = 0;
    for (int64_t n = 0; n < sequences; ++n) {
      const int64_t l = random() % 3 == 0 ? 0 : static_cast<int64_t>(random() % 400);
      tokens += l;
      segments += std::max<int64_t>((l + length - 1) / length, 1);
    }
    EXPECT_LE(segments, max_segments(call(sequences, tokens, 1), length));
  }
  EXPECT_EQ(max_segments(call(1, 1024, 1), 64), 16);
  EXPECT_EQ(max_segments(call(3, 130, 1, false), 64), 9);
  EXPECT_EQ(max_segments(call(2, 0, 1, false), 64), 2);
}

}  // namespace
}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
