#ifndef GDN_CUDA_SM80_DEVICE_DECODE_PART_CUH_
#define GDN_CUDA_SM80_DEVICE_DECODE_PART_CUH_

#include "core/fused_gdn_decode.h"
#include "cuda/sm80/device/conv_channel.cuh"
#include "cuda/sm80/device/rule_block.cuh"
#include "cuda/sm80/device/rule_plan.cuh"

// What a block of fused_gdn_decode has of a call: parts of value heads, the tokens that come with
// them, channels of the convolution.

namespace gdn::cuda::sm80 {

constexpr int kDecodeThreads = 128;

struct DecodePlan {
  Divisor blocks;  ///< Of a key head, which are a cluster.
  Divisor key_heads;
  Divisor tiles;         ///< Parts of a value head.
  int key_channels = 0;  ///< Of q and k of a key head, that a block updates.
  int parts = 0;         ///< Of value heads, that a block has.
  /// Value heads that a cluster has at a time, a power of two; 0: a block takes the parts of a head
  /// in turn.
  int at_once = 0;
  int group;  ///< Value heads of a key head.
  bool sigmoid_gate;
  double eps, inverse_width;  ///< Of the norm.
  ConvPlan conv;
  RulePlan rule;
  Rows z;

  /// All but what follows from the kernel.
  DecodePlan(const FusedGdnDecode &p, DType state, bool rows_first)
      : key_heads(static_cast<unsigned>(p.rule.heads.key_heads)),
        group(static_cast<int>(p.rule.heads.group())),
        sigmoid_gate(p.sigmoid_gate),
        eps(p.eps),
        inverse_width(1.0 / static_cast<double>(p.rule.value_dim)),
        conv(p.conv, p.rule.round_states),
        rule(plan_rule(p.rule, state, rows_first)),
        z(p.z) {}
};

/// Where a block is in the work of a call: a sequence, a key head and, of what its cluster has of
/// that, which part of which value head (0 if it has all).
struct Unit {
  int64_t n;
  int key_head;
  int rank;  ///< Of the block in its cluster.
  int head, tile;
};

/// Value head i of the key head.
__device__ __forceinline__ int value_head(const DecodePlan &plan, const Unit &unit, int i) {
  return plan.rule.interleaved ? i * static_cast<int>(plan.key_heads.divisor) + unit.key_head
                               : unit.key_head * plan.group + i;
}

/// Part i of those that a block has: a value head and a tile of it.
struct PartPlace {
  int head, tile;

  __device__ __forceinline__ PartPlace(const DecodePlan &plan, const Unit &unit, int i) {
    const int first =
        plan.at_once > 0 ? i * plan.at_once + unit.head : static_cast<int>(plan.tiles.quotient(i));
    head = value_head(plan, unit, first);
    tile = plan.at_once > 0 ? unit.tile : static_cast<int>(plan.tiles.remainder(i));
  }
};

/// Channel i of the convolution of those that a block updates: its share of k and q, then those of
/// its parts of value heads. -1: none.
template <class Part>
__device__ __forceinline__ int64_t own_channel(const DecodePlan &plan, const FusedGdnDecode &p,
                                               const Unit &unit, int i) {
  if (i < plan.key_channels) {
    const int d = unit.rank * plan.key_channels + i, key_dim = plan.rule.key_dim;
    if (d >= 2 * key_dim) return -1;
    return d < key_dim ? p.k_channel(unit.key_head) + d : p.q_channel(unit.key_head) + d - key_dim;
  }
  const unsigned at = i - plan.key_channels;
  const PartPlace place(plan, unit, static_cast<int>(at / Part::kColumns));
  const int column = place.tile * Part::kColumns + static_cast<int>(at % Part::kColumns);
  return column < plan.rule.value_dim ? p.v_channel(place.head) + column : -1;
}

/// Tokens of a part of a value head as they lie in memory: channels of k and q, thread, thread +
/// kDecodeThreads, .., those of k first; the channel of v that lies at position `thread` (Columns);
/// gates as in the recurrent kernel; z and the norm's weight of the results that the thread has.
template <class Part, int kTokens>
struct DecodeBits {
  static constexpr int kKeyDim = Part::kKeyDim, kColumns = Part::kColumns;
  static constexpr int kCount = 2 * kKeyDim / kDecodeThreads;
  static constexpr int kResults = (kTokens * kColumns + kDecodeThreads - 1) / kDecodeThreads;
  ConvBits<kTokens> keys[kCount], values;
  GateBits gate;
  uint32_t z[kResults], weight[kResults];

