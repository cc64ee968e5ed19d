#ifndef GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_BLOCK_CUH_
#define GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_BLOCK_CUH_

#include "cuda/sm80/chunk_gated_delta_rule/shared.cuh"
#include "cuda/sm80/device/state.cuh"

// The work of a block and how its tiles come and go.

namespace gdn::cuda::sm80::chunk {

/// A sequence, a value head and value columns.
struct Item {
  int64_t n, h;
  int column, columns;  ///< First value column, and how many.
  SequenceSpan span;
  int64_t slot;  ///< Entry of the initial state; -1: the sequence is skipped.
};

__device__ __forceinline__ Item block_item(const DeltaRule &p, const Plan &plan) {
  Item item;
  const int64_t i = blockIdx.x;
  item.column = static_cast<int>(i % plan.column_blocks) * plan.warps * 16;
  item.columns = min(plan.warps * 16, static_cast<int>(p.value_dim) - item.column);
  const int64_t head_item = i / plan.column_blocks;
  item.h = head_item % p.heads.value_heads, item.n = head_item / p.heads.value_heads;
  item.span = clamped_span(p.sequences, item.n);
  item.slot = p.initial_slot(item.n);
  return item;
}

/// Zeros to the o of a skipped sequence.
template <class E>
__device__ void clear_output(const DeltaRule &p, const Item &item, int thread, int threads) {
  for (int64_t i = thread; i < item.span.length * item.columns; i += threads) {
    const int64_t t = i / item.columns;
    *p.o.at<E>(item.span.batch, item.span.begin + t, item.h, item.column + i - t * item.columns) =
        from_float<E>(0.0F);
  }
}

/// Writes the block's place; for one whole warp.
template <class E>
__device__ __forceinline__ void set_place(Place<E> &place, const DeltaRule &p, const Item &item,
                                          int lane) {
  int64_t checkpoint = 0;
  if (p.checkpoints.present()) checkpoint = checkpoints_before(p, item.n, lane);
  const SequenceSpan &span = item.span;
  const int64_t hk = p.heads.key_head(item.h);
  const int64_t lead = p.phase(item.n, kStep), begin = span.begin - lead;
  place.k = p.k.at<const E>(span.batch, begin, hk);
  place.q = p.q.at<const E>(span.batch, begin, hk);
  place.v = p.v.at<const E>(span.batch, begin, item.h, item.column);
  place.o = p.o.at<E>(span.batch, begin, item.h, item.column);
  place.n = item.n, place.batch = span.batch, place.begin = begin, place.h = item.h;
  place.final_slot = p.final_slot(item.n), place.checkpoint = checkpoint;
  place.passed = p.checkpoint_every > 0 ? p.phase(item.n, p.checkpoint_every) - lead : 0;
  place.column = item.column, place.columns = item.columns;
  place.lead = static_cast<int>(lead);
  const int64_t rows = span.length > 0 ? lead + span.length : 0;
  place.steps = static_cast<int>((rows + kStep - 1) / kStep);
  place.last_rows = static_cast<int>(rows - static_cast<int64_t>(place.steps - 1) * kStep);
}

/// Norms of 1, and zeros in the tiles' columns past the width.
template <class E, int kKeyDim>
__device__ __forceinline__ void clear_shared(Shared<E> &s, StepTiles<E, kKeyDim> *tiles,
                                             const Plan &plan, int key_dim, int threads) {
  constexpr int kLd = StepTiles<E, kKeyDim>::kLd;
  for (int i = threadIdx.x; i < kStep; i += threads) s.norm_k[i] = s.norm_q[i] = 1.0F;
  if (key_dim < kKeyDim) {
    for (int i = threadIdx.x; i < plan.stages * kStep * kKeyDim; i += threads) {
      const int row = i / kKeyDim, c = i % kKeyDim;
      StepTiles<E, kKeyDim> &t = tiles[row / kStep];
      if (c >= key_dim)
        t.k[row % kStep * kLd + c] = t.q[row % kStep * kLd + c] = from_float<E>(0.0F);
    }
  }
}

/// Starts the copies of step i's tiles; kLater: not the first one.
template <bool kWhole, bool kLater, class E, int kKeyDim>
__device__ __forceinline__ void load_step(StepTiles<E, kKeyDim> *tiles, const DeltaRule &p,
                                          const Plan &plan, const Place<E> &place, int i,
                                          int key_dim, int threads) {
  if (i >= place.steps) return;
  using Tiles = StepTiles<E, kKeyDim>;
  const int skipped = kLater ? 0 : place.skipped(i);
  const int64_t t = static_cast<int64_t>(i) * kStep + skipped;
  const int valid = place.rows(i) - skipped, thread = fresh_thread();
  Tiles &to = tiles[i % plan.stages];
  const auto load_keys = [&](E *tile, const E *from, const Tensor &tensor) {
    load_whole_tile<kStep, kKeyDim, kThreads<E>, kWhole>(
        tile, Tiles::kLd, from + t * tensor.stride[1], tensor.stride[1], valid, key_dim,
        plan.piece_qk, thread, threads);
  };
  load_keys(to.k, place.k, p.k);
  load_keys(to.q, place.q, p.q);
  load_whole_tile<kStep, kStateWarps<E> * 16, kThreads<E>, kWhole>(
      to.v, Tiles::kLdV, place.v + t * p.v.stride[1], p.v.stride[1], valid, place.columns,
      plan.piece_v, thread, threads);
  copy_commit();
}

/// Takes a warp's part of O of step i out of its 16 columns of V, and the state after the step to
/// its checkpoint, if it has one.
template <bool kWhole, class E, int kLdV, int kFragments>
__device__ __forceinline__ void store_step(const DeltaRule &p, const Plan &plan,
                                           const Place<E> &place, int i, const E *v,
                                           const float (&state)[kFragments][4], int key_dim,
                                           int warp) {
  const int skipped = place.skipped(i);
  const int64_t token = static_cast<int64_t>(i) * kStep + skipped;
  store_tile<kWhole>(place.o + token * p.o.stride[1] + warp * 16, p.o.stride[1], v, kLdV,
                     place.rows(i) - skipped, kWhole ? 16 : min(16, place.columns - warp * 16),
                     plan.piece_o, fresh_lane(), 32);
  if (p.checkpoint_every == 0) return;
  const int64_t passed = place.passed + static_cast<int64_t>(i + 1) * kStep;
  if (place.rows(i) == kStep && passed % p.checkpoint_every == 0) {
    const bool named = p.checkpoint_indices.present;
    int64_t entry = passed / p.checkpoint_every - 1;
    entry = named ? p.checkpoint_slot(place.n, entry) : place.checkpoint + entry;
    if (entry >= 0 && (named || entry < p.checkpoints.shape[0])) {
      store_state<kWhole>(named ? p.final_state : p.checkpoints, state, entry, place.h, key_dim,
                          place.column + warp * 16, fresh_lane());
    }
  }
}

}  // namespace gdn::cuda::sm80::chunk

#endif  // GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_BLOCK_CUH_
