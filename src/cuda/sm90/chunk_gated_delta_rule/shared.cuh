#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SHARED_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SHARED_CUH_

#include "core/delta_rule.h"
#include "cuda/device/inverse.cuh"
#include "cuda/device/sequences.cuh"
#include "cuda/sm90/device/operands.cuh"

// What the warps of the Hopper kernel share: the layout of shared memory, its barriers, and the
// walk over the block's work.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

constexpr int kStep = 32;  ///< Tokens a step.
constexpr int kDim = 128;  ///< DK and DV.
constexpr int kThreads = 512;
constexpr int kTileHalf = kStep * kHalf;  ///< Elements of 64 columns of a step.
constexpr int kKqHalf = 2 * kTileHalf;    ///< The same of K over Q.
constexpr int kKqHalfBytes = kKqHalf * 2;

// Depths of the rings. They fill shared memory. The product warpgroup is up to kAhead steps ahead
// of the state, which is what the solver needs.
constexpr int kTiles = 7;    ///< K, Q tiles and gates.
constexpr int kInputs = 4;   ///< V and T.
constexpr int kSolvers = 2;  ///< Solver warps, and buffers of A.
constexpr int kAhead = 5;    ///< P, and barriers of steps that are ready.

constexpr int kMaxSorted = 2048;  ///< Sequences that are taken longest first.

/// Gates and place of one step, a token a lane. Decays are in base 2; r is 1 / |k| or 1 / |q| under
/// l2norm, else 1.
struct alignas(16) StepGates {
  float row[kStep];          ///< c.
  float column[kStep];       ///< c - log2 r_k: a pair's factor is 2^(row - column), r_k included.
  float key_decay[kStep];    ///< 2^c r_k.
  float query_decay[kStep];  ///< scale 2^c r_q.
  float beta_row[kStep];     ///< beta r_k.
  float query_row[kStep];    ///< c + log2 (r_q |scale|).
  float beta[kStep];
  float end[kStep];  ///< 2^(c_last - c) r_k.
  float decay;       ///< 2^c_last.
  int valid;         ///< Tokens of the step.
  int token;         ///< The first.
  int first;         ///< The step begins a sequence.
  int batch, head;
};

struct Shared {
  bf16 kq[kTiles][2 * kKqHalf];          ///< [dk half][K rows 0..31, Q rows 32..63][64].
  bf16 v[kInputs][2 * kTileHalf];        ///< [dv half][token][64].
  bf16 t[kInputs][2][kStep * kStep];     ///< [high or low part][j]: column j of T diag(beta).
  bf16 o[2][2][kTileHalf];               ///< [buffer][dv half][token][64].
  bf16 p[kAhead][2][kStep * kStep];      ///< [high or low part]: scale P; rows of 64 bytes.
  float a[kSolvers][kStep][kInverseLd];  ///< Row c: column c of A.
  float raw[kTiles][2][kStep][4];        ///< g, beta of four heads as loaded.
  StepGates gates[kTiles];
  uint64_t tile_full[kTiles];  ///< K and Q have landed (under l2norm only).
  uint64_t raw_full[kTiles];   ///< Place written, raw gates landed.
  uint64_t kq_full[kTiles];    ///< K, Q and gates are there.
  uint64_t done[kTiles];       ///< The state has used the step's tiles, O is written.
  uint64_t a_full[kSolvers], a_empty[kSolvers];
  /// T and P of a step and V of the next are there, and so is room for O.
  uint64_t ready[kAhead];
  int total;                   ///< Steps of this block.
  uint16_t order[kMaxSorted];  ///< Sequences, longest first.
};

constexpr size_t kSharedBytes = sizeof(Shared) + 1024;  ///< With room to align.
static_assert(kSharedBytes <= 227 * 1024);

/// Waits until the state has used step n; at once if n < 0.
__device__ __forceinline__ void wait_done(Shared &s, int n) {
  if (n >= 0) wait(&s.done[n % kTiles], (n / kTiles) & 1);
}

/// What follows from shapes, strides and alignment.
struct Plan {
  int items;                  ///< Sequences times value heads.
  bool sorted;                ///< Take sequences longest first.
  bool tma_qk, tma_v, tma_o;  ///< Else ordinary accesses; the bits are the same.
  bool tma_gates;
};

/// One sequence of one value head.
struct Item {
  int64_t sequence;
  int64_t slot;  ///< Entry of the initial state; -1: the sequence is skipped.
  int head, key_head, batch, begin, length;
  int lead;  ///< Tokens of the first step's grid cell that were before the call.

  /// Steps lie on a grid of kStep tokens, counted from where the sequence began.
  __device__ __forceinline__ int steps() const {
    return slot < 0 ? 0 : (lead + length + kStep - 1) / kStep;
  }
};

