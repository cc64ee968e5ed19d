#include "cuda/sm80/fused_gdn_decode_large.h"

#include "cuda/device/dependent.cuh"
#include "cuda/launch.h"
#include "cuda/sm80/device/bulk.cuh"
#include "cuda/sm80/device/gated_output.cuh"

// A decode step in two kernels. Where blocks come in many waves, what a block does before its state
// is of use to it is time in which it has no bytes on their way; done by a kernel of its own, it is
// done once a key head, by as many threads as there are channels.
//
// decode_tokens: a block has a sequence and a key head: convolution and silu of its channels,
// their slots, norms of q and k, decay and beta. Writes f32 rows to the workspace.
// decode_states: a block has a value head, so that its gated norm needs no other block. It asks for
// its state before it waits for the first kernel, beside which it may already run.
//
// Each result is made by the arithmetic of the one-kernel form, so a call's size may choose.

namespace gdn::cuda::sm80 {
namespace {

constexpr const char *kName = "fused_gdn_decode";
constexpr int kKeyDim = 128;  // Most.
constexpr int kTokenThreads = 128;
constexpr int64_t kLeastStates = 1024;  // Fewer are about two waves of blocks.

/// The workspace: rows of k, q and norms for each key head of a sequence, of v and gates for each
/// value head.
struct TokenRows {
  float *keys, *values;
  int value_row;
  static constexpr int kKeyRow = 2 * kKeyDim + 4;

