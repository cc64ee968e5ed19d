#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SHARED_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SHARED_CUH_

#include "core/delta_rule.h"
#include "cuda/device/inverse.cuh"
#include "cuda/device/sequences.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segments.cuh"
#include "cuda/sm90/device/operands.cuh"

// What the warps of the Hopper kernel share: the layout of shared memory, its barriers, and the
// walk over the block's work.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

constexpr int kStep = 32;  ///< Tokens a step.
constexpr int kDim = 128;  ///< DK and DV.
constexpr int kThreads = 512;
constexpr int kTileHalf = kStep * kHalf;  ///< Elements of 64 columns of a step.

// The forms of the kernel: what a block has of a head's value columns, and depths of the rings,
// which fill shared memory. The product warpgroup is up to kAhead steps ahead of the state, which
// is what the solvers need. No form changes a bit of the results.

/// A block a head: two state warpgroups with 64 value columns each.
struct WholeHead {
  static constexpr bool kSegments = false;  ///< Items are segments of sequences (segments.h).
  static constexpr bool kStraight = false;  ///< See Straight.
  static constexpr bool kWarm = false;      ///< See WarmSegment.
  static constexpr int kGroups = 2;         ///< State warpgroups.
  static constexpr int kTiles = 7;          ///< K, Q tiles and gates.
  static constexpr int kInputs = 4;         ///< V and T.
  static constexpr int kSolvers = 2;        ///< Solver warps, and buffers of A.
  static constexpr int kAhead = 5;          ///< P, and barriers of steps that are ready.
  static constexpr int kMaxSorted = 2048;   ///< Sequences that are taken longest first.
};

/// Two blocks a head, each of which makes T and P for itself: for calls that leave multiprocessors
/// without a head. A step takes half as long, so that there are twice as many solvers.
struct HalfHead {
  static constexpr bool kSegments = false;
  static constexpr bool kStraight = false;
  static constexpr bool kWarm = false;
  static constexpr int kGroups = 1;
  static constexpr int kTiles = 7;
  static constexpr int kInputs = 6;
  static constexpr int kSolvers = 4;
  static constexpr int kAhead = 6;
  static constexpr int kMaxSorted = 1;  ///< Few sequences.
};

/// Segments from the states that come into them.
template <class Form>
struct SegmentOutput : Form {
  static constexpr bool kSegments = true;
  static constexpr int kMaxSorted = 0;
};

/// Segments that start from nothing, so many steps early that what came before them is forgotten.
struct WarmSegment : SegmentOutput<WholeHead> {
  static constexpr bool kWarm = true;
};

/// A form without what most calls do not need: all operands come and go by TMA, states are f32, and
/// there are no checkpoints and no positions (is_straight() in launch.cuh). Less code, since what
/// all roles execute and what lies between shares one instruction cache.
template <class Form>
struct Straight : Form {
  static constexpr bool kStraight = true;
};

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
  int warm;          ///< The step comes before its segment: its O belongs to the one before.
  int batch, head;
  int half;  ///< First half of the value columns that the block has.
};

template <class F>
struct Shared : F {
  using F::kAhead, F::kGroups, F::kInputs, F::kSolvers, F::kTiles;
  static constexpr int kMaxSorted = F::kMaxSorted > 0 ? F::kMaxSorted : 1;
  static constexpr int kKqHalf = 2 * kTileHalf;  ///< 64 columns of K over Q.
  static constexpr int kKqHalfBytes = kKqHalf * 2;

  bf16 kq[kTiles][2 * kKqHalf];          ///< [dk half][K rows 0..31, Q rows 32..63][64].
  bf16 v[kInputs][kGroups * kTileHalf];  ///< [dv half][token][64].
  bf16 t[kInputs][2][kStep * kStep];     ///< [high or low part][j]: column j of T diag(beta).
  bf16 o[2][kGroups][kTileHalf];         ///< [buffer][dv half][token][64].
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
  /// Keys of a step repeat (solver_warps.cuh): 1, and 2 in odd rounds of the ring, which tells
  /// whose answer it is to who asks before the step is ready.
  int repeats[kAhead];
  int total;                   ///< Steps of this block.
  uint16_t order[kMaxSorted];  ///< Sequences, longest first.
};

