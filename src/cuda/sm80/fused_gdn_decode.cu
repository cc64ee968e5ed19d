#include "cuda/launch.h"
#include "cuda/sm80/device/cluster.cuh"
#include "cuda/sm80/device/conv_channel.cuh"
#include "cuda/sm80/device/rule_block.cuh"
#include "cuda/sm80/device/rule_plan.cuh"
#include "cuda/sm80/kernels.h"

// A decode step of a whole layer between its projections. Blocks hold parts of states as those of
// fused_recurrent_gated_delta_rule do; each convolves for itself the channels of q, k and v that
// its tokens need, out of the cache. What blocks share they share in a cluster, which has a key
// head and as many of its value heads at a time as fit:
//
// - q and k channels serve all blocks of a key head, and the convolution's slot is updated in
//   place: a block writes its part of them after all have read.
// - The gated norm sums over the columns of a value head: blocks give each other the sums of their
//   columns, in double precision, in which no square of an f32 leaves the range.
//
// Where a cluster cannot hold a value head (before Hopper, or wide ones) one block has the whole key
// head. It goes over the parts of a value head twice, for the sums and for the results.

namespace gdn::cuda::sm80 {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kMostBlocks = 8;  // Of a cluster on every card that has clusters.
constexpr int kWindow = 64;     // Tokens whose sums a block keeps if it goes over them twice.

struct DecodePlan {
  Divisor blocks;  ///< Of a key head, which are a cluster.
  Divisor key_heads;
  int tiles;    ///< Parts of a value head.
  int at_once;  ///< Value heads that a cluster has at a time; 0: a block takes their parts in turn.
  int group;    ///< Value heads of a key head.
  bool sigmoid_gate;
  float eps;
  ConvPlan conv;
  RulePlan rule;
  Rows z;
};

/// What an item, a part of a value head, is taken for.
enum class Pass { whole, sums, outputs };

/// A token's sum of squares of o as its norm wants it: norm = rsqrt(mean of (scale o)^2).
struct Norm {
  float scale, norm;

