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
  bool aligned_in, aligned_out;  ///< Pieces of the states are one access each.
};

/// A thread's share of a token as it lies in memory: elements thread, thread + 128, .. of q and k,
/// the value element of the column that it sums, the gates.
template <int kCount>
struct TokenPart {
  uint32_t q[kCount], k[kCount], v, g, beta, A_log, dt_bias;

  __device__ __forceinline__ void load(const DeltaRule &p, int64_t b, int64_t t, int64_t h,
                                       int64_t key_head, int64_t column) {
    const auto thread = static_cast<int>(threadIdx.x), key_dim = static_cast<int>(p.key_dim);
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

/// Calls f with a state tensor's elements as a typed pointer.
template <class F>
__device__ __forceinline__ void with_state_type(const Tensor &t, int64_t offset, F f) {
  if (t.dtype == DType::f32) {
    f(static_cast<float *>(t.data) + offset);
  } else {
    f(static_cast<bf16 *>(t.data) + offset);
  }
}

/// Blocks that a multiprocessor's registers are to hold: 64 - 128 KB of state on its way.
template <class S, int kChunks, bool kOne>
constexpr int resident_blocks() {
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
  int64_t first_column;  ///< The block's.
  int64_t column;        ///< The one that this thread sums.
};

template <class Part>
__device__ __forceinline__ Place find_place(const RecurrentPlan &plan) {
  Place at;
  const unsigned item = plan.column_tiles.quotient(blockIdx.x);
  at.n = plan.value_heads.quotient(item);
  at.h = plan.value_heads.remainder(item);
  at.key_head = plan.interleaved ? plan.head_map.remainder(at.h) : plan.head_map.quotient(at.h);
  at.first_column = int64_t{plan.column_tiles.remainder(blockIdx.x)} * Part::kColumns;
  const auto thread = static_cast<int>(threadIdx.x);
  at.column = at.first_column + ColumnSums<Part>::column(thread & (Part::kColumns - 1));
  return at;
}

/// Starts to load the slot that the state is read from.
__device__ __forceinline__ void load_index(LoadedIndex &index, const DeltaRule &p, int64_t n) {
  int64_t at = 0;
  if (p.num_accepted_tokens.present) {
    at = clamp64(p.num_accepted_tokens.at(n) - 1, 0, p.state_indices.columns - 1);
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

/// A token's q, k, their products and gates for all threads.
template <int kCount, int kKeyDim>
__device__ __forceinline__ void give_token(SharedToken<kKeyDim> &shared,
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
}

/// v' of a column out of `sum` = e^g S^T k. The norm enters twice: the prediction is S^T (norm k),
/// the update (norm k) v'^T.
template <int kKeyDim>
__device__ __forceinline__ float new_value(const SharedToken<kKeyDim> &shared, const DeltaRule &p,
                                           float v, float beta, float sum) {
  const float norm = p.qk_l2norm ? rsqrtf(sum4(shared.kk) + kL2NormEps) : 1.0F;
  return norm * beta * (v - norm * sum);
}

/// kOne: every sequence has one token. S: element type of the state that is read.
template <class S, bool kRowsFirst, int kChunks, bool kOne>
__global__ void __launch_bounds__(kPartThreads, (resident_blocks<S, kChunks, kOne>()))
    recurrent_kernel(const __grid_constant__ DeltaRule p,
                     const __grid_constant__ RecurrentPlan plan) {
  using Part = StatePart<S, kRowsFirst, kChunks, kOne && sizeof(S) == 2>;
  constexpr int kColumns = Part::kColumns;
  constexpr int kKeyDim = kChunks * kPartGroups * Part::kVector;
  constexpr int kCount = kKeyDim / kPartThreads;
  __shared__ SharedToken<kKeyDim> tokens[kOne ? 1 : 2];
  __shared__ ColumnSums<Part> sums;
  __shared__ __align__(16) float updates[kColumns];  // v' of the columns, in the order of the sums.
  const auto thread = static_cast<int>(threadIdx.x);
  const int lane = thread & 31, warp = thread >> 5;
  const Place at = find_place<Part>(plan);
  const bool inside = at.first_column + Part::place() * Part::kVector < p.value_dim;
  const SequenceSpan span = kOne ? SequenceSpan{at.n, 0, 1} : clamped_span(p.sequences, at.n);

  // The first token's operands are on their way while the slot, and then the state, is fetched.
  LoadedIndex index;
  if (p.state_indices.present) load_index(index, p, at.n);
  TokenPart<kCount> token;
  const int64_t v_column = thread < kColumns ? at.column : p.value_dim;
  if (span.length > 0) token.load(p, span.batch, span.begin, at.h, at.key_head, v_column);
  int64_t slot = at.n;
  if (p.state_indices.present) {
    slot = checked_slot(index.value(), p.initial_state.shape[0]);
    if (slot < 0) {
      clear_output<Part>(p, at, span, thread);
      return;
    }
  }
  const auto state_offset = [&](const Tensor &t, int64_t entry) {
    return t.offset(entry, at.h, 0, at.first_column);
  };
  const auto key_dim = static_cast<int>(p.key_dim);
  Part state;
  const Tensor &in = p.initial_state;
  if (in.present() && inside) {
    state.read(static_cast<const S *>(in.data) + state_offset(in, slot), in.stride[2], in.stride[3],
               key_dim, plan.aligned_in);
  } else {
    state.clear();
  }
  const Tensor &out = p.state_indices.present ? p.initial_state : p.final_state;
  const auto write_state = [&](int64_t entry) {
    with_state_type(out, state_offset(out, entry), [&](auto *memory) {
      state.write(memory, out.stride[2], out.stride[3], key_dim, plan.aligned_out);
    });
  };

  for (int64_t i = 0; i < span.length; ++i) {
    const int64_t t = span.begin + i;
    SharedToken<kKeyDim> &shared = tokens[kOne ? 0 : i & 1];
    give_token(shared, token, p, thread, lane, warp);
    const float v = from_bits(p.v.dtype, token.v);
    __syncthreads();
    const float4 gates = shared.gates;
    const Decay decay(gates.x, gates.y);
    const float beta = gates.z;
    if (!kOne && i + 1 < span.length) {
      token.load(p, span.batch, t + 1, at.h, at.key_head, v_column);
    }

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
    int64_t to = slot;
    bool wanted = kOne && out.present();
    if (p.slot_per_token()) {
      to = i < p.state_indices.columns
               ? checked_slot(p.state_indices.at(at.n, i), p.initial_state.shape[0])
               : -1;
      wanted = to >= 0;
    }
    if constexpr (kOne) {
      if (wanted && inside) {
        with_state_type(out, state_offset(out, to), [&](auto *memory) {
          state.update_and_write(decay, shared.k, update, memory, out.stride[2], out.stride[3],
                                 key_dim, plan.aligned_out);
        });
      }
    } else {
      state.update(decay, shared.k, update);
      if (wanted && inside) write_state(to);
    }
  }
  if (kOne || p.slot_per_token() || !out.present() || !inside) return;
  write_state(slot);
}

/// True if the rows (columns if rows_first) of a state all start on 16 bytes.
bool state_aligned(const Tensor &t, bool rows_first) {
  if (!t.present()) return true;
  if (reinterpret_cast<uintptr_t>(t.data) % 16 != 0) return false;
  const auto size = static_cast<int64_t>(dtype_size(t.dtype));
  for (int i = 0; i < 4; ++i) {
    const bool unit = i == (rows_first ? 2 : 3);
    if (!unit && t.shape[i] > 1 && t.stride[i] * size % 16 != 0) return false;
  }
  return true;
}

template <class S, int kChunks, bool kOne>
Status launch_recurrent(const DeltaRule &p, const Launch &l, bool rows_first) {
  constexpr int kColumns = StatePart<S, false, kChunks, kOne>::kColumns;
  RecurrentPlan plan;
  const auto tiles = static_cast<unsigned>((p.value_dim + kColumns - 1) / kColumns);
  plan.column_tiles = Divisor(tiles);
  plan.value_heads = Divisor(static_cast<unsigned>(p.heads.value_heads));
  plan.head_map =
      Divisor(static_cast<unsigned>(p.heads.interleaved ? p.heads.key_heads : p.heads.group()));
  plan.interleaved = p.heads.interleaved;
  plan.aligned_in = state_aligned(p.initial_state, rows_first);
  plan.aligned_out =
      p.state_indices.present ? plan.aligned_in : state_aligned(p.final_state, rows_first);
  const int64_t blocks = p.sequences.count * p.heads.value_heads * tiles;
  const char *name = "fused_recurrent_gated_delta_rule";
  if (rows_first) {
    return launch<recurrent_kernel<S, true, kChunks, kOne>>(name, l, blocks, kPartThreads, 0, p,
                                                            plan);
  }
  return launch<recurrent_kernel<S, false, kChunks, kOne>>(name, l, blocks, kPartThreads, 0, p,
                                                           plan);
}

template <class S>
Status launch_for(const DeltaRule &p, const Launch &l, bool rows_first) {
  constexpr int kOneHundred = sizeof(S) == 4 ? 2 : 1;  // Chunks of 128 rows.
  const bool one = !p.sequences.packed() && p.sequences.tokens == 1;
  if (p.key_dim > 128) return launch_recurrent<S, 2 * kOneHundred, false>(p, l, rows_first);
  if (one) return launch_recurrent<S, kOneHundred, true>(p, l, rows_first);
  return launch_recurrent<S, kOneHundred, false>(p, l, rows_first);
}

}  // namespace

Status fused_recurrent_gated_delta_rule(const DeltaRule &p, const Launch &l) {
  const Tensor &state = p.final_state.present() ? p.final_state : p.initial_state;
  const bool rows_first = state.present() && state.stride[3] != 1;
  const Tensor &read = p.initial_state.present() ? p.initial_state : p.final_state;
  return read.dtype == DType::bf16 ? launch_for<bf16>(p, l, rows_first)
                                   : launch_for<float>(p, l, rows_first);
}

}  // namespace gdn::cuda::sm80
