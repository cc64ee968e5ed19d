#include "cuda/device/functions.cuh"
#include "cuda/device/sequences.cuh"
#include "cuda/launch.h"
#include "cuda/sm80/device/divisor.cuh"
#include "cuda/sm80/device/state_part.cuh"
#include "cuda/sm80/kernels.h"

// The recurrence token by token, for decode and speculative verify. The state is the traffic: it is
// read once and written once a call (with a slot per token, written once a token).
//
// A block owns 128 bytes of each row of one head's state and keeps them in registers
// (state_part.cuh). Both projections of a token, S^T k and S^T q, are taken of the state before it,
// so that a token passes over the state twice and sums over DK once:
//
//     v' = beta (v - e^g S^T k)      o = scale (e^g S^T q + (k . q) v')      S <- e^g S + k v'^T
//
// The sums over the 16 groups of rows go through shared memory, one value a thread.

namespace gdn::cuda::sm80 {
namespace {

constexpr int kWarps = kPartThreads / 32;

/// What a block needs to find its place.
struct RecurrentPlan {
  Divisor column_tiles;  ///< Blocks that share a value head.
  Divisor value_heads;
  Divisor head_map;  ///< By the key heads if interleaved, else by a key head's value heads.
  bool interleaved;
  Access in, out;  ///< How the states are reached.
  // What the prologue would else ask of operands all over the arguments: each first look at a line
  // of them costs about as much as an access to the second-level cache.
  bool reads, writes;  ///< There is a state to read; one to write.
  bool flagged;        ///< has_initial_state is there.
  bool output_named;   ///< output_state_indices is there.
};

/// A thread's share of a token as it lies in memory: elements thread, thread + 128, .. of q and k,
/// the value element of the column that it sums, the gates.
template <int kCount>
struct TokenPart {
  uint32_t q[kCount], k[kCount], v, g, beta, A_log, dt_bias;

  __device__ __forceinline__ void load(const DeltaRule &p, int64_t b, int64_t t, int64_t h,
                                       int64_t key_head, int column) {
    const int thread = fresh_thread(), key_dim = static_cast<int>(p.key_dim);
    const int64_t q_at = p.q.offset(b, t, key_head), k_at = p.k.offset(b, t, key_head);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int d = thread + i * kPartThreads;
      q[i] = d < key_dim ? load_bits(p.q, q_at + d) : 0;
      k[i] = d < key_dim ? load_bits(p.k, k_at + d) : 0;
    }
    v = column < p.value_dim ? load_bits(p.v, p.v.offset(b, t, h, column)) : 0;
    g = p.g.present() ? load_bits(p.g, p.g.offset(b, t, h)) : 0;
    beta = p.beta.present() ? load_bits(p.beta, p.beta.offset(b, t, h)) : 0;
    A_log = p.gate ? load_bits(p.A_log, p.A_log.offset(h)) : 0;
    dt_bias = p.gate && p.dt_bias.present() ? load_bits(p.dt_bias, p.dt_bias.offset(h)) : 0;
  }

  /// Log decay and beta under the call's flags.
  __device__ __forceinline__ float log_decay(const DeltaRule &p) const {
    const float x = from_bits(p.g.dtype, g);
    if (!p.gate) return x;
    return decay_of_gate(x, from_bits(p.A_log.dtype, A_log), from_bits(p.dt_bias.dtype, dt_bias));
  }
  __device__ __forceinline__ float beta_value(const DeltaRule &p) const {
    float x = p.beta.present() ? from_bits(p.beta.dtype, beta) : 1.0F;
    if (p.beta.present() && p.beta_sigmoid) x = sigmoid(x);
    return p.allow_neg_eigval ? 2.0F * x : x;
  }
};

/// q and k of a token, the warps' parts of their products and what comes of the gates.
template <int kKeyDim>
struct alignas(16) SharedToken {
  float q[kKeyDim], k[kKeyDim];
  float kq[kWarps], kk[kWarps], qq[kWarps];
  float4 gates;  ///< Decay::factor, Decay::keep, beta.
};

__device__ __forceinline__ float sum4(const float (&x)[kWarps]) {
  const float4 f = *reinterpret_cast<const float4 *>(x);
  return (f.x + f.y) + (f.z + f.w);
}

/// Sums over DK. Thread t adds up value t: S^T k of a column (t < kColumns), or S^T q. Columns lie
/// in an order in which a warp's stores meet no bank conflict.
template <class Part>
struct alignas(16) ColumnSums {
  static constexpr int kColumns = Part::kColumns, kQuads = Part::kVector / 4;
  float part[kPartGroups][2 * kColumns + 4];  // With room that spreads the groups over the banks.