/// With room to align.
template <class F>
constexpr size_t kSharedBytes = sizeof(Shared<F>) + 1024;
static_assert(kSharedBytes<WholeHead> <= 227 * 1024 && kSharedBytes<HalfHead> <= 227 * 1024);

/// What lies in Shared::repeats while it may be written.
__device__ __forceinline__ int asked(const int &repeats) {
  return *static_cast<const volatile int *>(&repeats);
}
constexpr int kUnknown = -1;

/// Waits until the state has used step n; at once if n < 0.
template <class F>
__device__ __forceinline__ void wait_done(Shared<F> &s, int n) {
  if (n >= 0) wait(&s.done[n % F::kTiles], (n / F::kTiles) & 1);
}

/// What follows from shapes, strides and alignment.
struct Plan {
  int items;                  ///< Work items of the call.
  bool sorted;                ///< Take sequences longest first.
  bool tma_qk, tma_v, tma_o;  ///< Else ordinary accesses; the bits are the same.
  bool tma_gates;
  Segments segments;
};

/// One sequence or segment of one value head, or half of its columns.
struct Item {
  int64_t sequence;
  int64_t slot;  ///< Entry of the initial state; -1: the sequence is skipped.
  int head, key_head, half, batch, begin, length;
  int lead;              ///< Tokens of the first step's grid cell that were before the call.
  SegmentPlace segment;  ///< Where items are segments.
  int skipped;           ///< Steps of the segment before the item.
  int warm;              ///< Steps of the item before its segment.
  bool identity;         ///< The state starts as the identity and V is zero.

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

/// An item that is a segment: the rank-th of the call, or, of a transfer, twice as many: how the
/// segments act on nothing first, then on the identity. Those that nobody asks for are skipped, and
/// so are steps whose effect is forgotten.
__device__ __forceinline__ Item segment_item(const DeltaRule &p, const Plan &plan, Item item,
                                             int rank, bool transfer) {
  const Segments &all = plan.segments;
  item.identity = rank >= all.count;
  item.segment = find_segment(p.sequences, all, item.identity ? rank - all.count : rank);
  const SegmentPlace &place = item.segment;
  item.key_head = static_cast<int>(p.heads.key_head(item.head));
  item.sequence = place.sequence;
  item.batch = item.begin = item.length = item.lead = item.skipped = 0;
  item.slot = -1;
  if (place.sequence < 0 || (transfer && (place.last || (item.identity && place.first))))
    return item;
  const int start = transfer ? all.starts[place.row * p.heads.value_heads + item.head] : kRemembers;
  if (item.identity && start != kRemembers) return item;
  item.skipped = max(start, 0) / 2 * 2;  // Transfers take two steps at a time.
  const int offset = place.offset + item.skipped * kStep;
  const SequenceSpan span = clamped_span(p.sequences, place.sequence);
  item.batch = static_cast<int>(span.batch);
  item.begin = static_cast<int>(span.begin + offset);
  item.length = static_cast<int>(
      min(span.length - offset, static_cast<int64_t>(all.length - item.skipped * kStep)));
  item.slot = p.initial_slot(place.sequence);
  return item;
}

/// Steps that a segment starts early, so that it needs no state: those that the segment before it
/// needs for N.
__device__ __forceinline__ int warm_steps(const Segments &all, int heads, int row, int head) {
  return all.length / kStep - all.starts[(row - 1) * heads + head];
}

template <class F>
__device__ __forceinline__ Item item_at(const DeltaRule &p, const Plan &plan, const Shared<F> &s,
                                        int index) {
  constexpr int kBlocks = 2 / F::kGroups;
  const int blocks = static_cast<int>(p.heads.value_heads) * kBlocks, rank = index / blocks;
  const int block = index - rank * blocks;
  Item item;
  item.head = block / kBlocks;
  item.half = block % kBlocks;
  if constexpr (F::kSegments) item = segment_item(p, plan, item, rank, false);
  if constexpr (F::kWarm) {
    item.warm = 0;
    if (item.slot >= 0 && !item.segment.first) {
      item.warm = warm_steps(plan.segments, blocks, rank, item.head);
      item.begin -= item.warm * kStep;
      item.length += item.warm * kStep;
    }
  }
  if constexpr (F::kSegments) return item;
  item.key_head = static_cast<int>(p.heads.key_head(item.head));
  item.sequence = F::kMaxSorted > 0 && plan.sorted ? s.order[rank] : rank;
  const SequenceSpan span = clamped_span(p.sequences, item.sequence);
  item.batch = static_cast<int>(span.batch);
  item.begin = static_cast<int>(span.begin);
  item.length = static_cast<int>(span.length);
  item.slot = p.initial_slot(item.sequence);
  item.lead = F::kStraight ? 0 : static_cast<int>(p.phase(item.sequence, kStep));
  return item;
}

/// Walks the steps of this block's items; skipped and empty sequences have none. For a whole warp:
/// positions go through shuffles, which tells ptxas that they are uniform.
template <class F>
struct Walk {
  int round = 0;
  int step = 0, steps = 0;
  int batch, begin, length, lead, head, key_head, half;
  int row;      ///< Of a segment.
  int skipped;  ///< Steps of the segment before the item.
  int warm;     ///< Steps before the segment.

