#include "cuda/launch.h"
#include "cuda/sm80/device/rule_block.cuh"
#include "cuda/sm80/device/rule_plan.cuh"
#include "cuda/sm80/kernels.h"

// The recurrence token by token, for decode and speculative verify. The state is the traffic: it is
// read once and written once a call (with a slot per token, written once a token). What a block
// does with a token is in rule_block.cuh; here is where tokens and states come from and go to.

namespace gdn::cuda::sm80 {
namespace {

/// How many tokens a sequence has, and what its state becomes between them.
enum class Run {
  one,      ///< One token, known from the shapes; the state that is written is S too.
  rounded,  ///< Any number; the state is rounded to its type S between them.
  many      ///< Any number; the state is f32 between them, or as RulePlan::round says.
};

/// What a block works on.
struct Place {
  int64_t n;
  unsigned h, key_head;
  int first_column;
};

template <class Part>
__device__ __forceinline__ Place find_place(const RulePlan &plan, unsigned block) {
  Place at;
  const unsigned item = plan.column_tiles.quotient(block);
  at.n = plan.value_heads.quotient(item);
  at.h = plan.value_heads.remainder(item);
  at.key_head = plan.interleaved ? plan.head_map.remainder(at.h) : plan.head_map.quotient(at.h);
  at.first_column = static_cast<int>(plan.column_tiles.remainder(block)) * Part::kColumns;
  return at;
}

/// Where the results of tokens go.
template <int kTokens>
struct Targets {
  int64_t o[kTokens];     ///< Offset of the block's first column.
  int64_t slot[kTokens];  ///< With a slot for each token: the state's; -1: none.
};

/// Tokens as they lie in memory: of q and k elements thread, thread + kThreads, .., first those of
/// k; v by position (Columns). The first lanes of the last warp have the decays of a token each and
/// where its results go, those of the last but one the betas.
template <class Part, int kTokens, int kThreads>
struct TokenBits {
  static constexpr int kCount = 2 * Part::kKeyDim / kThreads;
  static constexpr int kColumns = Part::kColumns;
  static constexpr int kValues = (kTokens * kColumns + kThreads - 1) / kThreads;
  uint32_t kq[kCount][kTokens], v[kValues];
  GateBits gate;
  LoadedIndex slot;

  __device__ __forceinline__ static bool is_q(int thread, int i) {
    return kThreads > Part::kKeyDim ? thread >= Part::kKeyDim : i * kThreads >= Part::kKeyDim;
  }
  /// Element of that row.
  __device__ __forceinline__ static int element(int thread, int i) {
    return kThreads > Part::kKeyDim ? thread & (Part::kKeyDim - 1)
                                    : thread + i * kThreads % Part::kKeyDim;
  }
  __device__ __forceinline__ static int decay_token(int thread) { return thread - (kThreads - 32); }
  __device__ __forceinline__ static int beta_token(int thread) { return thread - (kThreads - 64); }

  /// Tokens t .. t + count - 1 of row b, the first of which is token `first` of sequence n.
  __device__ __forceinline__ void load(const RulePlan &plan, const DeltaRule &p, const Place &at,
                                       int64_t b, int64_t t, int64_t first, int count) {
    if (plan.q.dtype == DType::f32) {
      load_as<uint32_t>(plan, at, b, t, count);
    } else {
      load_as<uint16_t>(plan, at, b, t, count);
    }
    const int thread = fresh_thread();
    const int i = decay_token(thread), j = beta_token(thread);
    if (i >= 0 && i < count) {
      gate.load_decay(plan, p, b, t + i, at.h);
      const IndexArray &slots = p.output_indices();
      if (plan.slot_per_token && first + i < slots.columns) slot.load(slots, at.n, first + i);
    }
    if (j >= 0 && j < count) gate.load_beta(plan, b, t + j, at.h);
  }