  /// The column that lies at position i.
  __device__ __forceinline__ static int column(int i) {
    const int quad = i / (4 * kPartPlaces), place = i / 4 % kPartPlaces;
    return place * Part::kVector + quad * 4 + i % 4;
  }
  /// Position of a quad of this thread's columns.
  __device__ __forceinline__ static int position(int quad) {
    return quad * 4 * kPartPlaces + Part::place() * 4;
  }

  __device__ __forceinline__ void give(const float (&k_sum)[Part::kVector],
                                       const float (&q_sum)[Part::kVector]) {
    float *const row = part[Part::group()];
#pragma unroll
    for (int j = 0; j < kQuads; ++j) {
      *reinterpret_cast<float4 *>(row + position(j)) =
          make_float4(k_sum[4 * j], k_sum[4 * j + 1], k_sum[4 * j + 2], k_sum[4 * j + 3]);
      *reinterpret_cast<float4 *>(row + kColumns + position(j)) =
          make_float4(q_sum[4 * j], q_sum[4 * j + 1], q_sum[4 * j + 2], q_sum[4 * j + 3]);
    }
  }
  /// This thread's columns out of an array in the order of the sums.
  __device__ __forceinline__ static void own_columns(float (&x)[Part::kVector],
                                                     const float *array) {
#pragma unroll
    for (int j = 0; j < Part::kVector; j += 4) {
      const float4 f = *reinterpret_cast<const float4 *>(array + position(j / 4));
      x[j] = f.x, x[j + 1] = f.y, x[j + 2] = f.z, x[j + 3] = f.w;
    }
  }