  /// First token of the step, from the sequence's begin, and how many.
  __device__ __forceinline__ int start() const { return max(step * kStep - lead, 0); }
  __device__ __forceinline__ int valid() const {
    return min((step + 1) * kStep - lead, length) - start();
  }

  __device__ __forceinline__ bool open(const DeltaRule &p, const Plan &plan, const Shared<F> &s) {
    for (;; ++round) {
      // The last round may leave this block out; a later one never has an item then.
      const int index = item_index(round);
      if (index >= plan.items) return false;
      const Item item = item_at(p, plan, s, index);
      batch = __shfl_sync(kFullWarp, item.batch, 0);
      begin = __shfl_sync(kFullWarp, item.begin, 0);
      length = __shfl_sync(kFullWarp, item.length, 0);
      lead = F::kSegments || F::kStraight ? 0 : __shfl_sync(kFullWarp, item.lead, 0);
      head = __shfl_sync(kFullWarp, item.head, 0);
      key_head = __shfl_sync(kFullWarp, item.key_head, 0);
      half = __shfl_sync(kFullWarp, item.half, 0);
      if constexpr (F::kSegments) {
        row = __shfl_sync(kFullWarp, item.segment.row, 0);
        skipped = __shfl_sync(kFullWarp, item.skipped, 0);
      }
      if constexpr (F::kWarm) warm = __shfl_sync(kFullWarp, item.warm, 0);
      steps = __shfl_sync(kFullWarp, item.length > 0 ? item.steps() : 0, 0);
      step = 0;
      if (steps > 0) return true;
    }
  }
  __device__ __forceinline__ bool next(const DeltaRule &p, const Plan &plan, const Shared<F> &s) {
    if (++step < steps) return true;
    ++round;
    return open(p, plan, s);
  }
};

/// Fills order (all threads) and total (the first warp). `lengths` is scratch memory.
template <class F>
__device__ __forceinline__ void plan_work(const DeltaRule &p, const Plan &plan, Shared<F> &s,
                                          int *lengths, int thread) {
  if (F::kMaxSorted > 0 && plan.sorted) {
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

template <class F>
__device__ __forceinline__ void init_barriers(Shared<F> &s) {
  for (int i = 0; i < F::kTiles; ++i) {
    barrier_init_warps(&s.tile_full[i], 1);
    barrier_init(&s.raw_full[i], 1);
    barrier_init_warps(&s.kq_full[i], 2);            // The loader and the gates.
    barrier_init_warps(&s.done[i], 4 * F::kGroups);  // The warps of the state.
  }
  for (int i = 0; i < F::kSolvers; ++i) {
    barrier_init_warps(&s.a_full[i], 2);
    barrier_init_warps(&s.a_empty[i], 1);
  }
  // The loaders, those products that make P, and a solver.
  constexpr int kReady = F::kGroups == 2 ? 4 : 5;
  for (int i = 0; i < F::kAhead; ++i) {
    barrier_init_warps(&s.ready[i], kReady);
    s.repeats[i] = 2;
  }
  barrier_init_fence();
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SHARED_CUH_
