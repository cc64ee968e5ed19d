#include "cuda/sm90/chunk_gated_delta_rule/segments.h"

#include <algorithm>
#include <limits>

namespace gdn::cuda::sm90::chunk_gated_delta_rule {
namespace {

constexpr int64_t kChunk = 64;
constexpr int64_t kStep = 32;
constexpr int64_t kMostHeads = 64;  ///< Sequences times value heads.

// Nanoseconds on an H200 (docs/lab/hopper_few.md). Of 64 tokens of a round of blocks: the
// transfers, whole heads, half heads. Of 64 tokens of all heads in a round of 128: the inverses. A
// combination of two segments. What the passes cost besides, of heads that forget and of those that
// turn out not to.
constexpr int64_t kTransfer = 1100, kWhole = 2530, kHalf = 1840, kInverses = 1400;
constexpr int64_t kCombine = 700, kFixed = 52000, kFixedForgetting = 18000, kFixedUncut = 10000,
                  kFixedAsked = 6500;
/// Chunks that a segment starts early where gates forget as fast as g = log sigmoid(a normal
/// number). Segments are at least twice as long.
constexpr int64_t kWarm = 2;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Costs of a call, of heads that forget and of those that do not.
struct Costs {
  int64_t forgetting, remembering;

  int64_t sum() const { return forgetting + remembering; }
};

struct Call {
  int64_t sequences, heads, chunks, multiprocessors;

  /// 64 tokens of each of so many heads side by side.
  int64_t output(int64_t count) const {
    return 2 * count <= multiprocessors ? kHalf : divide_up(count, multiprocessors) * kWhole;
  }

  /// The sequences side by side.
  Costs uncut() const {
    const int64_t cost = divide_up(chunks, sequences) * output(sequences * heads) + kFixedUncut;
    return {cost, cost};
  }

  /// So many segments of all heads.
  Costs segments(int64_t count) const {
    const int64_t each = divide_up(chunks, count);
    const int64_t transfers = divide_up((2 * count - 3) * heads, multiprocessors) * kTransfer;
    const int64_t inverses = (count - 1) * heads * kInverses / multiprocessors;
    const int64_t forgetting = each * output(count * heads) + kFixed;
    return {forgetting, forgetting + each * (transfers + inverses) + count * kCombine};
  }

  /// So many segments of heads that forget.
  Costs forgetting(int64_t count) const {
    return {(divide_up(chunks, count) + kWarm) * kWhole + kFixedForgetting,
            uncut().remembering + kFixedAsked};
  }

  /// The most segments of sequences of one length, so that each has a multiprocessor.
  int64_t forgetting_count() const {
    return sequences *
           std::min(multiprocessors / (sequences * heads), chunks / (sequences * 2 * kWarm));
  }

  /// The cheapest number of segments of all heads from two on that costs no head more than `most`;
  /// 0: there is none.
  int64_t best_count(int64_t most) const {
    int64_t best = 0;
    for (int64_t n = 2; n <= std::max<int64_t>(std::min(chunks, kMostSegments), 2); ++n) {
      if (segments(n).remembering > most) continue;
      if (best == 0 || segments(n).sum() < segments(best).sum()) best = n;
    }
    return best;
  }
};

Call call_of(const DeltaRule &p, int64_t multiprocessors) {
  const int64_t tokens = p.sequences.batch * p.sequences.tokens;
  return {p.sequences.count, p.heads.value_heads, divide_up(tokens, kChunk), multiprocessors};
}

struct Lengths {
  int64_t segments = 0;    ///< segment_length().
  int64_t forgetting = 0;  ///< forgetting_length().
};

/// The cheapest of three: segments of all heads, of those that forget, or none. Gates are taken to
/// forget in half of all calls. Those that do not are to lose nothing, but for a tenth at most that
/// asking them costs.
Lengths choose(const DeltaRule &p, int64_t multiprocessors) {
  const Call call = call_of(p, multiprocessors);
  if (call.sequences == 0 || call.sequences * call.heads > kMostHeads) return {};
  const Costs uncut = call.uncut();
  const int64_t n = call.best_count(uncut.remembering);
  const int64_t m = call.forgetting_count();
  const int64_t none = uncut.sum();
  const int64_t all = n > 0 ? call.segments(n).sum() : none;
  const bool some_may = m > call.sequences && 10 * kFixedAsked <= uncut.remembering;
  const int64_t some = some_may ? call.forgetting(m).sum() : none;
  if (std::min(all, some) >= none) return {};
  // The second has the bits of uncut heads where it does not cut.
  if (20 * all <= 19 * some) return {divide_up(call.chunks, n) * kChunk, 0};
  return {0, divide_up(call.chunks, m) * kChunk};
}

}  // namespace

int64_t segment_length(const DeltaRule &p, int64_t multiprocessors) {
  return choose(p, multiprocessors).segments;
}

int64_t forgetting_length(const DeltaRule &p, int64_t multiprocessors) {
  return choose(p, multiprocessors).forgetting;
}

int64_t forced_forgetting_length(const DeltaRule &, int64_t) { return 2 * kWarm * kChunk; }

int64_t forced_segment_length(const DeltaRule &p, int64_t multiprocessors) {
  Call call = call_of(p, multiprocessors);
  call.chunks = std::max<int64_t>(call.chunks, 1);
  return divide_up(call.chunks, call.best_count(std::numeric_limits<int64_t>::max())) * kChunk;
}

int64_t max_segments(const DeltaRule &p, int64_t length) {
  const Sequences &s = p.sequences;
  if (!s.packed()) return s.batch * std::max<int64_t>(divide_up(s.tokens, length), 1);
  return s.tokens > 0 ? (s.tokens - 1) / length + s.count : s.count;
}

size_t segment_bytes(const DeltaRule &p, int64_t length) {
  const int64_t state = p.key_dim * p.value_dim * int64_t{sizeof(float)};
  const int64_t inverses =
      length / kChunk * (3 * 2 * kStep * kStep * int64_t{sizeof(uint16_t)} + kRepeatBytes);
  return forgetting_bytes(p, length) +
         static_cast<size_t>(max_segments(p, length) * p.heads.value_heads * (state + inverses));
}

size_t forgetting_bytes(const DeltaRule &p, int64_t length) {
  const int64_t state = p.key_dim * p.value_dim * int64_t{sizeof(float)};
  return static_cast<size_t>(max_segments(p, length) * p.heads.value_heads *
                             (state + int64_t{sizeof(int32_t)}));
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
