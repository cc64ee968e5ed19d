#ifndef GDN_CUDA_SM80_DEVICE_DECODE_PART_CUH_
#define GDN_CUDA_SM80_DEVICE_DECODE_PART_CUH_

#include <type_traits>

#include "core/fused_gdn_decode.h"
#include "cuda/sm80/device/cluster.cuh"
#include "cuda/sm80/device/conv_plain.cuh"
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
  int key_channels = 0;  ///< Of q and k of a key head, that a block convolves.
  int parts = 0;         ///< Of value heads, that a block has.
  /// Value heads that a cluster has at a time, a power of two; 0: a block takes the parts of a head
  /// in turn.
  int at_once = 0;
  int group;             ///< Value heads of a key head.
  int first_k, first_v;  ///< Channels; q's come first.
  bool sigmoid_gate;
  double eps, inverse_width;  ///< Of the norm.
  ConvPlan conv;
  RulePlan rule;
  Rows z;

  /// All but what follows from the kernel.
  DecodePlan(const FusedGdnDecode &p, DType state, bool rows_first)
      : key_heads(static_cast<unsigned>(p.rule.heads.key_heads)),
        group(static_cast<int>(p.rule.heads.group())),
        first_k(static_cast<int>(p.k_channel(0))),
        first_v(static_cast<int>(p.v_channel(0))),
        sigmoid_gate(p.sigmoid_gate),
        eps(p.eps),
        inverse_width(1.0 / static_cast<double>(p.rule.value_dim)),
        conv(p.conv, p.rule.round_states),
        rule(plan_rule(p.rule, state, rows_first)),
        z(p.z) {}

  /// A cluster is one block.
  __device__ __forceinline__ bool alone() const { return blocks.divisor == 1; }
};

/// The state and the convolution's slot that sequence n starts from; either below 0: skipped.
/// Everything is on its way after load().
template <bool kOne>
struct StartSlots {
  SequenceBits<kOne> sequence;
  LoadedIndex conv_index;

  __device__ __forceinline__ void load(const DecodePlan &plan, const FusedGdnDecode &p, int64_t n) {
    sequence.load(plan.rule, p.rule, n);
    if (plan.conv.indexed) conv_index.load(p.conv.state_indices, n);
  }
  __device__ __forceinline__ int64_t state(const DecodePlan &plan, int64_t n) const {
    return sequence.initial_slot(plan.rule, n);
  }
  __device__ __forceinline__ int64_t conv(const DecodePlan &plan, const FusedGdnDecode &p,
                                          int64_t n) const {
    return plan.conv.indexed ? p.conv.slots.named(conv_index.value()) : n;
  }
};

/// Where a block is in the work of a call: a sequence, a key head and, of what its cluster has of
/// that, which part of which value head (0 if it has all).
struct Unit {
  int n;
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

/// A channel of the convolution that a block has, which convolves it and keeps its slot: of a part
/// of a value head the one of v at position i (Columns), or one of the block's share of k and q.
template <class Part>
struct OwnChannel {
  int index = -1;    ///< -1: outside.
  int element = -1;  ///< Of k and q, those of k first; -1: one of v.

  OwnChannel() = default;
  __device__ __forceinline__ OwnChannel(const DecodePlan &plan, const FusedGdnDecode &p,
                                        const Unit &unit, const PartPlace &place, int i) {
    const int key_dim = plan.rule.key_dim;
    if (i < Part::kColumns) {
      const int column = place.tile * Part::kColumns + Columns<Part>::column(i);
      if (column < plan.rule.value_dim)
        index = plan.first_v + place.head * plan.rule.value_dim + column;
    } else {
      element = unit.rank * plan.key_channels + i - Part::kColumns;
      if (element >= 2 * key_dim) return;
      index = unit.key_head * key_dim + element + (element < key_dim ? plan.first_k : -key_dim);
    }
  }
  /// How many a block has with a part, or of k and q too.
  __device__ __forceinline__ static int count(const DecodePlan &plan, bool keys) {
    return Part::kColumns + (keys ? plan.key_channels : 0);
  }
};

/// Tokens of a part of a value head as they lie in memory: channel `thread` of the block's; gates
/// as in the recurrent kernel; z and the norm's weight of the results that the thread has. kPlain:
/// one token of a call whose convolution is_plain, with z in bf16.
template <class Part, int kTokens, bool kPlain>
struct DecodeBits {
  static constexpr int kKeyDim = Part::kKeyDim, kColumns = Part::kColumns;
  static constexpr int kResults = (kTokens * kColumns + kDecodeThreads - 1) / kDecodeThreads;
  using Channel = OwnChannel<Part>;
  using Conv = std::conditional_t<kPlain, PlainConvBits, ConvBits<kTokens>>;
  Channel own;  ///< Outside if the thread has none.
  Conv channel;
  GateBits gate;
  uint32_t z[kResults], weight[kResults];

  __device__ __forceinline__ static int decay_token(int thread) {
    return thread - (kDecodeThreads - 32);
  }
  __device__ __forceinline__ static int beta_token(int thread) {
    return thread - (kDecodeThreads - 64);
  }

