#include "cuda/sm90/chunk_gated_delta_rule/segments.h"

#include <algorithm>

namespace gdn::cuda::sm90::chunk_gated_delta_rule {
namespace {

constexpr int64_t kChunk = 64;
constexpr int64_t kStep = 32;
/// Of an H100 or H200. Not asked of the device, so that bits do not depend on it.
constexpr int64_t kMultiprocessors = 132;
constexpr int64_t kMostHeads = 64;  ///< Sequences times value heads.

// Nanoseconds on an H200 (docs/lab/hopper_few.md). Of 64 tokens of a round of blocks: the
// transfers, the outputs with whole and with half heads. Of 64 tokens of one head: the inverses. A
// combination of two segments. What the passes cost besides.
constexpr int64_t kTransfer = 1600, kWhole = 2550, kHalf = 1950, kInverses = 9;
constexpr int64_t kCombine = 1700, kFixed = 30000;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Tokens of all sequences.
int64_t tokens_of(const DeltaRule &p) { return p.sequences.batch * p.sequences.tokens; }

/// Cost of 64 tokens of each of `heads` heads side by side.
int64_t output_cost(int64_t heads) {
  return 2 * heads <= kMultiprocessors ? kHalf : divide_up(heads, kMultiprocessors) * kWhole;
}

/// Cost of cutting `chunks` chunks of `heads` heads in `segments`: the mean of that where all
/// segments forget and that where all remember.
int64_t cost(int64_t chunks, int64_t heads, int64_t segments) {
  const int64_t each = divide_up(chunks, segments);
  const int64_t transfers = divide_up((2 * segments - 3) * heads, kMultiprocessors);
  const int64_t remembering =
      each * (transfers * kTransfer + (segments - 1) * heads * kInverses) + segments * kCombine;
  return each * output_cost(segments * heads) + kFixed + remembering / 2;
}

/// The cheapest number of segments from two on.
int64_t best_count(int64_t chunks, int64_t heads) {
  int64_t best = 2;
  for (int64_t n = 3; n <= std::min(chunks, kMostSegments); ++n) {
    if (cost(chunks, heads, n) < cost(chunks, heads, best)) best = n;
  }
  return best;
}

}  // namespace

int64_t segment_length(const DeltaRule &p) {
  const int64_t heads = p.heads.value_heads, sequences = p.sequences.count;
  if (sequences == 0 || sequences * heads > kMostHeads) return 0;
  const int64_t chunks = divide_up(tokens_of(p), kChunk);
  const int64_t n = best_count(chunks, heads);
  // Uncut the sequences run side by side.
  if (cost(chunks, heads, n) >= divide_up(chunks, sequences) * output_cost(sequences * heads)) {
    return 0;
  }
  return divide_up(chunks, n) * kChunk;
}

int64_t forced_segment_length(const DeltaRule &p) {
  const int64_t chunks = std::max<int64_t>(divide_up(tokens_of(p), kChunk), 1);
  return divide_up(chunks, best_count(chunks, p.heads.value_heads)) * kChunk;
}

int64_t max_segments(const DeltaRule &p, int64_t length) {
  const Sequences &s = p.sequences;
  if (!s.packed()) return s.batch * std::max<int64_t>(divide_up(s.tokens, length), 1);
  return s.tokens > 0 ? (s.tokens - 1) / length + s.count : s.count;
}

size_t segment_bytes(const DeltaRule &p, int64_t length) {
  const int64_t state = p.key_dim * p.value_dim * int64_t{sizeof(float)};
  const int64_t inverses = length / kStep * 2 * kStep * kStep * int64_t{sizeof(uint16_t)};
  return static_cast<size_t>(max_segments(p, length) * p.heads.value_heads *
                             (2 * state + inverses + int64_t{sizeof(int32_t)}));
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
