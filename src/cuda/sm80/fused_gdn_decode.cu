#include <bit>

#include "cuda/launch.h"
#include "cuda/sm80/device/cluster.cuh"
#include "cuda/sm80/device/gated_output.cuh"
#include "cuda/sm80/fused_gdn_decode_large.h"
#include "cuda/sm80/kernels.h"

// A decode step of a whole layer between its projections. Blocks hold parts of states as those of
// fused_recurrent_gated_delta_rule do. What blocks share they share in a cluster, which has a key
// head and as many of its value heads at a time as fit:
//
// - q and k serve all blocks of a key head. Each block convolves some of their channels and writes
//   the results to all; with a value head's part it convolves that part's channels of v. So a
//   channel is one thread's, its slot too.
// - The gated norm sums over the columns of a value head: blocks give each other the sums of their
//   columns (gated_output.cuh).
//
// Where a cluster cannot hold a value head (before Hopper, or wide ones) one block has the whole
// key head. It goes over the parts of a value head twice, for the sums and for the results.

namespace gdn::cuda::sm80 {
namespace {

constexpr int kThreads = kDecodeThreads;
constexpr int kWarps = kThreads / 32;
constexpr unsigned kMostBlocks = 8;  // Of a cluster on every card that has clusters.
constexpr int kWindow = 64;          // Tokens whose sums a block keeps if it goes over them twice.

/// What an item, a part of a value head, is taken for.
enum class Pass { whole, sums, outputs };

/// Blocks that a multiprocessor's registers are to hold.
template <class S, int kChunks, bool kOne>
constexpr int resident_blocks() {
  if (kChunks * 16 / sizeof(S) > 8) return 2;
  if (!kOne) return 3;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ == 900
  return 5;
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
  return 3;  // More spill.
#else
  return 4;
#endif
}

/// What a block has found out about its sequence: kept where it costs no registers.
struct Job {
  ConvLine line;
  int64_t after;      ///< Entries of the convolution's slot that are written.
  int64_t slot;       ///< Of the state to start from; -1: the sequence is skipped.
  int64_t last_slot;  ///< Takes the last state, or the only one; -1: none.
};

/// S: element type of the states. kOne: every sequence has one token. kPlain: as in DecodeBits.
template <class S, bool kRowsFirst, int kChunks, bool kOne, Pieces kKind, bool kPlain>
__global__ void __launch_bounds__(kThreads, (resident_blocks<S, kChunks, kOne>()))
    decode_kernel(const __grid_constant__ DecodePlan plan,
                  const __grid_constant__ FusedGdnDecode p) {
  constexpr int kTokens = kOne ? 1 : 2;
  using Part = StatePart<S, kRowsFirst, kChunks, kThreads, kOne && sizeof(S) == 2, kKind>;
  using Step = RuleStep<Part, kRowsFirst, kTokens>;
  using Bits = DecodeBits<Part, kTokens, kPlain>;
  using Channel = OwnChannel<Part>;
  constexpr int kColumns = Part::kColumns, kKeyDim = Part::kKeyDim;
  __shared__ TokenBatch<Part, kTokens> batch;
  __shared__ typename Step::Shared sums;
  __shared__ float outputs[kTokens][kColumns];
  __shared__ double squares[2][kMostBlocks][kTokens];  // Of the parts of this block's value head.
  __shared__ double window[kWindow];                   // Of the tokens of a pass.
  __shared__ int64_t token_slot[kTokens];
  __shared__ Job shared_job;
  __shared__ typename Bits::Stash stash;
  __shared__ ClusterMail keys_mail, squares_mail[2];  // Squares by turns, as their places.

  if (threadIdx.x == 0) keys_mail.init(), squares_mail[0].init(), squares_mail[1].init();
  cluster_begin();
  const RulePlan &rule = plan.rule;
  const auto thread = static_cast<int>(threadIdx.x);
  const int lane = thread & 31, warp = thread >> 5;
  Unit all;
  {
    const unsigned index = plan.blocks.quotient(blockIdx.x);
    all.rank = static_cast<int>(plan.blocks.remainder(blockIdx.x));
    all.n = static_cast<int>(plan.key_heads.quotient(index));
    all.key_head = static_cast<int>(plan.key_heads.remainder(index));
    all.head = plan.at_once > 0 ? static_cast<int>(plan.tiles.quotient(all.rank)) : 0;
    all.tile = plan.at_once > 0 ? static_cast<int>(plan.tiles.remainder(all.rank)) : 0;
  }
  if (rule.key_dim < kKeyDim) {  // What lies outside of the state stays zero.
    const int outside = kKeyDim - rule.key_dim;
    for (int i = thread; i < kTokens * outside; i += kThreads) {
      const int t = i / outside, d = rule.key_dim + i % outside;
      batch.k[t][d] = batch.q[t][d] = 0.0F;
    }
  }
  Bits bits;
  Job own_job;
  if constexpr (kOne) {
    // All that hangs on no slot is on its way while the slots are fetched.
    StartSlots<true> slots;
    slots.load(plan, p, all.n);
    const int64_t entries = p.conv.conv_state.shape[2];
    own_job.line = {all.n, 0, 1, all.n, entries};
    own_job.after = entries;
    bits.load(plan, p, all, PartPlace(plan, all, 0), own_job.line, 0, 1, true);
    own_job.slot = slots.state(plan, all.n);
    own_job.line.slot = slots.conv(plan, p, all.n);
    if (own_job.line.slot < 0) own_job.slot = -1;
  } else if (warp == 0) {
    StartSlots<false> slots;
    slots.load(plan, p, all.n);
    const SequenceSpan span = slots.sequence.span(rule, p.rule, all.n);
    const CausalConv1dUpdate::Kept kept = p.conv.kept(all.n, span.length);
    const int64_t slot = slots.state(plan, all.n);
    const int64_t conv_slot = slots.conv(plan, p, all.n);
    if (lane == 0) {
      shared_job.line = {span.batch, span.begin, span.length, conv_slot, kept.before};
      shared_job.after = kept.after;
      shared_job.slot = conv_slot < 0 ? -1 : slot;
      const bool named = rule.output_named || rule.slot_per_token;
      shared_job.last_slot = named ? p.rule.final_slot(all.n) : slot;
    }
  }
  if (!kOne) __syncthreads();
  const Job &job = [&]() -> const Job & { return kOne ? own_job : shared_job; }();
  int turn = 0;  // How often shared memory was filled.

  /// A part of a value head. Tokens from `from` on, up to kWindow of them if the pass is
  /// not the whole, count.
  const auto run_part = [&](int part, Pass pass, int64_t from) {
    // Opaque: what follows from them is not worth a register from one part to the next.
    Unit unit = all;
    unit.key_head = opaque(unit.key_head);
    PartPlace place(plan, all, part);
    const int head = place.head = opaque(place.head), tile = place.tile = opaque(place.tile);
    const int first_column = tile * kColumns;
    const int64_t end = kOne                  ? 1
                        : pass == Pass::whole ? job.line.length
                                              : min(job.line.length, from + int64_t{kWindow});
    const bool last = pass != Pass::sums && end == job.line.length;
    const auto count_from = [&](int64_t first) {
      return kOne ? 1 : static_cast<int>(min(end - first, int64_t{kTokens}));
    };
    Part state;
    Extent extent = {rule.key_dim, rule.value_dim - first_column - Part::place() * Part::kVector};
    const bool inside = extent.columns > 0;
    const auto write_state = [&](int64_t entry) {
      if (entry < 0 || !inside) return;
      state.write(rule.out.at<S>(entry, head, first_column), rule.out.row, rule.out.column, extent,
                  rule.out.access);
    };
    for (int64_t first = 0;; first += kTokens) {
      const int count = count_from(first);
      const bool keys = !kOne || turn == 0;  // Else those of the part before are there.
      if (!kOne || turn > 0) bits.load(plan, p, unit, place, job.line, first, count, keys);
      if (count > 0) bits.load_slot(plan, job.line, first);
      if (first == 0) {
        if (inside) {
          state.read(rule.in.at<S>(job.slot, head, first_column), rule.in.row, rule.in.column,
                     extent, rule.in.access);
        } else {
          state.clear();
        }
      }
      if (turn > 0) {
        __syncthreads();  // All are done with what shared memory holds.
        if (!kOne && count > 0 && pass == Pass::whole) cluster_wait();  // Those of others too.
      }
      bits.give_gates(batch, plan, p, count);
      if (turn == 0) {
        if (kKind == Pieces::exact && rule.ahead > 0 && fresh_thread() >> 5 == 1 && tile == 0) {
          const unsigned block = blockIdx.x + rule.ahead, index = plan.blocks.quotient(block);
          if (block < gridDim.x) {
            Unit later = unit;
            later.key_head = static_cast<int>(plan.key_heads.remainder(index));
            HeadAhead ahead;
            ahead.load(rule, p.rule, plan.key_heads.quotient(index),
                       static_cast<unsigned>(value_head(plan, later, unit.head)));
            ahead.ask<S>(rule);
          }
        }
        if (kOne && fresh_thread() == 0) {
          // Looked up while the state is on its way, and kept where it costs no register.
          const bool named = rule.output_named || rule.slot_per_token;
          shared_job.last_slot = named ? p.rule.final_slot(all.n) : job.slot;
          shared_job.line.slot = job.line.slot;
        }
        cluster_wait();  // All have begun.
      }
      if (!kOne && count == 0) {
        state.unpack();
        ++turn;
        break;
      }
      if (keys && fresh_thread() == 0) {
        keys_mail.expect(count * 2 * rule.key_dim * sizeof(float), plan.alone());
      }
      if (pass == Pass::whole && fresh_thread() == 0) {
        squares_mail[turn & 1].expect(count * plan.tiles.divisor * sizeof(double), plan.alone());
      }
      bits.give(batch, keys_mail, plan, p, unit, place, job.line, first, count, keys);
      if constexpr (kOne) bits.stash(stash);
      if (!kOne && rule.slot_per_token && thread < count) {
        token_slot[thread] = p.rule.token_slot(all.n, first + thread);
      }
      if (keys) {
        keys_mail.wait(turn, plan.alone());
        bool far = false;
        for (int i = thread; i < count * kKeyDim; i += kThreads) {
          // What lies outside of the state other threads may be about to clear.
          if (i % kKeyDim < rule.key_dim)
            far = far || is_far(batch.k[0][i]) || is_far(batch.q[0][i]);
        }
        if (__syncthreads_or(static_cast<int>(far)) != 0) rescale(batch, count, kWarps);
        take_norms(batch, count, true, rule.scale, kWarps);
        if (kRowsFirst) __syncthreads();
      } else {
        __syncthreads();
      }
      if (first == 0) state.unpack();
      float update[Part::kVector];
      for (int t = 0; t < count; ++t) {
        Step::run(update, state, sums, batch, t,
                  [&](int e, float o) { outputs[t][Part::place() * Part::kVector + e] = o; });
        if constexpr (!kOne) {
          state.update(batch.decay_of(t), batch.k[t], update);
          if (rule.round == DType::bf16) state.template round_to<bf16>();
          if (rule.round == DType::f16) state.template round_to<f16>();
          if (rule.slot_per_token && last) write_state(token_slot[t]);
        }
      }
      __syncthreads();
      for (int t = warp; t < count; t += kWarps) {
        const double sum = sum_of_squares(outputs[t], lane);
        if (pass == Pass::whole) {
          const auto block = static_cast<unsigned>(unit.rank - tile + lane);
          if (lane < static_cast<int>(plan.tiles.divisor))
            squares_mail[turn & 1].send(&squares[turn & 1][tile][t], block, sum, plan.alone());
        } else if (pass == Pass::sums && lane == 0 && first + t >= from) {
          window[first + t - from] += sum;
        }
      }
      // Before others send the tokens that come next.
      if (!kOne && pass == Pass::whole) cluster_arrive();
      if constexpr (kOne) {
        const int64_t to = pass != Pass::sums ? shared_job.last_slot : -1;
        if (to >= 0 && inside) {
          state.update_and_write(batch.decay_of(0), batch.k[0], update,
                                 rule.out.at<S>(to, head, first_column), rule.out.row,
                                 rule.out.column, extent, rule.out.access);
        }
      }
      if constexpr (kOne) bits.fetch(stash, plan, p, unit, place, keys);
      if (pass == Pass::whole) squares_mail[turn & 1].wait(turn >> 1, plan.alone());
#pragma unroll
      for (int r = 0; r < Bits::kResults; ++r) {
        const unsigned at = thread + r * kThreads;
        const auto t = static_cast<int>(at / kColumns), column = static_cast<int>(at % kColumns);
        if (t >= count || first_column + column >= rule.value_dim) continue;
        if (pass == Pass::sums || first + t < from) continue;
        double sum = 0.0;
        if (pass == Pass::whole) {
          for (unsigned j = 0; j < plan.tiles.divisor; ++j) sum += squares[turn & 1][j][t];
        } else {
          sum = window[first + t - from];
        }
        const DType z_type = kPlain ? DType::bf16 : plan.z.dtype;
        const float y = gated_output(outputs[t][column], OutputNorm(sum, plan), bits.weight[r],
                                     bits.z[r], z_type, plan, p);
        const int64_t to = rule.o.offset(job.line.batch, job.line.begin + first + t, head);
        store_any(p.rule.o, to + first_column + column, y);
      }
      ++turn;
      if constexpr (kOne) {
        if (bits.own.index >= 0 && (bits.own.element >= 0 || pass != Pass::sums)) {
          ConvLine line = job.line;
          line.slot = shared_job.line.slot;
          bits.channel.keep(plan.conv, bits.own.index, line, job.after);
        }
        break;
      }
      if (first + kTokens >= end) break;
    }
    if (!kOne && last && !rule.slot_per_token) write_state(job.last_slot);
  };

  if (job.slot < 0) {
    for (int64_t t = 0; t < job.line.length; ++t) {
      for (int k = thread; k < plan.parts * kColumns; k += kThreads) {
        const PartPlace place(plan, all, k / kColumns);
        const int column = place.tile * kColumns + k % kColumns;
        if (column >= rule.value_dim) continue;
        const int64_t to = rule.o.offset(job.line.batch, job.line.begin + t, place.head) + column;
        store_any(p.rule.o, to, 0.0F);
      }
    }
    cluster_wait();
    return;
  }
  const bool whole = plan.at_once > 0;
  const auto tiles = static_cast<int>(plan.tiles.divisor);
  int part = 0, step = 0;  // If not whole, over all tiles of a value head twice for each window.
  int64_t from = 0;
  while (part < plan.parts) {
    if (!whole && step == 0) {
      __syncthreads();
      if (thread < kWindow) window[thread] = 0.0;
      __syncthreads();
    }
    const Pass pass = whole ? Pass::whole : step < tiles ? Pass::sums : Pass::outputs;
    run_part(part + (step < tiles ? step : step - tiles), pass, from);
    if (whole) {
      ++part;
    } else if (++step == 2 * tiles) {
      step = 0;
      from += kWindow;
      if (from >= job.line.length) from = 0, part += tiles;
    }
  }
  if (job.line.length == 0) return;
  if (!kOne && whole) cluster_wait();  // As often as they have arrived.
  // Where there is one token, channel `thread` of each part is kept already.
  for (int j = 0; j < plan.parts; ++j) {
    const int channels = Channel::count(plan, j == 0);
    for (int i = kOne ? thread + kThreads : thread; i < channels; i += kThreads) {
      const Channel own(plan, p, all, PartPlace(plan, all, j), i);
      if (own.index >= 0) keep_tokens(plan.conv, own.index, job.line, job.after);
    }
  }
}

template <class S, bool kRowsFirst, int kChunks, bool kOne, Pieces kKind, bool kPlain = false>
Status launch_decode(const FusedGdnDecode &p, const Launch &l, DecodePlan &plan) {
  constexpr auto *kKernel = &decode_kernel<S, kRowsFirst, kChunks, kOne, kKind, kPlain>;
  constexpr int kColumns = kThreads / kPartGroups * 16 / static_cast<int>(sizeof(S));
  auto tiles = static_cast<unsigned>((p.rule.value_dim + kColumns - 1) / kColumns);
  unsigned blocks = 1;
  plan.at_once = tiles == 1 ? 1 : 0;
  if (tiles <= kMostBlocks && has_clusters<kKernel>(*l.device)) {
    // Clusters of a power of two: a block may have a tile that lies outside.
    tiles = std::bit_ceil(tiles);
    plan.at_once = 1;
    while (plan.group % (2 * plan.at_once) == 0 && 2 * plan.at_once * tiles <= kMostBlocks) {
      plan.at_once *= 2;
    }
    blocks = static_cast<unsigned>(plan.at_once) * tiles;
  }
  plan.tiles = Divisor(tiles);
  plan.blocks = Divisor(blocks);
  plan.key_channels =
      (2 * plan.rule.key_dim + static_cast<int>(blocks) - 1) / static_cast<int>(blocks);
  plan.parts = plan.at_once > 0 ? plan.group / plan.at_once : plan.group * static_cast<int>(tiles);
  const int64_t all = p.rule.sequences.count * p.rule.heads.key_heads * int64_t{blocks};
  if (kKind == Pieces::exact && plan.at_once > 0) {
    plan.rule.ahead = blocks_ahead(
        plan.rule, all, l.device->multiprocessors * resident_blocks<S, kChunks, kOne>(), blocks);
  }
  return launch_as<kKernel>({.cluster = blocks}, "fused_gdn_decode", l, all, kThreads, 0, plan, p);
}

template <class S, bool kRowsFirst>
Status launch_for(const FusedGdnDecode &p, const Launch &l) {
  constexpr int kOneHundred = sizeof(S) == 4 ? 2 : 1;  // Chunks of 128 rows.
  DecodePlan plan(p, dtype_of<S>(), kRowsFirst);
  const bool exact = plan.rule.in.access == Access::exact;
  const bool one = !p.rule.sequences.packed() && p.rule.sequences.tokens == 1;
  if (p.rule.key_dim > 128) {
    return launch_decode<S, kRowsFirst, 2 * kOneHundred, false, Pieces::any>(p, l, plan);
  }
  if (!exact) return launch_decode<S, kRowsFirst, kOneHundred, false, Pieces::any>(p, l, plan);
  if (one && is_plain(p.conv) && p.z.dtype == DType::bf16) {
    return launch_decode<S, kRowsFirst, kOneHundred, true, Pieces::exact, true>(p, l, plan);
  }
  return one ? launch_decode<S, kRowsFirst, kOneHundred, true, Pieces::exact>(p, l, plan)
             : launch_decode<S, kRowsFirst, kOneHundred, false, Pieces::exact>(p, l, plan);
}

}  // namespace

Status fused_gdn_decode(const FusedGdnDecode &p, const Launch &l) {
  if (fused_gdn_decode_large_applies(p, l)) return fused_gdn_decode_large(p, l);
  const bool rows_first = p.rule.initial_state.stride[3] != 1;
  return for_type(p.rule.initial_state.dtype, [&](auto element) {
    using S = decltype(element);
    return rows_first ? launch_for<S, true>(p, l) : launch_for<S, false>(p, l);
  });
}

}  // namespace gdn::cuda::sm80