  /// True if this thread has an element that is far (rule_block.cuh).
  __device__ __forceinline__ bool give(TokenBatch<Part, kTokens> &batch, Targets<kTokens> &targets,
                                       const RulePlan &plan, const DeltaRule &p, const Place &at,
                                       int64_t b, int64_t t, int64_t first, int count) const {
    const int thread = fresh_thread(), i = decay_token(thread), j = beta_token(thread);
    if (i >= 0 && i < count) {
      const Decay decay = gate.decay(plan, p);
      batch.decay[i] = make_float2(decay.factor, decay.keep);
      targets.o[i] = plan.o.offset(b, t + i, at.h) + at.first_column;
      const bool named = plan.slot_per_token && first + i < p.output_indices().columns;
      targets.slot[i] = named ? plan.slots.named(slot.own()) : -1;
    }
    if (j >= 0 && j < count) batch.beta[j] = gate.beta(plan, p);
    if (plan.q.dtype == DType::f16) {
      return give_as(batch, count, [](uint32_t x) { return from_bits(DType::f16, x); });
    }
    const int shift = plan.q.dtype == DType::bf16 ? 16 : 0;
    return give_as(batch, count, [shift](uint32_t x) { return __uint_as_float(x << shift); });
  }

 private:
  template <class Bits>
  __device__ __forceinline__ void load_as(const RulePlan &plan, const Place &at, int64_t b,
                                          int64_t t, int count) {
    const int thread = fresh_thread();
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const Rows &rows = is_q(thread, i) ? plan.q : plan.k;
      const int d = element(thread, i);
      const Bits *from = static_cast<const Bits *>(rows.data) + rows.offset(b, t, at.key_head) + d;
      const int inside = d < plan.key_dim ? count : 0;
#pragma unroll
      for (int j = 0; j < kTokens; ++j, from += rows.token) kq[i][j] = j < inside ? *from : 0;
    }
    const Bits *const values = static_cast<const Bits *>(plan.v.data) + plan.v.offset(b, t, at.h);
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const unsigned k = thread + i * kThreads, j = k / kColumns;
      const int column = at.first_column + Columns<Part>::column(k % kColumns);
      const bool in = static_cast<int>(j) < count && column < plan.value_dim;
      v[i] = in ? values[j * plan.v.token + column] : 0;
    }
  }

  template <class F>
  __device__ __forceinline__ bool give_as(TokenBatch<Part, kTokens> &batch, int count,
                                          F value_of) const {
    const int thread = fresh_thread();
    bool far = false;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      float *const row = (is_q(thread, i) ? batch.q[0] : batch.k[0]) + element(thread, i);
#pragma unroll
      for (int j = 0; j < kTokens; ++j) {
        const float x = value_of(kq[i][j]);
        if (j < count) row[j * Part::kKeyDim] = x;
        far = far || is_far(x);
      }
    }
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const unsigned k = thread + i * kThreads;
      if (k < kTokens * kColumns) batch.v[0][k] = value_of(v[i]);
    }
    return far;
  }
};

/// Threads that a multiprocessor's registers are to hold: 64 - 128 KB of state on its way.
template <class S, int kChunks, int kThreads, Run kRun, Pieces kKind>
constexpr int resident_threads() {
  constexpr bool kWide = kChunks * 16 / sizeof(S) > 8;  // DK over 128.
  if (kKind == Pieces::any) return 128 * (kWide ? 2 : 3);
  if (kWide) return 128 * (sizeof(S) == 4 ? 4 : 2);
  if (kKind == Pieces::bounded || kKind == Pieces::split) return 128 * 4;
  if (kThreads == 256) return 128 * 8;
  if (sizeof(S) == 4) return 128 * (kRun == Run::one ? 6 : 5);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  return 128 * (kRun == Run::one ? 5 : 4);
#else
  return 128 * 4;  // Five spill.
#endif
}

/// Whether blocks ask for states of later ones. Calls of one token lose by it where they are small,
/// and so does the rounded form.
template <Run kRun, Pieces kKind>
constexpr bool kAsksAhead = kRun == Run::many &&kKind == Pieces::exact;