  TokenRows(const FusedGdnDecode &p, void *workspace)
      : keys(static_cast<float *>(workspace)),
        values(keys + key_floats(p)),
        value_row(static_cast<int>(row_of_values(p))) {}
  static int64_t row_of_values(const FusedGdnDecode &p) {
    return (p.rule.value_dim + 3) / 4 * 4 + 4;
  }
  static int64_t key_floats(const FusedGdnDecode &p) {
    return p.rule.sequences.count * p.rule.heads.key_heads * kKeyRow;
  }
  static size_t bytes(const FusedGdnDecode &p) {
    const int64_t states = p.rule.sequences.count * p.rule.heads.value_heads;
    return static_cast<size_t>(key_floats(p) + states * row_of_values(p)) * sizeof(float);
  }
  __device__ __forceinline__ float *key(unsigned index) const {
    return keys + int64_t{index} * kKeyRow;
  }
  __device__ __forceinline__ float *value(unsigned index) const {
    return values + int64_t{index} * value_row;
  }
};

struct KeyRows {
  static constexpr int kKeyDim = sm80::kKeyDim, kColumns = 4;
};

/// Conv has kChannels neighbouring channels of the convolution.
template <class Conv, int kChannels>
__global__ void __launch_bounds__(kTokenThreads, 8)
    decode_tokens(const __grid_constant__ DecodePlan plan, const __grid_constant__ FusedGdnDecode p,
                  const Divisor value_dim, const TokenRows rows) {
  __shared__ TokenBatch<KeyRows, 1> batch;
  let_next_start();
  const RulePlan &rule = plan.rule;
  const auto thread = static_cast<int>(threadIdx.x);
  const unsigned n = plan.key_heads.quotient(blockIdx.x);
  const unsigned key_head = plan.key_heads.remainder(blockIdx.x);
  const auto head_of = [&](int i) {
    return rule.interleaved ? i * plan.key_heads.divisor + key_head : key_head * plan.group + i;
  };
  const auto row_of = [&](int i) { return rows.value(n * rule.value_heads.divisor + head_of(i)); };
  StartSlots<true> slots;
  slots.load(plan, p, n);
  ConvLine line = {n, 0, 1, n, p.conv.conv_state.shape[2]};

  // A thread's channels: i of those of k, q, then v of each value head.
  const int keys = 2 * rule.key_dim, channels = keys + plan.group * rule.value_dim;
  struct Place {
    int channel;
    float *to;
  };
  const auto place = [&](int i) -> Place {
    const int first = static_cast<int>(key_head) * rule.key_dim;
    if (i < rule.key_dim) return {plan.first_k + first + i, batch.k[0] + i};
    if (i < keys) return {first + i - rule.key_dim, batch.q[0] + i - rule.key_dim};
    const auto head = static_cast<int>(value_dim.quotient(i - keys));
    const auto column = static_cast<int>(value_dim.remainder(i - keys));
    return {plan.first_v + static_cast<int>(head_of(head)) * rule.value_dim + column,
            row_of(head) + column};
  };
  const auto finish = [&](const Conv &own, const Place &at) {
    own.apply(plan.conv, 0, 1, [&](int i, float y) { at.to[i] = y; });
    own.keep(plan.conv, at.channel, line, line.before);
  };
  const int first = thread * kChannels;
  const bool has_first = first < channels;
  const Place at = place(has_first ? first : 0);
  Conv bits;
  if (has_first) bits.load(plan.conv, at.channel, line, 0, 1);
  // The first lanes of the last warp have the decay of a value head each, those of the last but one
  // the betas.
  const int decay = thread - (kTokenThreads - 32), beta = thread - (kTokenThreads - 64);
  GateBits gate;
  if (decay >= 0 && decay < plan.group) gate.load_decay(rule, p.rule, n, 0, head_of(decay));
  if (beta >= 0 && beta < plan.group && decay < 0) gate.load_beta(rule, n, 0, head_of(beta));

  const int64_t slot = slots.state(plan, n);
  line.slot = slots.conv(plan, p, n);
  if (slot < 0 || line.slot < 0) return;
  if (has_first) bits.load_slot(plan.conv, at.channel, line, 0);
  if (decay >= 0) {
    for (int i = decay; i < plan.group; i += 32) {
      if (i != decay) gate.load_decay(rule, p.rule, n, 0, head_of(i));
      const Decay d = gate.decay(rule, p.rule);
      *reinterpret_cast<float2 *>(row_of(i) + rows.value_row - 4) = make_float2(d.factor, d.keep);
    }
  } else if (beta >= 0) {
    for (int i = beta; i < plan.group; i += 32) {
      if (i != beta) gate.load_beta(rule, n, 0, head_of(i));
      row_of(i)[rows.value_row - 2] = gate.beta(rule, p.rule);
    }
  }
  if (rule.key_dim < kKeyDim) {
    const int outside = kKeyDim - rule.key_dim;
    for (int i = thread; i < outside; i += kTokenThreads) {
      batch.k[0][rule.key_dim + i] = batch.q[0][rule.key_dim + i] = 0.0F;
    }
  }
  if (has_first) finish(bits, at);
#pragma unroll 1
  for (int i = first + kTokenThreads * kChannels; i < channels; i += kTokenThreads * kChannels) {
    const Place there = place(i);
    bits.load(plan.conv, there.channel, line, 0, 1);
    bits.load_slot(plan.conv, there.channel, line, 0);
    finish(bits, there);
  }
  __syncthreads();
  static_assert(kTokenThreads == kKeyDim);
  const bool far = is_far(batch.k[0][thread]) || is_far(batch.q[0][thread]);
  if (__syncthreads_or(static_cast<int>(far)) != 0) rescale(batch, 1, kTokenThreads / 32);
  take_norms(batch, 1, true, rule.scale, kTokenThreads / 32);
  float *const row = rows.key(n * plan.key_heads.divisor + key_head);
  if (thread == 0) *reinterpret_cast<float4 *>(row + 2 * kKeyDim) = batch.norms[0];
  row[thread] = batch.k[0][thread], row[kKeyDim + thread] = batch.q[0][thread];
}

/// How a block works on a value head of up to kColumns columns: in two parts that fit its
/// registers.
template <class S>
struct Head {
  static constexpr bool kInShared = sizeof(S) == 2;  ///< The state waits in shared memory.
  static constexpr int kParts = 2, kThreads = 64 * static_cast<int>(sizeof(S)), kColumns = 128;
  static constexpr int kBlocks = kInShared ? 5 : 2;  ///< Of a multiprocessor.
  /// Columns whose squares are summed together, as in the one-kernel form.
  static constexpr int kSummed = kDecodeThreads / kPartGroups * 16 / static_cast<int>(sizeof(S));
};

/// S: element type of the states.
template <class S, bool kRowsFirst>
__global__ void __launch_bounds__(Head<S>::kThreads, Head<S>::kBlocks)
    decode_states(const __grid_constant__ DecodePlan plan, const __grid_constant__ FusedGdnDecode p,
                  const TokenRows rows) {
  using H = Head<S>;
  constexpr int kChunks = sizeof(S) == 4 ? 2 : 1, kParts = H::kParts;
  using Part = StatePart<S, kRowsFirst, kChunks, H::kThreads, sizeof(S) == 2, Pieces::exact>;
  using Step = RuleStep<Part, kRowsFirst, 1>;
  constexpr int kColumns = Part::kColumns;
  static_assert(Part::kKeyDim == kKeyDim && kColumns * kParts == H::kColumns);
  static_assert(H::kThreads >= 128 && H::kColumns <= H::kThreads);
  extern __shared__ uint4 head_in_shared[];
  __shared__ TokenBatch<Part, 1> batch;
  __shared__ float values[kParts][1][kColumns];
  __shared__ typename Step::Shared sums[kParts];
  __shared__ float outputs[H::kColumns / H::kSummed][H::kSummed];
  __shared__ double squares[H::kColumns / H::kSummed];
  __shared__ uint32_t z_bits[H::kColumns], weight_bits[H::kColumns];
  __shared__ int64_t final_slot;  // Entry that takes the state; -1: none.
  __shared__ BulkLoad bulk;

  const auto thread = static_cast<int>(threadIdx.x);
  const int lane = thread & 31, warp = thread >> 5;
  const RulePlan &rule = plan.rule;
  const unsigned n = rule.value_heads.quotient(blockIdx.x);
  const unsigned head = rule.value_heads.remainder(blockIdx.x);
  StartSlots<true> slots;
  slots.load(plan, p, n);
  HeadAhead ahead;
  if (const unsigned later = blockIdx.x + rule.ahead; warp == 1 && later < gridDim.x) {
    ahead.load(rule, p.rule, rule.value_heads.quotient(later), rule.value_heads.remainder(later));
  }
  const bool has_output = thread < rule.value_dim;
  uint32_t z = 0, weight = 0;
  if (has_output) {
    z = plan.z.bits(plan.z.offset(n, 0, head) + thread);
    weight = load_bits(p.norm_weight, p.norm_weight.offset(thread));
  }
  const int64_t slot = slots.state(plan, n);
  if (slot < 0 || slots.conv(plan, p, n) < 0) {
    if (has_output) store_any(p.rule.o, rule.o.offset(n, 0, head) + thread, 0.0F);
    wait_for_previous();
    return;
  }
  S *const states = reinterpret_cast<S *>(head_in_shared);
  const auto extent = [&](int i) -> Extent {
    return {rule.key_dim, rule.value_dim - i * kColumns - Part::place() * Part::kVector};
  };
  Part state[kParts];
  if constexpr (H::kInShared) {
    if (thread == 0) bulk.start(states, rule.in.at<S>(slot, head, 0), rule.head_bytes);
  } else {
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      if (extent(i).columns > 0) {
        state[i].read(rule.in.at<S>(slot, head, i * kColumns), rule.in.row, rule.in.column,
                      extent(i), rule.in.access);
      } else {
        state[i].clear();
      }
    }
  }
  ahead.ask<S>(rule);
  if (thread == 0) {
    const bool named = rule.output_named || rule.slot_per_token;
    final_slot = named ? p.rule.final_slot(n) : slot;
  }
  wait_for_previous();
  {
    const unsigned key_head =
        rule.interleaved ? rule.head_map.remainder(head) : rule.head_map.quotient(head);
    const float *const keys = rows.key(n * plan.key_heads.divisor + key_head);
    const float *const row = rows.value(blockIdx.x);
    if (warp < 2) {
      const float4 x = reinterpret_cast<const float4 *>(keys + warp * kKeyDim)[lane];
      reinterpret_cast<float4 *>(warp == 0 ? batch.k[0] : batch.q[0])[lane] = x;
    } else if (warp == 2) {
      constexpr int kLanes = 32 / kParts;
      const int i = lane / kLanes, position = 4 * (lane % kLanes);
      const int column = i * kColumns + Columns<Part>::column(position);
      float4 x = make_float4(0.0F, 0.0F, 0.0F, 0.0F);
      if (column < rule.value_dim) x = *reinterpret_cast<const float4 *>(row + column);
      *reinterpret_cast<float4 *>(values[i][0] + position) = x;
    } else if (warp == 3 && lane == 0) {
      batch.norms[0] = *reinterpret_cast<const float4 *>(keys + 2 * kKeyDim);
      const float4 gates = *reinterpret_cast<const float4 *>(row + rows.value_row - 4);
      batch.decay[0] = make_float2(gates.x, gates.y);
      batch.beta[0] = gates.z;
    }
  }
  if (has_output) z_bits[thread] = z, weight_bits[thread] = weight;  // To cost no register.
  __syncthreads();
  if constexpr (H::kInShared) bulk.wait();
  const auto project = [&](int i, float(&update)[Part::kVector]) {
    Step::run(update, state[i], sums[i], PartToken<Part>{batch, values[i]}, 0, [&](int e, float o) {
      outputs[0][i * kColumns + Part::place() * Part::kVector + e] = o;
    });
  };
  const Decay decay = batch.decay_of(0);
  if constexpr (H::kInShared) {
    const int row = kRowsFirst ? 1 : rule.value_dim, column = kRowsFirst ? rule.key_dim : 1;
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      S *const part = states + i * kColumns * column;
      const bool inside = extent(i).columns > 0;
      if (inside) {
        state[i].read_shared(part, row, column, extent(i));
      } else {
        state[i].clear();
      }
      float update[Part::kVector];
      project(i, update);
      if (inside) {
        state[i].update_and_write_shared(decay, batch.k[0], update, part, row, column, extent(i));
      }
    }
    bulk_store_fence();
  }
  float update[kParts][Part::kVector];
  if constexpr (!H::kInShared) {
#pragma unroll
    for (int i = 0; i < kParts; ++i) project(i, update[i]);
  }
  __syncthreads();
  const int64_t to = final_slot;
  if (H::kInShared && thread == 0 && to >= 0) {
    bulk_store(rule.out.at<S>(to, head, 0), states, rule.head_bytes);
  }
  if (warp < H::kColumns / H::kSummed) {
    const double sum = sum_of_squares(outputs[warp], lane);
    if (lane == 0) squares[warp] = sum;
  }
  if constexpr (!H::kInShared) {
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      if (to < 0 || extent(i).columns <= 0) continue;
      state[i].update_and_write(decay, batch.k[0], update[i],
                                rule.out.at<S>(to, head, i * kColumns), rule.out.row,
                                rule.out.column, extent(i), rule.out.access);
    }
  }
  __syncthreads();
  if (has_output) {
    double sum = 0.0;
#pragma unroll
    for (const double part : squares) sum += part;
    const float y = gated_output(outputs[0][thread], OutputNorm(sum, plan), weight_bits[thread],
                                 z_bits[thread], plan.z.dtype, plan, p);
    store_any(p.rule.o, rule.o.offset(n, 0, head) + thread, y);
  }
  if (H::kInShared && thread == 0) bulk_store_wait();
}