  __device__ __forceinline__ float take(int i) const {
    float x[kPartGroups];
#pragma unroll
    for (int g = 0; g < kPartGroups; ++g) x[g] = part[g][i];
    // A tree, level by level: nested loops with a varying bound are not unrolled.
    static_assert(kPartGroups == 16);
#pragma unroll
    for (int g = 0; g < 8; ++g) x[g] = x[2 * g] + x[2 * g + 1];
#pragma unroll
    for (int g = 0; g < 4; ++g) x[g] = x[2 * g] + x[2 * g + 1];
    return (x[0] + x[1]) + (x[2] + x[3]);
  }
};

/// Calls f with a state tensor's elements as a typed pointer. kOwn: they are of S or f32.
template <class S, bool kOwn, class F>
__device__ __forceinline__ void with_state_type(const Tensor &t, int64_t offset, F f) {
  if (t.dtype == DType::f32) {
    f(static_cast<float *>(t.data) + offset);
  } else if (kOwn && sizeof(S) == 2) {
    f(static_cast<S *>(t.data) + offset);
  } else if (t.dtype == DType::bf16) {
    f(static_cast<bf16 *>(t.data) + offset);
  } else {
    f(static_cast<f16 *>(t.data) + offset);
  }
}

/// Blocks that a multiprocessor's registers are to hold: 64 - 128 KB of state on its way.
template <class S, int kChunks, bool kOne, bool kExact>
constexpr int resident_blocks() {
  if (!kExact) return kChunks * 16 / sizeof(S) > 8 ? 2 : 3;
  if (kChunks * 16 / sizeof(S) > 8) return sizeof(S) == 4 ? 4 : 2;
  if (sizeof(S) == 4) return kOne ? 7 : 5;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  return kOne ? 5 : 4;
#else
  return 4;  // Five spill.
#endif
}

/// What a block and each of its threads work on.
struct Place {
  int64_t n;
  unsigned h, key_head;
  int first_column;  ///< The block's.
  int column;        ///< The one that this thread sums.
};

template <class Part>
__device__ __forceinline__ Place find_place(const RecurrentPlan &plan) {
  Place at;
  const unsigned item = plan.column_tiles.quotient(blockIdx.x);
  at.n = plan.value_heads.quotient(item);
  at.h = plan.value_heads.remainder(item);
  at.key_head = plan.interleaved ? plan.head_map.remainder(at.h) : plan.head_map.quotient(at.h);
  at.first_column = static_cast<int>(plan.column_tiles.remainder(blockIdx.x)) * Part::kColumns;
  const auto thread = static_cast<int>(threadIdx.x);
  at.column = at.first_column + ColumnSums<Part>::column(thread & (Part::kColumns - 1));
  return at;
}

/// Starts to load the index of DeltaRule::initial_slot.
__device__ __forceinline__ void load_index(LoadedIndex &index, const DeltaRule &p, int64_t n) {
  int64_t at = 0;
  if (p.num_accepted_tokens.present) {
    at = p.num_accepted_tokens.at(n) - 1;
    if (at < 0 || at >= p.state_indices.columns) at = 0;
  }
  index.load(p.state_indices, n, at);
}

/// Zeros to the o of a skipped sequence.
template <class Part>
__device__ __forceinline__ void clear_output(const DeltaRule &p, const Place &at,
                                             const SequenceSpan &span, int thread) {
  if (thread >= Part::kColumns || at.column >= p.value_dim) return;
  for (int64_t t = 0; t < span.length; ++t) {
    store_any(p.o, p.o.offset(span.batch, span.begin + t, at.h, at.column), 0.0F);
  }
}

/// Squares above this are far from what f32 holds.
constexpr float kFarSquares = 0x1p100F;

/// A token's q, k, their products and gates for all threads. True if this warp has squares that are
/// far.
template <int kCount, int kKeyDim>
__device__ __forceinline__ bool give_token(SharedToken<kKeyDim> &shared,
                                           const TokenPart<kCount> &token, const DeltaRule &p,
                                           int thread, int lane, int warp) {
  float kq = 0.0F, kk = 0.0F, qq = 0.0F;
#pragma unroll
  for (int j = 0; j < kCount; ++j) {
    const float q = from_bits(p.q.dtype, token.q[j]), k = from_bits(p.k.dtype, token.k[j]);
    shared.q[thread + j * kPartThreads] = q;
    shared.k[thread + j * kPartThreads] = k;
    kq = fmaf(k, q, kq);
    kk = fmaf(k, k, kk);
    qq = fmaf(q, q, qq);
  }
  kq = warp_sum(kq);
  if (p.qk_l2norm) kk = warp_sum(kk), qq = warp_sum(qq);
  if (lane == 0) shared.kq[warp] = kq, shared.kk[warp] = kk, shared.qq[warp] = qq;
  if (warp == 0) {
    const Decay decay(token.log_decay(p));
    const float beta = token.beta_value(p);
    if (lane == 0) shared.gates = make_float4(decay.factor, decay.keep, beta, 0.0F);
  }
  return p.qk_l2norm && !(fmaxf(kk, qq) <= kFarSquares);
}

/// Under l2norm, where squares are far: brings large k and q to about 2^20, where eps does not
/// count, and sums over DK again. By the whole block.
template <int kKeyDim>
__device__ __forceinline__ void rescale(SharedToken<kKeyDim> &shared) {
  constexpr float kLarge = 0x1p40F;
  const int thread = fresh_thread();
  float most_k = 0.0F, most_q = 0.0F;
#pragma unroll 1
  for (int d = 0; d < kKeyDim; ++d) {
    most_k = fmaxf(most_k, fabsf(shared.k[d]));
    most_q = fmaxf(most_q, fabsf(shared.q[d]));
  }
  const float scale_k = most_k < kLarge ? 1.0F : 0x1p20F * row_scale(most_k);
  const float scale_q = most_q < kLarge ? 1.0F : 0x1p20F * row_scale(most_q);
  __syncthreads();  // All have read the rows.
  float kq = 0.0F, kk = 0.0F, qq = 0.0F;
#pragma unroll 1
  for (int d = thread; d < kKeyDim; d += kPartThreads) {
    const float k = shared.k[d] * scale_k, q = shared.q[d] * scale_q;
    shared.k[d] = k;
    shared.q[d] = q;
    kq = fmaf(k, q, kq);
    kk = fmaf(k, k, kk);
    qq = fmaf(q, q, qq);
  }
  kq = warp_sum(kq), kk = warp_sum(kk), qq = warp_sum(qq);
  if ((thread & 31) == 0) {
    shared.kq[thread >> 5] = kq, shared.kk[thread >> 5] = kk, shared.qq[thread >> 5] = qq;
  }
  __syncthreads();
}

/// v' of a column out of `sum` = e^g S^T k. The norm enters twice: the prediction is S^T (norm k),
/// the update (norm k) v'^T.
template <int kKeyDim>
__device__ __forceinline__ float new_value(const SharedToken<kKeyDim> &shared, const DeltaRule &p,
                                           float v, float beta, float sum) {
  const float norm = p.qk_l2norm ? rsqrtf(sum4(shared.kk) + kL2NormEps) : 1.0F;
  return norm * beta * (v - norm * sum);
}

/// kOne: every sequence has one token. S: element type of the state that is read. kExact: states
/// move in whole pieces of 16 bytes.
template <class S, bool kRowsFirst, int kChunks, bool kOne, bool kExact>
__global__ void __launch_bounds__(kPartThreads, (resident_blocks<S, kChunks, kOne, kExact>()))
    recurrent_kernel(const __grid_constant__ DeltaRule p,
                     const __grid_constant__ RecurrentPlan plan) {
  using Part = StatePart<S, kRowsFirst, kChunks, kOne && sizeof(S) == 2, kExact>;
  constexpr int kColumns = Part::kColumns;
  constexpr int kKeyDim = kChunks * kPartGroups * Part::kVector;
  constexpr int kCount = kKeyDim / kPartThreads;
  __shared__ SharedToken<kKeyDim> tokens[kOne ? 1 : 2];
  __shared__ ColumnSums<Part> sums;
  __shared__ __align__(16) float updates[kColumns];  // v' of the columns, in the order of the sums.
  __shared__ int64_t final_slot;                     // Entry that takes the last state; -1: none.
  const auto thread = static_cast<int>(threadIdx.x);
  const int lane = thread & 31, warp = thread >> 5;
  const Place at = find_place<Part>(plan);
  const auto key_dim = static_cast<int>(p.key_dim);
  const Extent extent = {
      key_dim, static_cast<int>(p.value_dim) - at.first_column - Part::place() * Part::kVector};
  const bool inside = extent.columns > 0;
  const SequenceSpan span = kOne ? SequenceSpan{at.n, 0, 1} : clamped_span(p.sequences, at.n);

  // The first token's operands are on their way while the slot, and then the state, is fetched.
  LoadedIndex index;
  if (p.state_indices.present) load_index(index, p, at.n);
  TokenPart<kCount> token;
  const int v_column = thread < kColumns ? at.column : static_cast<int>(p.value_dim);
  if (span.length > 0) token.load(p, span.batch, span.begin, at.h, at.key_head, v_column);
  int64_t slot = at.n;
  if (p.state_indices.present) {
    slot = p.slots.named(index.value());
    if (slot < 0) {
      clear_output<Part>(p, at, span, thread);
      return;
    }
  }
  const auto state_offset = [&](const Tensor &t, int64_t entry) {
    return t.offset(entry, at.h, 0, at.first_column);
  };
  Part state;
  const Tensor &in = p.initial_state, &out = p.final_state;
  if (inside && plan.reads && (!plan.flagged || p.has_initial_state.at(at.n))) {
    state.read(static_cast<const S *>(in.data) + state_offset(in, slot), in.stride[2], in.stride[3],
               extent, plan.in);
  } else {
    state.clear();
  }
  // Looked up while the state is on its way, and kept where it costs no register.
  if (plan.output_named && thread == 0) final_slot = p.final_slot(at.n);
  const auto last_entry = [&] {
    return plan.output_named ? final_slot : plan.writes ? slot : int64_t{-1};
  };
  const auto write_state = [&](int64_t entry) {
    with_state_type<S, kExact>(out, state_offset(out, entry), [&](auto *memory) {
      state.write(memory, out.stride[2], out.stride[3], extent, plan.out);
    });
  };

  for (int64_t i = 0; i < span.length; ++i) {
    const int64_t t = span.begin + i;
    SharedToken<kKeyDim> &shared = tokens[kOne ? 0 : i & 1];
    const bool far = give_token(shared, token, p, thread, lane, warp);
    const float v = from_bits(p.v.dtype, token.v);
    if (!kOne && i + 1 < span.length) {
      token.load(p, span.batch, t + 1, at.h, at.key_head, v_column);
    }
    if (!p.qk_l2norm) {
      __syncthreads();
    } else if (__syncthreads_or(static_cast<int>(far)) != 0) {
      rescale(shared);
    }
    const float4 gates = shared.gates;
    const Decay decay(gates.x, gates.y);
    const float beta = gates.z;

    float k_sum[Part::kVector] = {}, q_sum[Part::kVector] = {};
    state.project(k_sum, q_sum, shared.k, shared.q);
    state.forget_values();
    sums.give(k_sum, q_sum);
    __syncthreads();
    const float sum = thread < 2 * kColumns ? decay.apply(sums.take(thread)) : 0.0F;
    if (thread < kColumns) updates[thread] = new_value(shared, p, v, beta, sum);
    __syncthreads();
    if (thread >= kColumns && thread < 2 * kColumns && at.column < p.value_dim) {
      float scale = p.scale;
      if (p.qk_l2norm) scale *= rsqrtf(sum4(shared.qq) + kL2NormEps);
      store_any(p.o, p.o.offset(span.batch, t, at.h, at.column),
                scale * fmaf(sum4(shared.kq), updates[thread - kColumns], sum));
    }
    float update[Part::kVector];
    ColumnSums<Part>::own_columns(update, updates);
    int64_t to = kOne ? last_entry() : -1;
    if (p.slot_per_token()) to = p.token_slot(at.n, i);
    if constexpr (kOne) {
      if (to >= 0 && inside) {
        with_state_type<S, kExact>(out, state_offset(out, to), [&](auto *memory) {
          state.update_and_write(decay, shared.k, update, memory, out.stride[2], out.stride[3],
                                 extent, plan.out);
        });
      }
    } else {
      state.update(decay, shared.k, update);
      if (to >= 0 && inside) write_state(to);
    }
  }
  if (kOne || p.slot_per_token()) return;
  if (span.length == 0) __syncthreads();  // No token has made the others wait for final_slot.
  const int64_t to = last_entry();
  if (to >= 0 && inside) write_state(to);
}

/// How a state is reached in pieces of `vector` elements along its unit stride: 16 bytes of the
/// type that the state is read in.
Access access_of(const Tensor &t, DType read, bool rows_first) {
  if (!t.present()) return Access::exact;
  const int unit = rows_first ? 2 : 3;
  const auto size = static_cast<int64_t>(dtype_size(t.dtype));
  uint64_t bits = reinterpret_cast<uintptr_t>(t.data);
  for (int i = 0; i < 4; ++i) {
    if (i != unit && t.shape[i] > 1) bits |= static_cast<uint64_t>(t.stride[i] * size);
  }
  const auto vector = 16 / static_cast<int64_t>(dtype_size(read));
  if (bits % 16 == 0 && t.shape[2] % vector == 0 && t.shape[3] % vector == 0) return Access::exact;
  bits |= static_cast<uint64_t>(t.shape[unit] * size);
  if (t.dtype == read && bits % 16 == 0) return Access::whole;
  if (t.dtype == read && size == 2 && bits % 8 == 0) return Access::halves;
  return Access::elements;
}

template <class S, int kChunks, bool kOne, bool kExact>
Status launch_recurrent(const DeltaRule &p, const Launch &l, const RecurrentPlan &plan,
                        bool rows_first) {
  const int64_t blocks =
      p.sequences.count * p.heads.value_heads * static_cast<int64_t>(plan.column_tiles.divisor);
  const char *name = "fused_recurrent_gated_delta_rule";
  if (rows_first) {
    return launch<recurrent_kernel<S, true, kChunks, kOne, kExact>>(name, l, blocks, kPartThreads,
                                                                    0, p, plan);
  }
  return launch<recurrent_kernel<S, false, kChunks, kOne, kExact>>(name, l, blocks, kPartThreads, 0,
                                                                   p, plan);
}

template <class S>
Status launch_for(const DeltaRule &p, const Launch &l, bool rows_first) {
  constexpr int kOneHundred = sizeof(S) == 4 ? 2 : 1;  // Chunks of 128 rows.
  constexpr int kColumns = StatePart<S, false, kOneHundred, false, true>::kColumns;
  RecurrentPlan plan;
  plan.column_tiles = Divisor(static_cast<unsigned>((p.value_dim + kColumns - 1) / kColumns));
  plan.value_heads = Divisor(static_cast<unsigned>(p.heads.value_heads));
  plan.head_map =
      Divisor(static_cast<unsigned>(p.heads.interleaved ? p.heads.key_heads : p.heads.group()));
  plan.interleaved = p.heads.interleaved;
  plan.reads = p.initial_state.present(), plan.writes = p.final_state.present();
  plan.flagged = p.has_initial_state.present;
  plan.output_named = p.output_state_indices.present;
  plan.in = access_of(p.initial_state, dtype_of<S>(), rows_first);
  plan.out = access_of(p.final_state, dtype_of<S>(), rows_first);
  const DType written = p.final_state.dtype;
  const bool exact = plan.in == Access::exact && plan.out == Access::exact &&
                     (sizeof(S) == 4 || !p.final_state.present() || written == dtype_of<S>() ||
                      written == DType::f32);
  const bool one = !p.sequences.packed() && p.sequences.tokens == 1;
  if (p.key_dim > 128) {
    return exact ? launch_recurrent<S, 2 * kOneHundred, false, true>(p, l, plan, rows_first)
                 : launch_recurrent<S, 2 * kOneHundred, false, false>(p, l, plan, rows_first);
  }
  if (!exact) return launch_recurrent<S, kOneHundred, false, false>(p, l, plan, rows_first);
  return one ? launch_recurrent<S, kOneHundred, true, true>(p, l, plan, rows_first)
             : launch_recurrent<S, kOneHundred, false, true>(p, l, plan, rows_first);
}

}  // namespace

Status fused_recurrent_gated_delta_rule(const DeltaRule &p, const Launch &l) {
  if (p.round_states) {
    return {Code::unsupported, "the cuda backend does not have GDN_ROUND_STATES."};
  }
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
