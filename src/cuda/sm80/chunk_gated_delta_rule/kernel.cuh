#ifndef GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_KERNEL_CUH_
#define GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_KERNEL_CUH_

#include <algorithm>

#include "cuda/launch.h"
#include "cuda/sm80/chunk_gated_delta_rule/block.cuh"
#include "cuda/sm80/chunk_gated_delta_rule/product_warps.cuh"
#include "cuda/sm80/chunk_gated_delta_rule/solver_warp.cuh"
#include "cuda/sm80/chunk_gated_delta_rule/state_warps.cuh"

// The chunked forward for any GPU from Ampere on: one launch, no workspace.
//
// A block owns one sequence, one value head and up to 128 value columns, and walks the sequence in
// steps of 32 tokens. Each of its warps keeps S^T for 16 columns in registers, as accumulators that
// serve as left operands of the next product: nothing of the chain from state to state passes
// through shared memory. state_warps.cuh has a step's formulas, precision.cuh what types of
// elements do differently.
//
// A step has two phases. In the first each warp forms X and S^T Q^T; the first warp also inverts I
// + A, and meanwhile the others form A and P of the next step. The second is the rest, and the last
// warp computes the gates two steps ahead.

namespace gdn::cuda::sm80::chunk {

/// kWhole: DK and DV are multiples of 16, and every row starts on 16 bytes.
template <class E, int kKeyDim, bool kWhole>
__global__ void __launch_bounds__(kThreads<E>, kResidentBlocks<E, kKeyDim>)
    chunk_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Plan plan) {
  using Tiles = StepTiles<E, kKeyDim>;
  constexpr int kLd = Tiles::kLd, kLdV = Tiles::kLdV, kFragments = kKeyDim / 8;
  extern __shared__ __align__(16) unsigned char memory[];
  Shared<E> &s = *reinterpret_cast<Shared<E> *>(memory);
  auto *const tiles = reinterpret_cast<Tiles *>(memory + kTilesOffset<E>);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int warps = plan.warps, threads = warps * 32;
  const int key_dim = static_cast<int>(p.key_dim);

  const Item item = block_item(p, plan);
  if (item.slot < 0) {
    clear_output<E>(p, item, threadIdx.x, threads);
    return;
  }
  if (warp == 0) set_place(s.place, p, item, lane);
  float state[kFragments][4];
#pragma unroll
  for (int j = 0; j < kFragments; ++j) state[j][0] = state[j][1] = state[j][2] = state[j][3] = 0.0F;
  if (warp * 16 < item.columns && p.reads_state(item.n)) {
    load_state<kWhole>(state, p.initial_state, item.slot, item.h, key_dim, item.column + warp * 16,
                       lane);
  }
  clear_shared(s, tiles, plan, key_dim, threads);
  __syncthreads();

  const auto load = [&](int i, auto later) {
    load_step<kWhole, later>(tiles, p, plan, s.place, i, key_dim, threads);
  };
  constexpr std::false_type kFirst{};
  constexpr std::true_type kLater{};
  const auto products = [&](int i) {
    if (i < s.place.steps) form_products(p, s, i, tiles[i % plan.stages], warps);
  };
  if (warp == warps - 1) {
    form_gates<false>(p, s, 0);
    form_gates<true>(p, s, 1);
  }
  // With three stages A and P are formed a step ahead, else when their step comes.
  const bool early = plan.stages == 3;
  if (plan.stages > 1) load(0, kFirst);
  if (early) {
    load(1, kLater);
    copy_wait<0>();
    __syncthreads();
    products(0);
  }
  for (int i = 0; i < s.place.steps; ++i) {
    const StepGates &g = s.gates[i % 3];
    Tiles &t = tiles[i % plan.stages];
    const int warp = fresh_thread() >> 5;
    if (plan.stages == 1) {
      __syncthreads();  // The only stage is still being read.
      load(i, kFirst);
    }
    copy_wait<0>();
    __syncthreads();
    if (plan.stages > 1) load(i + plan.stages - 1, kLater);
    products(early ? i + 1 : i);
    if (!early) __syncthreads();
    if (warp == 0) invert(s, g, i & 1, fresh_lane());
    if (warp == warps - 1) form_gates<true>(p, s, i + 2);
    E *const v = t.v + warp * 16;
    float o[4][4];
    const Operand<E> x = project<kLd, kLdV>(o, state, g, t.k, t.q, v);
    __syncthreads();
    if (warp * 16 >= s.place.columns) continue;
    advance<kLd, kLdV>(state, o, x, s, g, i & 1, t.k, v);
    store_step<kWhole, E, kLdV>(p, plan, s.place, i, v, state, key_dim, warp);
  }

  const int at = fresh_thread() / 32 * 16;
  if (at < s.place.columns && s.place.final_slot >= 0) {
    store_state<kWhole>(p.final_state, state, s.place.final_slot, s.place.h, key_dim,
                        s.place.column + at, fresh_lane());
  }
}

/// What kWhole asks for.
inline bool is_whole(const DeltaRule &p) {
  return p.key_dim % 16 == 0 && p.value_dim % 16 == 0 && rows_aligned(p.q) && rows_aligned(p.k) &&
         rows_aligned(p.v) && rows_aligned(p.o);
}

/// Launches the kernel for element type E; key_dim <= kKeyDim.
template <class E, int kKeyDim, bool kWhole>
Status launch_kernel(const DeltaRule &p, const Launch &l) {
  Plan plan;
  const int value_tiles = whole_tiles(static_cast<int>(p.value_dim)) / 16;
  plan.column_blocks = (value_tiles + kStateWarps<E> - 1) / kStateWarps<E>;
  plan.warps = (value_tiles + plan.column_blocks - 1) / plan.column_blocks;
  plan.piece_qk = std::min(row_piece(p.q), row_piece(p.k));
  plan.piece_v = row_piece(p.v);
  plan.piece_o = row_piece(p.o);
  plan.stages = stages_within<E, kKeyDim>(static_cast<size_t>(l.device->shared_memory));
  const int64_t blocks = p.sequences.count * p.heads.value_heads * plan.column_blocks;
  return launch<chunk_kernel<E, kKeyDim, kWhole>>("chunk_gated_delta_rule", l, blocks,
                                                  plan.warps * 32,
                                                  shared_bytes<E, kKeyDim>(plan.stages), p, plan);
}

}  // namespace gdn::cuda::sm80::chunk

#endif  // GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_KERNEL_CUH_