template <class S, bool kRowsFirst>
Status launch_states(const FusedGdnDecode &p, const Launch &l, const DecodePlan &plan,
                     const TokenRows &rows) {
  const int64_t states = p.rule.sequences.count * p.rule.heads.value_heads;
  return launch_as<decode_states<S, kRowsFirst>>(
      {.beside = true}, kName, l, states, Head<S>::kThreads,
      Head<S>::kInShared ? plan.rule.head_bytes : 0, plan, p, rows);
}

template <class Conv, int kChannels>
Status launch_tokens(const FusedGdnDecode &p, const Launch &l, const DecodePlan &plan,
                     const TokenRows &rows) {
  const Divisor value_dim(static_cast<unsigned>(p.rule.value_dim));
  return launch<decode_tokens<Conv, kChannels>>(kName, l,
                                                p.rule.sequences.count * p.rule.heads.key_heads,
                                                kTokenThreads, 0, plan, p, value_dim, rows);
}

}  // namespace

size_t fused_gdn_decode_workspace(const FusedGdnDecode &p, bool /*no_split*/) {
  const DeltaRule &rule = p.rule;
  const bool large = !rule.sequences.packed() && rule.sequences.tokens == 1 &&
                     rule.key_dim <= kKeyDim && rule.value_dim <= Head<float>::kColumns &&
                     rule.sequences.count * rule.heads.value_heads >= kLeastStates;
  return large ? TokenRows::bytes(p) : 0;
}