  /// All but what the convolution's slot holds, from token `first` of the sequence on.
  __device__ __forceinline__ void load(const DecodePlan &plan, const FusedGdnDecode &p,
                                       const Unit &unit, const PartPlace &place,
                                       const ConvLine &line, int64_t first, int count, bool keys) {
    const int thread = fresh_thread(), i = decay_token(thread), j = beta_token(thread);
    own = Channel();
    if (thread < Channel::count(plan, keys)) own = Channel(plan, p, unit, place, thread);
    if (own.index >= 0) channel.load(plan.conv, own.index, line, first, count);
    const int64_t t = line.begin + first;
    if (i >= 0 && i < count) gate.load_decay(plan.rule, p.rule, line.batch, t + i, place.head);
    if (j >= 0 && j < count) gate.load_beta(plan.rule, line.batch, t + j, place.head);
#pragma unroll
    for (int r = 0; r < kResults; ++r) {
      const unsigned at = thread + r * kDecodeThreads, k = at / kColumns;
      const int column = place.tile * kColumns + static_cast<int>(at % kColumns);
      z[r] = weight[r] = 0;
      if (static_cast<int>(k) >= count || column >= plan.rule.value_dim) continue;
      const int64_t from = plan.z.offset(line.batch, t + k, place.head) + column;
      z[r] = kPlain ? bits16(static_cast<const bf16 *>(plan.z.data) + from) : plan.z.bits(from);
      weight[r] = load_bits(p.norm_weight, p.norm_weight.offset(column));
    }
  }
  __device__ __forceinline__ void load_slot(const DecodePlan &plan, const ConvLine &line,
                                            int64_t first) {
    if (own.index >= 0) channel.load_slot(plan.conv, own.index, line, first);
  }

  __device__ __forceinline__ void give_gates(TokenBatch<Part, kTokens> &batch,
                                             const DecodePlan &plan, const FusedGdnDecode &p,
                                             int count) const {
    const int thread = fresh_thread(), i = decay_token(thread), j = beta_token(thread);
    if (i >= 0 && i < count) {
      const Decay decay = gate.decay(plan.rule, p.rule);
      batch.decay[i] = make_float2(decay.factor, decay.keep);
    }
    if (j >= 0 && j < count) batch.beta[j] = gate.beta(plan.rule, p.rule);
  }

  /// What the thread needs again once the results are there, in shared memory until then.
  static constexpr int kStashed = kTokens == 1 ? ConvBits<1>::kHistory + 1 + 2 * kResults : 1;
  using Stash = uint32_t[kStashed][kDecodeThreads];
  template <class F>
  __device__ __forceinline__ void for_each_stashed(F f) {
    int i = 0;
#pragma unroll
    for (uint32_t &h : channel.history) f(h, i++);
    f(channel.x[0], i++);
#pragma unroll
    for (int r = 0; r < kResults; ++r) f(z[r], i++), f(weight[r], i++);
  }
  __device__ __forceinline__ void stash(Stash &to) {
    const int thread = fresh_thread();
    for_each_stashed([&](uint32_t &x, int i) { to[i][thread] = x; });
  }
  __device__ __forceinline__ void fetch(const Stash &from, const DecodePlan &plan,
                                        const FusedGdnDecode &p, const Unit &unit,
                                        const PartPlace &place, bool keys) {
    const int thread = fresh_thread();
    own = Channel();
    if (thread < Channel::count(plan, keys)) own = Channel(plan, p, unit, place, thread);
    for_each_stashed([&](uint32_t &x, int i) { x = from[i][thread]; });
  }

  /// Convolved tokens, k and q for all blocks of the cluster.
  __device__ __forceinline__ void give(TokenBatch<Part, kTokens> &batch, ClusterMail &mail,
                                       const DecodePlan &plan, const FusedGdnDecode &p,
                                       const Unit &unit, const PartPlace &place,
                                       const ConvLine &line, int64_t first, int count, bool keys) {
    const int channels = Channel::count(plan, keys);
    give_channel(batch, mail, plan, own, fresh_thread(), channels, first, count, channel);
#pragma unroll 1
    for (int i = fresh_thread() + kDecodeThreads; i < channels; i += kDecodeThreads) {
      const Channel other(plan, p, unit, place, i);
      Conv bits;
      if (other.index >= 0) {
        bits.load(plan.conv, other.index, line, first, count);
        bits.load_slot(plan.conv, other.index, line, first);
      }
      give_channel(batch, mail, plan, other, i, channels, first, count, bits);
    }
  }

 private:
  /// Channel i of the block's.
  __device__ __forceinline__ static void give_channel(TokenBatch<Part, kTokens> &batch,
                                                      ClusterMail &mail, const DecodePlan &plan,
                                                      const Channel &own, int i, int channels,
                                                      int64_t first, int count, const Conv &bits) {
    if (own.element < 0) {
      if (i >= kColumns) return;
      // Columns outside of the state are zeros: the norm sums over all.
      if (own.index < 0) {
        for (int t = 0; t < count; ++t) batch.v[t][i] = 0.0F;
      } else {
        bits.apply(plan.conv, first, count, [&](int t, float y) { batch.v[t][i] = y; });
      }
    } else if (own.index >= 0) {
      const bool is_k = own.element < plan.rule.key_dim;
      float *const row =
          is_k ? batch.k[0] + own.element : batch.q[0] + (own.element - plan.rule.key_dim);
      bits.apply(plan.conv, first, count, [&](int t, float y) {
        for (unsigned rank = 0; rank < plan.blocks.divisor; ++rank) {
          mail.send(row + t * kKeyDim, rank, y, plan.alone());
        }
      });
    }
  }
};

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_DECODE_PART_CUH_