/// Zeros to the o of a skipped sequence.
template <class Part>
__device__ __forceinline__ void clear_output(const RulePlan &c, const DeltaRule &p, const Place &at,
                                             const SequenceSpan &span, int thread) {
  if (thread >= Part::kColumns || at.first_column + thread >= c.value_dim) return;
  for (int64_t t = 0; t < span.length; ++t) {
    store_any(p.o, p.o.offset(span.batch, span.begin + t, at.h, at.first_column + thread), 0.0F);
  }
}

/// S: element type of the state that is read.
template <class S, bool kRowsFirst, int kChunks, int kThreads, Run kRun, Pieces kKind>
__global__ void __launch_bounds__(kThreads, (resident_threads<S, kChunks, kThreads, kRun, kKind>() /
                                             kThreads))
    recurrent_kernel(const __grid_constant__ RulePlan plan, const __grid_constant__ DeltaRule p) {
  constexpr bool kOne = kRun == Run::one, kAsks = kAsksAhead<kRun, kKind>;
  constexpr int kTokens = kOne ? 1 : 512 / (kChunks * 16 / static_cast<int>(sizeof(S)) * 16);
  using Part =
      StatePart<S, kRowsFirst, kChunks, kThreads, kRun != Run::many && sizeof(S) == 2, kKind>;
  using Step = RuleStep<Part, kRowsFirst, kTokens>;
  __shared__ TokenBatch<Part, kTokens> batch;
  __shared__ typename Step::Shared sums;
  __shared__ Targets<kTokens> targets;
  __shared__ int64_t final_slot;  // Entry that takes the last state, or the only one; -1: none.
  __shared__ SequenceSpan later;  // The sequence, for its tokens after the first few.
  const Place at = find_place<Part>(plan, blockIdx.x);
  // The first tokens are on their way while the slot, and then the state, is fetched.
  SequenceBits<kOne> sequence;
  sequence.load(plan, p, at.n);
  HeadAhead ahead;
  if (kAsks && plan.ahead > 0 && fresh_thread() >> 5 == 1) {
    const unsigned block = blockIdx.x + plan.ahead, item = plan.column_tiles.quotient(block);
    if (block < gridDim.x && plan.column_tiles.remainder(block) == 0) {
      ahead.load(plan, p, plan.value_heads.quotient(item), plan.value_heads.remainder(item));
    }
  }
  const SequenceSpan span = sequence.span(plan, p, at.n);
  using Bits = TokenBits<Part, kTokens, kThreads>;
  const auto count_from = [&](const SequenceSpan &span, int64_t first) {
    return kOne ? 1 : static_cast<int>(min(span.length - first, int64_t{kTokens}));
  };
  const auto load_tokens = [&](Bits &bits, const Place &at, const SequenceSpan &span,
                               int64_t first) {
    bits.load(plan, p, at, span.batch, span.begin + first, first, count_from(span, first));
  };
  /// Tokens to shared memory, and what follows from each alone.
  const auto give_tokens = [&](const Bits &bits, const Place &at, const SequenceSpan &span,
                               int64_t first) {
    const int count = count_from(span, first);
    const bool far =
        bits.give(batch, targets, plan, p, at, span.batch, span.begin + first, first, count);
    if (!plan.l2norm) {
      __syncthreads();
    } else if (__syncthreads_or(static_cast<int>(far)) != 0) {
      rescale(batch, count, kThreads / 32);
    }
    take_norms(batch, count, plan.l2norm, plan.scale, kThreads / 32);
    if (kRowsFirst) __syncthreads();
  };
  Bits first_bits;
  const bool empty = !kOne && span.length == 0;
  if (!empty) load_tokens(first_bits, at, span, 0);
  const int64_t slot = sequence.initial_slot(plan, at.n);
  if (slot < 0) {
    clear_output<Part>(plan, p, at, span, fresh_thread());
    return;
  }
  const Extent extent = {plan.key_dim, plan.value_dim - at.first_column - Part::column(0)};
  const bool inside = extent.columns > 0;
  Part state;
  const States &in = plan.in, &out = plan.out;
  if (inside && plan.reads && (!plan.flagged || p.has_initial_state.at(at.n))) {
    state.read(in.at<S>(slot, at.h, at.first_column), in.row, in.column, extent, in.access);
  } else {
    state.clear();
  }
  if constexpr (kAsks) ahead.ask<S>(plan);
  // Looked up while the state is on its way, and kept where it costs no register.
  if (fresh_thread() == 0) {
    const bool named = plan.output_named || plan.slot_per_token;
    final_slot = named ? p.final_slot(at.n) : plan.writes ? slot : int64_t{-1};
    if (!kOne) later = span;
  }
  const auto write_state = [&](int64_t entry) {
    if (entry < 0 || !inside) return;
    const auto write_as = [&](auto element) {
      auto *const to = out.at<decltype(element)>(entry, at.h, at.first_column);
      state.write(to, out.row, out.column, extent, out.access);
    };
    if constexpr (kRun == Run::rounded) {
      write_as(S{});
    } else {
      with_state_type<S, kKind>(out.dtype, write_as);
    }
  };
  if (empty) {
    __syncthreads();
    state.unpack();
    if (!plan.slot_per_token) write_state(final_slot);
    return;
  }
  give_tokens(first_bits, at, span, 0);
  state.unpack();

  for (unsigned turn = 0;;) {
    const int count = kOne ? 1 : count_from(later, int64_t{turn} * kTokens);
    for (int t = 0; t < count; ++t) {
      float update[Part::kVector];
      Step::run(update, state, sums, batch, t, [&](int e, float o) {
        if (Part::offset(e) < extent.columns) store_any(p.o, targets.o[t] + Part::column(e), o);
      });
      const Decay decay = batch.decay_of(t);
      if constexpr (kOne) {
        const int64_t to = final_slot;
        if (to < 0 || !inside) return;
        state.update_and_write(decay, batch.k[t], update, out.at<S>(to, at.h, at.first_column),
                               out.row, out.column, extent, out.access);
      } else {
        state.update(decay, batch.k[t], update);
        if constexpr (kRun == Run::many) {
          if (plan.round == DType::bf16) state.template round_to<bf16>();
          if (plan.round == DType::f16) state.template round_to<f16>();
        }
        if (plan.slot_per_token) write_state(targets.slot[t]);
      }
    }
    if (kOne) return;
    const int64_t first = int64_t{++turn} * kTokens;
    if (first >= later.length) break;
    Bits bits;
    // Found again: it is not worth registers over the tokens.
    const Place again =
        find_place<Part>(plan, static_cast<unsigned>(opaque(static_cast<int>(blockIdx.x))));
    load_tokens(bits, again, later, first);
    __syncthreads();  // All are done with the tokens before.
    give_tokens(bits, again, later, first);
  }
  if (!plan.slot_per_token) write_state(final_slot);
}