/// The r-th item of this block: rounds over the grid run to and fro, so that a block with a long
/// sequence in one round has a short one in the next. >= plan.items: there is none.
__device__ __forceinline__ int item_index(int round) {
  const int grid = static_cast<int>(gridDim.x), block = static_cast<int>(blockIdx.x);
  return round * grid + ((round & 1) != 0 ? grid - 1 - block : block);
}

__device__ __forceinline__ Item item_at(const DeltaRule &p, const Plan &plan, const Shared &s,
                                        int index) {
  const int heads = static_cast<int>(p.heads.value_heads), rank = index / heads;
  Item item;
  item.head = index - rank * heads;
  item.key_head = static_cast<int>(p.heads.key_head(item.head));
  item.sequence = plan.sorted ? s.order[rank] : rank;
  const SequenceSpan span = clamped_span(p.sequences, item.sequence);
  item.batch = static_cast<int>(span.batch);
  item.begin = static_cast<int>(span.begin);
  item.length = static_cast<int>(span.length);
  item.slot = p.initial_slot(item.sequence);
  item.lead = static_cast<int>(p.phase(item.sequence, kStep));
  return item;
}

/// Walks the steps of this block's items; skipped and empty sequences have none. For a whole warp:
/// positions go through shuffles, which tells ptxas that they are uniform.
struct Walk {
  int round = 0;
  int step = 0, steps = 0;
  int batch, begin, length, lead, head, key_head;

  /// First token of the step, from the sequence's begin, and how many.
  __device__ __forceinline__ int start() const { return max(step * kStep - lead, 0); }
  __device__ __forceinline__ int valid() const {
    return min((step + 1) * kStep - lead, length) - start();
  }

  __device__ __forceinline__ bool open(const DeltaRule &p, const Plan &plan, const Shared &s) {
    for (;; ++round) {
      // The last round may leave this block out; a later one never has an item then.
      const int index = item_index(round);
      if (index >= plan.items) return false;
      const Item item = item_at(p, plan, s, index);
      batch = __shfl_sync(kFullWarp, item.batch, 0);
      begin = __shfl_sync(kFullWarp, item.begin, 0);
      length = __shfl_sync(kFullWarp, item.length, 0);
      lead = __shfl_sync(kFullWarp, item.lead, 0);
      head = __shfl_sync(kFullWarp, item.head, 0);
      key_head = __shfl_sync(kFullWarp, item.key_head, 0);
      steps = __shfl_sync(kFullWarp, item.length > 0 ? item.steps() : 0, 0);
      step = 0;
      if (steps > 0) return true;
    }
  }
  __device__ __forceinline__ bool next(const DeltaRule &p, const Plan &plan, const Shared &s) {
    if (++step < steps) return true;
    ++round;
    return open(p, plan, s);
  }
};

/// Fills order (all threads) and total (the first warp). `lengths` is scratch memory.
__device__ __forceinline__ void plan_work(const DeltaRule &p, const Plan &plan, Shared &s,
                                          int *lengths, int thread) {
  if (plan.sorted) {
    const int count = static_cast<int>(p.sequences.count);
    for (int i = thread; i < count; i += kThreads) {
      lengths[i] = static_cast<int>(clamped_span(p.sequences, i).length);
    }
    __syncthreads();
    for (int i = thread; i < count; i += kThreads) {
      const int length = lengths[i];
      int rank = 0;
      for (int j = 0; j < count; ++j) {
        rank += lengths[j] > length || (lengths[j] == length && j < i) ? 1 : 0;
      }
      s.order[rank] = static_cast<uint16_t>(i);
    }
    __syncthreads();
  }
  if (thread < 32) {
    int sum = 0;
    for (int round = thread; item_index(round) < plan.items; round += 32) {
      const Item item = item_at(p, plan, s, item_index(round));
      if (item.length > 0) sum += item.steps();
    }
#pragma unroll
    for (int i = 16; i > 0; i >>= 1) sum += __shfl_xor_sync(kFullWarp, sum, i);
    if (thread == 0) s.total = sum;
  }
}

__device__ __forceinline__ void init_barriers(Shared &s) {
  for (int i = 0; i < kTiles; ++i) {
    barrier_init_warps(&s.tile_full[i], 1);
    barrier_init(&s.raw_full[i], 1);
    barrier_init_warps(&s.kq_full[i], 2);  // The loader and the gates.
    barrier_init_warps(&s.done[i], 8);     // The warps of the state.
  }
  for (int i = 0; i < kSolvers; ++i) {
    barrier_init_warps(&s.a_full[i], 2);
    barrier_init_warps(&s.a_empty[i], 1);
  }
  // The products, a solver and the loader.
  for (int i = 0; i < kAhead; ++i) barrier_init_warps(&s.ready[i], 6);
  barrier_init_fence();
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SHARED_CUH_