  __device__ __forceinline__ Norm(double sum, int width, float eps) {
    constexpr double kFar = 0x1p100;
    const double mean = sum / width + eps;
    scale = mean > kFar ? 0x1p-64F : mean < 1 / kFar ? 0x1p100F : 1.0F;
    norm = rsqrtf(static_cast<float>(mean * scale * scale));
  }
  __device__ __forceinline__ float apply(float o) const { return o * scale * norm; }
};

/// Blocks that a multiprocessor's registers are to hold.
template <class S, int kChunks, bool kOne, Pieces kKind>
constexpr int resident_blocks() {
  if (kChunks * 16 / sizeof(S) > 8) return 2;
  if (kKind == Pieces::any) return 3;
  return sizeof(S) == 4 ? 5 : 4;
}

/// S: element type of the states. kOne: every sequence has one token.
template <class S, bool kRowsFirst, int kChunks, bool kOne, Pieces kKind>
__global__ void __launch_bounds__(kThreads, (resident_blocks<S, kChunks, kOne, kKind>()))
    decode_kernel(const __grid_constant__ DecodePlan plan,
                  const __grid_constant__ FusedGdnDecode p) {
  constexpr int kTokens = kOne ? 1 : 512 / (kChunks * 16 / static_cast<int>(sizeof(S)) * 16);
  using Part = StatePart<S, kRowsFirst, kChunks, kThreads, kOne && sizeof(S) == 2, kKind>;
  using Step = RuleStep<Part, kRowsFirst, kTokens>;
  constexpr int kColumns = Part::kColumns, kKeyDim = Part::kKeyDim;
  constexpr int kCount = 2 * kKeyDim / kThreads;  // Channels of k and q of a thread.
  constexpr int kResults = (kTokens * kColumns + kThreads - 1) / kThreads;
  __shared__ TokenBatch<Part, kTokens> batch;
  __shared__ typename Step::Shared sums;
  __shared__ float outputs[kTokens][kColumns];
  __shared__ double squares[2][kMostBlocks][kTokens];  // Of the parts of this block's value head.
  __shared__ double window[kOne ? 1 : kWindow];
  __shared__ int64_t token_slot[kTokens];

  const RulePlan &rule = plan.rule;
  const auto thread = static_cast<int>(threadIdx.x);
  const int lane = thread & 31, warp = thread >> 5;
  const unsigned unit = plan.blocks.quotient(blockIdx.x), rank = plan.blocks.remainder(blockIdx.x);
  const int64_t n = plan.key_heads.quotient(unit);
  const auto key_head = static_cast<int>(plan.key_heads.remainder(unit));
  LoadedIndex state_index, conv_index;
  if (rule.pool) load_index(state_index, rule, p.rule, n);
  if (plan.conv.indexed) conv_index.load(p.conv.state_indices, n);
  SequenceSpan span = {n, 0, kOne ? 1 : p.rule.sequences.tokens};
  if (!kOne && rule.packed) span = clamped_span(p.rule.sequences, n);
  const CausalConv1dUpdate::Kept kept = p.conv.kept(n, span.length);
  ConvLine line = {span.batch, span.begin, span.length, n, kept.before};
  int64_t slot = n;
  const auto find_slots = [&] {
    if (rule.pool) slot = rule.slots.named(state_index.value());
    if (plan.conv.indexed) line.slot = p.conv.slots.named(conv_index.value());
    return slot >= 0 && line.slot >= 0;
  };
  const auto value_head = [&](int i) {
    return rule.interleaved ? i * static_cast<int>(plan.key_heads.divisor) + key_head
                            : key_head * plan.group + i;
  };
  // Channels: those of q and k of the key head, k first, then those of a value head.
  const auto key_channel = [&](int i) {
    const int d = i < kKeyDim ? i : i - kKeyDim;
    const int64_t c = i < kKeyDim ? p.k_channel(key_head) : p.q_channel(key_head);
    return d < rule.key_dim ? c + d : int64_t{-1};
  };
  const auto value_channel = [&](int head, int column) {
    return column < rule.value_dim ? p.v_channel(head) + column : int64_t{-1};
  };

  // A channel of the block's own to update, the one that this thread has loaded ahead.
  const int key_part = (2 * kKeyDim + static_cast<int>(plan.blocks.divisor) - 1) /
                       static_cast<int>(plan.blocks.divisor);
  const int heads = plan.at_once > 0 ? plan.group / plan.at_once : plan.group;
  const int own_columns = plan.at_once > 0 ? kColumns : plan.tiles * kColumns;
  const auto own_channel = [&](int i) {
    if (i < key_part) {
      const int at = static_cast<int>(rank) * key_part + i;
      return at < 2 * kKeyDim ? key_channel(at) : int64_t{-1};
    }
    const int head = (i - key_part) / own_columns, column = (i - key_part) % own_columns;
    if (plan.at_once == 0) return value_channel(value_head(head), column);
    const int tile = static_cast<int>(rank) % plan.tiles;
    return value_channel(value_head(head * plan.at_once + static_cast<int>(rank) / plan.tiles),
                         tile * kColumns + column);
  };
  const int own_channels = key_part + heads * own_columns;
  ConvShift shift;
  bool shift_loaded = false;

  bool used = false;  // Shared memory holds what some thread may still read.
  int turn = 0;       // Of squares.

  /// Item `tile` of value head `head`. Tokens from `from` on, up to kWindow of them if the pass is
  /// not the whole, count. False if the sequence is skipped.
  const auto run_item = [&](int head, int tile, Pass pass, int64_t from) {
    const int first_column = tile * kColumns;
    const int v_column = first_column + Columns<Part>::column(thread);
    const int64_t v_channel = thread < kColumns ? value_channel(head, v_column) : -1;
    const int64_t end = pass == Pass::whole ? span.length : min(span.length, from + kWindow);
    const bool last = end == span.length && pass != Pass::sums;
    ConvBits<kTokens> key_bits[kCount], v_bits;
    GateBits gates;
    uint32_t z[kResults], weight[kResults];
    const int gate_token = thread - (kThreads - 32);
    const auto load = [&](int64_t first, int count) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const int64_t c = key_channel(thread + i * kThreads);
        if (c >= 0) key_bits[i].load(plan.conv, c, line, first, count);
      }
      if (v_channel >= 0) v_bits.load(plan.conv, v_channel, line, first, count);
      if (gate_token >= 0 && gate_token < count) {
        gates.load(rule, p.rule, span.batch, span.begin + first + gate_token, head);
      }
#pragma unroll
      for (int i = 0; i < kResults; ++i) {
        const int at = thread + i * kThreads, t = at / kColumns;
        const int column = first_column + at % kColumns;
        z[i] = weight[i] = 0;
        if (t >= count || column >= rule.value_dim) continue;
        z[i] = plan.z.bits(plan.z.offset(span.batch, span.begin + first + t, head) + column);
        weight[i] = load_bits(p.norm_weight, p.norm_weight.offset(column));
      }
    };
    const auto load_slot = [&](int64_t first) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const int64_t c = key_channel(thread + i * kThreads);
        if (c >= 0) key_bits[i].load_slot(plan.conv, c, line, first);
      }
      if (v_channel >= 0) v_bits.load_slot(plan.conv, v_channel, line, first);
    };
    /// Convolved tokens and their gates to shared memory. True if an element is far.
    const auto give = [&](int64_t first, int count) {
      bool far = false;
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const int at = thread + i * kThreads;
        const bool in = key_channel(at) >= 0;
        float *const row = at < kKeyDim ? batch.k[0] + at : batch.q[0] + (at - kKeyDim);
        if (!in) {
          for (int t = 0; t < count; ++t) row[t * kKeyDim] = 0.0F;
          continue;
        }
        key_bits[i].apply(plan.conv, first, count, [&](int t, float y) {
          row[t * kKeyDim] = y;
          far = far || is_far(y);
        });
      }
      if (thread < kColumns) {
        if (v_channel >= 0) {
          v_bits.apply(plan.conv, first, count, [&](int t, float y) { batch.v[t][thread] = y; });
        } else {
          for (int t = 0; t < count; ++t) batch.v[t][thread] = 0.0F;
        }
      }
      if (gate_token >= 0 && gate_token < count) {
        batch.gates[gate_token] = gates.values(rule, p.rule);
      }
      return far;
    };

    const int64_t tokens = kOne ? 1 : end;
    const auto count_from = [&](int64_t first) {
      return kOne ? 1 : static_cast<int>(min(end - first, int64_t{kTokens}));
    };
    if (tokens > 0) load(0, count_from(0));
    if (!find_slots()) return false;
    if (tokens > 0) load_slot(0);
    const Extent extent = {rule.key_dim,
                           rule.value_dim - first_column - Part::place() * Part::kVector};
    const bool inside = extent.columns > 0;
    Part state;
    if (inside) {
      state.read(rule.in.at<S>(slot, head, first_column), rule.in.row, rule.in.column, extent,
                 rule.in.access);
    } else {
      state.clear();
    }
    if (!shift_loaded) {
      const int64_t c = thread < own_channels ? own_channel(thread) : -1;
      if (c >= 0 && tokens > 0) shift.load(plan.conv, c, line, kept.after);
      shift_loaded = true;
    }
    const auto write_state = [&](int64_t entry) {
      if (entry >= 0 && inside) {
        state.write(rule.out.at<S>(entry, head, first_column), rule.out.row, rule.out.column, extent,
                    rule.out.access);
      }
    };
    const auto last_entry = [&] { return rule.output_named ? p.rule.final_slot(n) : slot; };

    for (int64_t first = 0; first < tokens; first += kTokens) {
      const int count = count_from(first);
      if (first > 0) {
        load(first, count);
        load_slot(first);
      }
      if (used) __syncthreads();
      used = true;
      const bool far = give(first, count);
      if (!kOne && rule.slot_per_token && thread < count) {
        token_slot[thread] = p.rule.token_slot(n, first + thread);
      }
      if (__syncthreads_or(static_cast<int>(far)) != 0) rescale(batch, count, kWarps);
      take_norms(batch, count, true, rule.scale, kWarps);
      if (kRowsFirst) __syncthreads();
      float update[Part::kVector];
      for (int t = 0; t < count; ++t) {
        Step::run(update, state, sums, batch, t,
                  [&](int column, float o) { outputs[t][column] = o; });
        if constexpr (!kOne) {
          const float4 gate = batch.gates[t];
          state.update(Decay(gate.x, gate.y), batch.k[t], update);
          if (rule.round == DType::bf16) state.template round_to<bf16>();
          if (rule.round == DType::f16) state.template round_to<f16>();
          if (rule.slot_per_token && last) write_state(token_slot[t]);
        }
      }
      __syncthreads();
      for (int t = warp; t < count; t += kWarps) {
        double sum = 0.0;
#pragma unroll
        for (int c = 0; c < kColumns; c += 32) {
          const double x = outputs[t][c + lane];
          sum = fma(x, x, sum);
        }
#pragma unroll
        for (int i = 16; i > 0; i >>= 1) sum += __shfl_xor_sync(kFullWarp, sum, i);
        if (pass == Pass::whole) {
          const unsigned block = plan.tiles > 1 ? rank - static_cast<unsigned>(tile) + lane : 0U;
          if (lane < plan.tiles) store_in_cluster(&squares[turn][tile][t], block, sum);
        } else if (pass == Pass::sums && lane == 0 && first + t >= from) {
          window[kOne ? 0 : first + t - from] += sum;
        }
      }
      if (pass == Pass::sums) continue;
      if (pass == Pass::whole) cluster_arrive();
      if constexpr (kOne) {
        const int64_t to = last_entry();
        if (to >= 0 && inside) {
          const float4 gate = batch.gates[0];
          state.update_and_write(Decay(gate.x, gate.y), batch.k[0], update,
                                 rule.out.at<S>(to, head, first_column), rule.out.row,
                                 rule.out.column, extent, rule.out.access);
        }
      }
      if (pass == Pass::whole) cluster_wait();
#pragma unroll
      for (int i = 0; i < kResults; ++i) {
        const int at = thread + i * kThreads, t = at / kColumns, column = at % kColumns;
        if (t >= count || first_column + column >= rule.value_dim || first + t < from) continue;
        double sum = 0.0;
        if (pass == Pass::whole) {
          for (int j = 0; j < plan.tiles; ++j) sum += squares[turn][j][t];
        } else {
          sum = window[kOne ? 0 : first + t - from];
        }
        float y = Norm(sum, rule.value_dim, plan.eps).apply(outputs[t][column]);
        const float gate = from_bits(plan.z.dtype, z[i]);
        y *= from_bits(p.norm_weight.dtype, weight[i]);
        y *= plan.sigmoid_gate ? sigmoid(gate) : silu(gate);
        store_any(p.rule.o,
                  rule.o.offset(span.batch, span.begin + first + t, head) + first_column + column,
                  y);
      }
      turn ^= 1;
    }
    if ((!kOne || tokens == 0) && last && !rule.slot_per_token) write_state(last_entry());
    return true;
  };

  /// Calls f(value head, tile) for each part of a value head that the block takes, in turn, until
  /// f returns false.
  const auto for_each_item = [&](auto f) {
    if (plan.at_once > 0) {
      const int tile = static_cast<int>(rank) % plan.tiles;
      for (int i = static_cast<int>(rank) / plan.tiles; i < plan.group; i += plan.at_once) {
        if (!f(value_head(i), tile)) return false;
      }
      return true;
    }
    for (int i = 0; i < plan.group; ++i) {
      for (int64_t from = 0; from == 0 || from < span.length; from += kWindow) {
        if constexpr (!kOne) {
          for (int t = thread; t < kWindow; t += kThreads) window[t] = 0.0;
        } else if (thread == 0) {
          window[0] = 0.0;
        }
        __syncthreads();
        for (int tile = 0; tile < plan.tiles; ++tile) {
          if (!run_item(value_head(i), tile, Pass::sums, from)) return f(value_head(i), 0);
        }
        __syncthreads();
        for (int tile = 0; tile < plan.tiles; ++tile) {
          run_item(value_head(i), tile, Pass::outputs, from);
        }
        __syncthreads();
      }
    }
    return true;
  };
  (void)for_each_item;
}

}  // namespace
}  // namespace gdn::cuda::sm80