template <class S, int kChunks, int kThreads, Run kRun, Pieces kKind, bool kKeyFirstAlone = false>
Status launch_recurrent(const DeltaRule &p, const Launch &l, RulePlan &plan, bool rows_first) {
  constexpr int kColumns = kThreads / kPartGroups * 16 / static_cast<int>(sizeof(S));
  const int64_t tiles = (p.value_dim + kColumns - 1) / kColumns;
  plan.column_tiles = Divisor(static_cast<unsigned>(tiles));
  const int64_t blocks = p.sequences.count * p.heads.value_heads * tiles;
  if (kAsksAhead<kRun, kKind>) {
    constexpr int kResident = resident_threads<S, kChunks, kThreads, kRun, kKind>() / kThreads;
    plan.ahead = blocks_ahead(plan, blocks, l.device->multiprocessors * kResident, tiles);
  }
  const char *name = "fused_recurrent_gated_delta_rule";
  if constexpr (!kKeyFirstAlone) {
    if (rows_first) {
      return launch<recurrent_kernel<S, true, kChunks, kThreads, kRun, kKind>>(
          name, l, blocks, kThreads, 0, plan, p);
    }
  }
  return launch<recurrent_kernel<S, false, kChunks, kThreads, kRun, kKind>>(name, l, blocks,
                                                                            kThreads, 0, plan, p);
}