  __device__ __forceinline__ static int decay_token(int thread) {
    return thread - (kDecodeThreads - 32);
  }
  __device__ __forceinline__ static int beta_token(int thread) {
    return thread - (kDecodeThreads - 64);
  }
  __device__ __forceinline__ static bool is_q(int i) { return i * kDecodeThreads >= kKeyDim; }
  __device__ __forceinline__ static int element(int thread, int i) {
    return thread + i * kDecodeThreads % kKeyDim;
  }

  /// Calls f(bits, channel) for each channel that the thread has.
  template <class F>
  __device__ __forceinline__ void for_each_channel(const DecodePlan &plan, const FusedGdnDecode &p,
                                                   const Unit &unit, int head, int first_column,
                                                   F f) {
    const int thread = fresh_thread();
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      // The last channel for threads that have none: no branch.
      const int d = min(element(thread, i), plan.rule.key_dim - 1);
      f(keys[i], (is_q(i) ? p.q_channel(unit.key_head) : p.k_channel(unit.key_head)) + d);
    }
    const int column = min(first_column + Columns<Part>::column(thread), plan.rule.value_dim - 1);
    if (thread < kColumns) f(values, p.v_channel(head) + column);
  }

  /// All but what the convolution's slot holds, from token `first` of the sequence on.
  __device__ __forceinline__ void load(const DecodePlan &plan, const FusedGdnDecode &p,
                                       const Unit &unit, const ConvLine &line, int64_t first,
                                       int count, int head, int first_column) {
    for_each_channel(plan, p, unit, head, first_column,
                     [&](auto &bits, int64_t c) { bits.load(plan.conv, c, line, first, count); });
    const int thread = fresh_thread(), i = decay_token(thread), j = beta_token(thread);
    const int64_t t = line.begin + first;
    if (i >= 0 && i < count) gate.load_decay(plan.rule, p.rule, line.batch, t + i, head);
    if (j >= 0 && j < count) gate.load_beta(plan.rule, line.batch, t + j, head);
#pragma unroll
    for (int r = 0; r < kResults; ++r) {
      const unsigned at = thread + r * kDecodeThreads, k = at / kColumns;
      const int column = first_column + static_cast<int>(at % kColumns);
      z[r] = weight[r] = 0;
      if (static_cast<int>(k) >= count || column >= plan.rule.value_dim) continue;
      z[r] = plan.z.bits(plan.z.offset(line.batch, t + k, head) + column);
      weight[r] = load_bits(p.norm_weight, p.norm_weight.offset(column));
    }
  }
  __device__ __forceinline__ void load_slot(const DecodePlan &plan, const FusedGdnDecode &p,
                                            const Unit &unit, const ConvLine &line, int64_t first,
                                            int head, int first_column) {
    for_each_channel(plan, p, unit, head, first_column,
                     [&](auto &bits, int64_t c) { bits.load_slot(plan.conv, c, line, first); });
  }

  /// Convolved tokens and their gates to shared memory, where rows past DK are zeros already.
  /// True if an element of k or q is far (rule_block.cuh).
  __device__ __forceinline__ bool give(TokenBatch<Part, kTokens> &batch, const DecodePlan &plan,
                                       const FusedGdnDecode &p, int64_t first, int count,
                                       int first_column) const {
    const int thread = fresh_thread(), i = decay_token(thread), j = beta_token(thread);
    if (i >= 0 && i < count) {
      const Decay decay = gate.decay(plan.rule, p.rule);
      batch.decay[i] = make_float2(decay.factor, decay.keep);
    }
    if (j >= 0 && j < count) batch.beta[j] = gate.beta(plan.rule, p.rule);
    bool far = false;
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      const int d = element(thread, k);
      if (d >= plan.rule.key_dim) continue;
      float *const row = (is_q(k) ? batch.q[0] : batch.k[0]) + d;
      keys[k].apply(plan.conv, first, count, [&](int t, float y) {
        row[t * kKeyDim] = y;
        far = far || is_far(y);
      });
    }
    // Columns outside of the state are zeros: the norm sums over all.
    const bool inside = first_column + Columns<Part>::column(thread) < plan.rule.value_dim;
    if (thread < kColumns) {
      values.apply(plan.conv, first, count,
                   [&](int t, float y) { batch.v[t][thread] = inside ? y : 0.0F; });
    }
    return far;
  }
};

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_DECODE_PART_CUH_