bool fused_gdn_decode_large_applies(const FusedGdnDecode &p, const Launch &l) {
  const Tensor &state = p.rule.initial_state;
  return fused_gdn_decode_workspace(p, false) > 0 && head_bytes_of(state) > 0 &&
         has_clusters<decode_states<bf16, false>>(*l.device) &&
         access_of(state, state.dtype, state.stride[3] != 1) == Access::exact;
}

Status fused_gdn_decode_large(const FusedGdnDecode &p, const Launch &l) {
  const bool rows_first = p.rule.initial_state.stride[3] != 1;
  const TokenRows rows(p, l.workspace);
  DecodePlan plan(p, p.rule.initial_state.dtype, rows_first);
  plan.rule.ahead = static_cast<unsigned>(l.device->multiprocessors);
  const Status s = is_plain_by_fours(p.conv) ? launch_tokens<FourConvBits, 4>(p, l, plan, rows)
                   : is_plain(p.conv)        ? launch_tokens<PlainConvBits, 1>(p, l, plan, rows)
                                             : launch_tokens<ConvBits<1>, 1>(p, l, plan, rows);
  if (!s.ok()) return s;
  return for_type(p.rule.initial_state.dtype, [&](auto element) {
    using S = decltype(element);
    return rows_first ? launch_states<S, true>(p, l, plan, rows)
                      : launch_states<S, false>(p, l, plan, rows);
  });
}

}  // namespace gdn::cuda::sm80