/// Where blocks of 256 threads, which own 256 bytes of a row, are enough to fill the card: rows of
/// f32 are 512 bytes, and memory likes longer stretches of them.
bool fills_in_halves(const DeltaRule &p, const Launch &l) {
  const int64_t blocks = p.sequences.count * p.heads.value_heads * ((p.value_dim + 63) / 64);
  return blocks >= int64_t{8} * l.device->multiprocessors;
}

template <class S>
Status launch_for(const DeltaRule &p, const Launch &l, bool rows_first) {
  constexpr int kOneHundred = sizeof(S) == 4 ? 2 : 1;  // Chunks of 128 rows.
  RulePlan plan = plan_rule(p, dtype_of<S>(), rows_first);
  const DType kept = p.final_state.dtype;
  const bool own_type = !p.final_state.present() || kept == dtype_of<S>();
  const Access in = plan.in.access, o = plan.out.access;
  const bool exact = in == Access::exact && o == Access::exact &&
                     (sizeof(S) == 4 || own_type || kept == DType::f32);
  const bool bounded = own_type && in != Access::elements && o != Access::elements;
  const bool one = !p.sequences.packed() && p.sequences.tokens == 1 && own_type;
  constexpr int kThreads = 128;
  if (p.key_dim > 128) {
    constexpr int kTwo = 2 * kOneHundred;
    return exact ? launch_recurrent<S, kTwo, kThreads, Run::many, Pieces::exact>(p, l, plan,
                                                                                 rows_first)
                 : launch_recurrent<S, kTwo, kThreads, Run::many, Pieces::any>(p, l, plan,
                                                                               rows_first);
  }
  if constexpr (sizeof(S) == 4) {
    if (exact && one && !rows_first && fills_in_halves(p, l)) {
      return launch_recurrent<S, kOneHundred, 256, Run::one, Pieces::exact, true>(p, l, plan,
                                                                                  false);
    }
  } else {
    const bool halves = in == Access::halves || o == Access::halves;
    if (bounded && halves && one && !rows_first) {
      return launch_recurrent<S, kOneHundred, kThreads, Run::one, Pieces::split, true>(p, l, plan,
                                                                                       false);
    }
    if (bounded && !exact && one) {
      return launch_recurrent<S, kOneHundred, kThreads, Run::one, Pieces::bounded>(p, l, plan,
                                                                                   rows_first);
    }
    if (exact && !one && plan.round == dtype_of<S>()) {
      return launch_recurrent<S, kOneHundred, kThreads, Run::rounded, Pieces::exact>(p, l, plan,
                                                                                     rows_first);
    }
  }
  if (!exact) {
    return launch_recurrent<S, kOneHundred, kThreads, Run::many, Pieces::any>(p, l, plan,
                                                                              rows_first);
  }
  return one ? launch_recurrent<S, kOneHundred, kThreads, Run::one, Pieces::exact>(p, l, plan,
                                                                                   rows_first)
             : launch_recurrent<S, kOneHundred, kThreads, Run::many, Pieces::exact>(p, l, plan,
                                                                                    rows_first);
}

}  // namespace

Status fused_recurrent_gated_delta_rule(const DeltaRule &p, const Launch &l) {
  const Tensor &state = p.final_state.present() ? p.final_state : p.initial_state;
  const bool rows_first = state.present() && state.stride[3] != 1;
  const Tensor &read = p.initial_state.present() ? p.initial_state : p.final_state;
  switch (read.dtype) {
    case DType::bf16:
      return launch_for<bf16>(p, l, rows_first);
    case DType::f16:
      return launch_for<f16>(p, l, rows_first);
    default:
      return launch_for<float>(p, l, rows_first);
  }
}

}  // namespace gdn::cuda::sm80
