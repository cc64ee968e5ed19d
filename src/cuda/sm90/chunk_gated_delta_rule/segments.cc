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
// transfers, whole heads, half heads. Of 64 tokens of one head: the inverses. A combination of two
// segments. What the passes cost besides, of heads that forget and of those that turn out not to.
constexpr int64_t kTransfer = 1550, kWhole = 2530, kHalf = 1840, kInverses = 10;
constexpr int64_t kCombine = 1700, kFixed = 58000, kFixedForgetting = 24000, kFixedUncut = 10000,
                  kFixedAsked = 12000;
/// Chunks that a segment starts early where gates forget as fast as g = log sigmoid(a normal
/// number). Segments are at least twice as long.
constexpr int64_t kWarm = 2;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Tokens of all sequences.
int64_t tokens_of(const DeltaRule &p) { return p.sequences.batch * p.sequences.tokens; }

/// Cost of 64 tokens of each of `heads` heads side by side.
int64_t output_cost(int64_t heads) {
  return 2 * heads <= kMultiprocessors ? kHalf : divide_up(heads, kMultiprocessors) * kWhole;
}

// Costs of cutting `chunks` chunks of `heads` heads in `segments` are means of that where all heads
// forget and that where none does.

int64_t cost(int64_t chunks, int64_t heads, int64_t segments) {
  const int64_t each = divide_up(chunks, segments);
  const int64_t transfers = divide_up((2 * segments - 3) * heads, kMultiprocessors);
  const int64_t remembering =
      each * (transfers * kTransfer + (segments - 1) * heads * kInverses) + segments * kCombine;
  return each * output_cost(segments * heads) + kFixed + remembering / 2;
}

/// Where only heads are cut that forget.
int64_t forgetting_cost(int64_t chunks, int64_t segments, int64_t uncut) {
  const int64_t cut = (divide_up(chunks, segments) + kWarm) * kWhole + kFixedForgetting;
  return (cut + uncut + kFixedAsked) / 2;
}

/// The cheapest number of segments from two on.
int64_t best_count(int64_t chunks, int64_t heads) {
  int64_t best = 2;
  for (int64_t n = 3; n <= std::min(chunks, kMostSegments); ++n) {
    if (cost(chunks, heads, n) < cost(chunks, heads, best)) best = n;
  }
  return best;
}

/// The most segments of each sequence, if all are of one length, so that each has a multiprocessor.
int64_t forgetting_count(int64_t chunks, int64_t sequences, int64_t heads) {
  return std::min(kMultiprocessors / (sequences * heads), chunks / (sequences * 2 * kWarm));
}

struct Lengths {
  int64_t segments = 0;    ///< segment_length().
  int64_t forgetting = 0;  ///< forgetting_length().
};

/// The cheapest of three: segments of all heads, of those that forget, or none.
Lengths choose(const DeltaRule &p) {
  const int64_t heads = p.heads.value_heads, sequences = p.sequences.count;
  if (sequences == 0 || sequences * heads > kMostHeads) return {};
  const int64_t chunks = divide_up(tokens_of(p), kChunk);
  // Uncut the sequences run side by side.
  const int64_t uncut = divide_up(chunks, sequences) * output_cost(sequences * heads) + kFixedUncut;
  const int64_t n = best_count(chunks, heads);
  const int64_t m = sequences * forgetting_count(chunks, sequences, heads);
  const int64_t all = cost(chunks, heads, n);
  const int64_t some = m > sequences ? forgetting_cost(chunks, m, uncut) : uncut;
  if (std::min(all, some) >= uncut) return {};
  // The second has the bits of uncut heads where it does not cut.
  if (20 * all <= 19 * some) return {divide_up(chunks, n) * kChunk, 0};
  return {0, divide_up(chunks, m) * kChunk};
}

}  // namespace

int64_t segment_length(const DeltaRule &p) { return choose(p).segments; }

int64_t forgetting_length(const DeltaRule &p) { return choose(p).forgetting; }

int64_t forced_forgetting_length(const DeltaRule &) { return 2 * kWarm * kChunk; }

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
  const int64_t inverses = length / kChunk * 3 * 2 * kStep * kStep * int64_t{sizeof(uint16_t)};
  return forgetting_bytes(p, length) +
         static_cast<size_t>(max_segments(p, length) * p.heads.value_heads * (state + inverses));
}

size_t forgetting_bytes(const DeltaRule &p, int64_t length) {
  const int64_t state = p.key_dim * p.value_dim * int64_t{sizeof(float)};
  return static_cast<size_t>(max_segments(p, length) * p.heads.value_heads *
                             (state + int64_t{sizeof(int32_t)}));
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
