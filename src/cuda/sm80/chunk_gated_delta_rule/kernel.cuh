#ifndef GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_KERNEL_CUH_
#define GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_KERNEL_CUH_

#include <algorithm>

#include "cuda/device/sequences.cuh"
#include "cuda/launch.h"
#include "cuda/sm80/chunk_gated_delta_rule/step.cuh"
#include "cuda/sm80/device/state.cuh"
#include "cuda/sm80/kernels.h"

// The fused forward for any GPU from Ampere on: one launch, no workspace.
//
// A block owns one sequence, one value head and up to 128 value columns, and walks the sequence in
// steps of 32 tokens. Each of its state warps keeps S^T for 16 columns in registers, as
// accumulators that serve as left operands of the next product: nothing of the chain from state to
// state passes through shared memory.
//
//     X^T  = V^T - (S^T K^T) diag(r e^c)          r: 1 / |k| under l2norm, else 1
//     V'^T = X^T (T diag(beta))^T                 T in two parts, so that it keeps f32's precision
//     O^T  = (S^T Q^T) diag(scale r_q e^c) + V'^T P^T
//     S^T <- e^{c_last} S^T + (V'^T diag(r e^{c_last - c})) K
//
// In bf16 V', P and the left operand of the update are in two parts as well; a product of two low
// parts, which f32 would round away, is left out.
//
// A step has two phases. In the first each warp forms X and S^T Q^T; the first warp also inverts I
// + A, and meanwhile the others form A and P of the next step. The second is the rest, and the last
// warp computes the gates two steps ahead.

namespace gdn::cuda::sm80 {

template <class E>
constexpr int kFusedThreads = kStateWarps<E> * 32;

/// What follows from shapes and alignment.
struct FusedPlan {
  int warps;          ///< Of a block; each holds 16 value columns.
  int column_blocks;  ///< Blocks that share a value head.
  int stages;         ///< Steps whose q, k, v fit into shared memory: 3, 2 or 1.
  bool aligned_qk, aligned_v, aligned_o;
};

/// Zeros to the o of a skipped sequence.
template <class E>
__device__ void clear_output(const DeltaRule &p, const SequenceSpan &span, int64_t h, int column,
                             int columns, int thread, int threads) {
  for (int64_t i = thread; i < span.length * columns; i += threads) {
    const int64_t t = i / columns;
    *p.o.at<E>(span.batch, span.begin + t, h, column + i - t * columns) = from_float<E>(0.0F);
  }
}

/// The first phase of a step: o = S^T Q^T; returns X^T. k, q: the step's tiles; v: the warp's 16
/// columns of V. One pass over the state: rounded to E and kept for a second, it would take half as
/// many registers again.
template <int kLd, int kLdV, class E, int kFragments>
__device__ __forceinline__ StepOperand<E> project(float (&o)[4][4],
                                                  const float (&state)[kFragments][4],
                                                  const StepGates &g, const E *k, const E *q,
                                                  const E *v) {
  const int lane = fresh_lane();
  float x[4][4] = {};
#pragma unroll
  for (int j = 0; j < 4; ++j) o[j][0] = o[j][1] = o[j][2] = o[j][3] = 0.0F;
#pragma unroll
  for (int j = 0; j < kFragments; j += 2) {
    LeftTile<E> a;
    left_from_accumulators(a, state[j], state[j + 1]);
    multiply_add<Right::n_major>(x[0], x[1], a, k + j * 8, kLd, lane);
    multiply_add<Right::n_major>(x[2], x[3], a, k + 16 * kLd + j * 8, kLd, lane);
    multiply_add<Right::n_major>(o[0], o[1], a, q + j * 8, kLd, lane);
    multiply_add<Right::n_major>(o[2], o[3], a, q + 16 * kLd + j * 8, kLd, lane);
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float values[2][4];
    accumulators_from_transposed(values[0], values[1], v + half * 16 * kLdV, kLdV, lane);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      float(&to)[4] = x[2 * half + j];
      const float2 f =
          *reinterpret_cast<const float2 *>(&g.key_decay[half * 16 + j * 8 + (lane & 3) * 2]);
#pragma unroll
      for (int e = 0; e < 4; ++e) to[e] = fmaf(-((e & 1) != 0 ? f.y : f.x), to[e], values[j][e]);
    }
  }
  return StepOperand<E>(x);
}

/// The second phase. k: the step's tile; v: the warp's 16 columns of V, which O replaces.
template <int kLd, int kLdV, class E, int kFragments>
__device__ __forceinline__ void advance(float (&state)[kFragments][4], float (&o)[4][4],
                                        const StepOperand<E> &x, const FusedShared<E> &s,
                                        const StepGates &g, int buffer, const E *k, E *v) {
  const int lane = fresh_lane();
  float u[4][4] = {};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const LeftTile<E> a = x.at(half);
    multiply_triangle(u, a, s.t_high, half, lane);
    if constexpr (sizeof(E) == 2) multiply_triangle(u, a, s.t_low, half, lane);
  }
  if constexpr (kNarrowRange<E>) scale_tokens(u, g.power, lane);
  // O <- (S^T Q^T) diag(scale r_q e^c) + V'^T P^T; add_half adds the product for 16 tokens of V'.
  const auto put_output = [&](auto add_half) {
    scale_tokens(o, g.query_decay, lane);
    add_half(0), add_half(1);
    __syncwarp();  // No other warp reads these columns of V.
    if constexpr (sizeof(E) == 2) {
      const StepOperand<E> out(o);
      store_transposed(v, kLdV, out.tile[0], lane);
      store_transposed(v + 16 * kLdV, kLdV, out.tile[1], lane);
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j) store_transposed(v + j * 8 * kLdV, kLdV, o[j], lane);
    }
  };
  if constexpr (kTwoParts<E>) {
    LeftTile<E> high, low;
    put_output([&](int half) {
      split(high, low, u, half);
      multiply_triangle(o, high, s.p[buffer], half, lane);
      multiply_triangle(o, high, s.p_low[buffer], half, lane);
      multiply_triangle(o, low, s.p[buffer], half, lane);
    });
    scale_tokens(u, g.to_end, lane);
    scale_all(state, g.decay);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      split(high, low, u, half);
#pragma unroll
      for (int j = 0; j < kFragments; j += 2) {
        multiply_add_parts<Right::k_major>(state[j], state[j + 1], high, low,
                                           k + half * 16 * kLd + j * 8, kLd, lane);
      }
    }
  } else {
    const auto update_state = [&](const StepOperand<E> &update) {
      scale_all(state, g.decay);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const LeftTile<E> a = update.at(half);
#pragma unroll
        for (int j = 0; j < kFragments; j += 2) {
          multiply_add<Right::k_major>(state[j], state[j + 1], a, k + half * 16 * kLd + j * 8, kLd,
                                       lane);
          if (kNarrowRange<E> && half == 1) {
#pragma unroll
            for (int e = 0; e < 4; ++e) state[j][e] *= g.undo, state[j + 1][e] *= g.undo;
          }
        }
      }
    };
    // Whichever order needs fewer registers.
    const StepOperand<E> values(u);
    const auto add_half = [&](int half) {
      multiply_triangle(o, values.at(half), s.p[buffer], half, lane);
    };
    if constexpr (sizeof(E) == 2) {
      scale_tokens(u, g.to_end, lane);
      const StepOperand<E> update(u);
      put_output(add_half);
      update_state(update);
    } else {
      put_output(add_half);
      scale_tokens(u, g.to_end, lane);
      update_state(StepOperand<E>(u));
    }
  }
  __syncwarp();
}

template <class E, int kKeyDim>
__global__ void __launch_bounds__(kFusedThreads<E>, kFusedBlocks<E, kKeyDim>)
    fused_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ FusedPlan plan) {
  extern __shared__ __align__(16) unsigned char memory[];
  FusedShared<E> &s = *reinterpret_cast<FusedShared<E> *>(memory);
  auto *const tiles =
      reinterpret_cast<StepTiles<E, kKeyDim> *>(memory + (sizeof(FusedShared<E>) + 15) / 16 * 16);

  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int warps = plan.warps, threads = warps * 32;
  const int key_dim = static_cast<int>(p.key_dim);
  const int64_t item = blockIdx.x;
  const int column = static_cast<int>(item % plan.column_blocks) * plan.warps * 16;
  const int columns = min(plan.warps * 16, static_cast<int>(p.value_dim) - column);
  const int64_t head_item = item / plan.column_blocks;
  const int64_t h = head_item % p.heads.value_heads, n = head_item / p.heads.value_heads;
  const SequenceSpan span = clamped_span(p.sequences, n);

  int64_t slot = n;
  if (p.state_indices.present) {
    slot = checked_slot(p.state_indices.at(n), p.initial_state.shape[0]);
    if (slot < 0) {
      clear_output<E>(p, span, h, column, columns, threadIdx.x, threads);
      return;
    }
  }
  if (warp == 0) {
    int64_t checkpoint = 0;
    if (p.checkpoint_every > 0) {
      checkpoint = units_before(p.sequences, n, p.checkpoint_every, false, lane);
    }
    const int64_t hk = p.heads.key_head(h);
    s.place.k = p.k.at<const E>(span.batch, span.begin, hk);
    s.place.q = p.q.at<const E>(span.batch, span.begin, hk);
    s.place.v = p.v.at<const E>(span.batch, span.begin, h, column);
    s.place.o = p.o.at<E>(span.batch, span.begin, h, column);
    s.place.batch = span.batch, s.place.begin = span.begin, s.place.h = h;
    s.place.slot = slot, s.place.checkpoint = checkpoint;
    s.place.column = column, s.place.columns = columns;
    s.place.steps = static_cast<int>((span.length + kStep - 1) / kStep);
    s.place.last_tokens =
        static_cast<int>(span.length - static_cast<int64_t>(s.place.steps - 1) * kStep);
  }
  constexpr int kFragments = kKeyDim / 8;
  float state[kFragments][4];
#pragma unroll
  for (int j = 0; j < kFragments; ++j) state[j][0] = state[j][1] = state[j][2] = state[j][3] = 0.0F;
  if (warp * 16 < columns && p.initial_state.present()) {
    load_state(state, p.initial_state, slot, h, key_dim, column + warp * 16, lane);
  }

  using Tiles = StepTiles<E, kKeyDim>;
  constexpr int kLd = Tiles::kLd, kLdV = Tiles::kLdV;
  const auto tiles_of = [&](int i) -> Tiles & { return tiles[i % plan.stages]; };
  const auto load_step = [&](int i) {
    if (i >= s.place.steps) return;
    const int64_t t = static_cast<int64_t>(i) * kStep;
    const int valid = s.place.tokens(i), thread = fresh_thread();
    Tiles &to = tiles_of(i);
    load_whole_tile<kStep, kKeyDim, kFusedThreads<E>>(to.k, kLd, s.place.k + t * p.k.stride[1],
                                                      p.k.stride[1], valid, key_dim,
                                                      plan.aligned_qk, thread, threads);
    load_whole_tile<kStep, kKeyDim, kFusedThreads<E>>(to.q, kLd, s.place.q + t * p.q.stride[1],
                                                      p.q.stride[1], valid, key_dim,
                                                      plan.aligned_qk, thread, threads);
    load_whole_tile<kStep, kStateWarps<E> * 16, kFusedThreads<E>>(
        to.v, kLdV, s.place.v + t * p.v.stride[1], p.v.stride[1], valid, s.place.columns,
        plan.aligned_v, thread, threads);
    copy_commit();
  };
  const auto form_gates = [&](int i) {
    float g = 0.0F, beta = 0.0F;
    const int lane = fresh_lane();
    if (i < s.place.steps && lane < s.place.tokens(i)) {
      const int64_t t = s.place.begin + static_cast<int64_t>(i) * kStep + lane;
      g = token_decay(p, s.place.batch, t, s.place.h);
      beta = token_beta(p, s.place.batch, t, s.place.h);
    }
    write_gates<E>(s.gates[i % 3], g, beta, p.scale, lane);
  };
  // A and P of step i, whose tiles have arrived.
  const auto form_products = [&](int i) {
    if (i >= s.place.steps) return;
    const Tiles &t = tiles_of(i);
    StepGates &g = s.gates[i % 3];
    const int lane = fresh_lane(), warp = fresh_thread() >> 5;
    if (p.qk_l2norm) {
      apply_norms(s, g, t, warp, warps, lane);
      __syncthreads();
    }
    // The first warp comes last: it has an inverse to find.
    for (int unit = warp == 0 ? warps - 1 : warp - 1; unit < kUnits; unit += warps) {
      masked_products(s, g, i & 1, t, p.scale, unit, lane);
    }
  };

  for (int i = threadIdx.x; i < kStep; i += threads) s.norm_k[i] = s.norm_q[i] = 1.0F;
  if (key_dim < kKeyDim) {
    for (int i = threadIdx.x; i < plan.stages * kStep * kKeyDim; i += threads) {
      const int row = i / kKeyDim, c = i % kKeyDim;
      Tiles &t = tiles[row / kStep];
      if (c >= key_dim)
        t.k[row % kStep * kLd + c] = t.q[row % kStep * kLd + c] = from_float<E>(0.0F);
    }
  }
  __syncthreads();
  if (warp == warps - 1) {
    form_gates(0);
    form_gates(1);
  }
  // With three stages A and P are formed a step ahead, else when their step comes.
  const bool early = plan.stages == 3;
  if (plan.stages > 1) load_step(0);
  if (early) {
    load_step(1);
    copy_wait<0>();
    __syncthreads();
    form_products(0);
  }
  for (int i = 0; i < s.place.steps; ++i) {
    const StepGates &g = s.gates[i % 3];
    Tiles &t = tiles_of(i);
    const int warp = fresh_thread() >> 5;
    if (plan.stages == 1) {
      __syncthreads();  // The only stage is still being read.
      load_step(i);
    }
    copy_wait<0>();
    __syncthreads();
    if (plan.stages > 1) load_step(i + plan.stages - 1);
    form_products(early ? i + 1 : i);
    if (!early) __syncthreads();
    if (warp == 0) invert(s, g, i & 1, fresh_lane());
    if (warp == warps - 1) form_gates(i + 2);
    E *const v = t.v + warp * 16;
    float o[4][4];
    const StepOperand<E> x = project<kLd, kLdV>(o, state, g, t.k, t.q, v);
    __syncthreads();
    if (warp * 16 >= s.place.columns) continue;
    advance<kLd, kLdV>(state, o, x, s, g, i & 1, t.k, v);
    const int64_t token = static_cast<int64_t>(i) * kStep;
    store_tile(s.place.o + token * p.o.stride[1] + warp * 16, p.o.stride[1], v, kLdV,
               s.place.tokens(i), 16, plan.aligned_o, fresh_lane(), 32);
    const int64_t done = token + kStep;
    if (p.checkpoint_every > 0 && s.place.tokens(i) == kStep && done % p.checkpoint_every == 0) {
      const int64_t row = s.place.checkpoint + done / p.checkpoint_every - 1;
      if (row < p.checkpoints.shape[0]) {
        store_state(p.checkpoints, state, row, s.place.h, key_dim, s.place.column + warp * 16,
                    fresh_lane());
      }
    }
  }

  const Tensor &out = p.state_indices.present ? p.initial_state : p.final_state;
  const int at = fresh_thread() / 32 * 16;
  if (at < s.place.columns && out.present()) {
    store_state(out, state, s.place.slot, s.place.h, key_dim, s.place.column + at, fresh_lane());
  }
}

/// Launches the kernel for element type E; key_dim <= kKeyDim.
template <class E, int kKeyDim>
Status launch_fused(const DeltaRule &p, const Launch &l) {
  FusedPlan plan;
  const int value_tiles = static_cast<int>(p.value_dim) / 16;
  plan.column_blocks = (value_tiles + kStateWarps<E> - 1) / kStateWarps<E>;
  plan.warps = (value_tiles + plan.column_blocks - 1) / plan.column_blocks;
  plan.aligned_qk = rows_aligned(p.q) && rows_aligned(p.k);
  plan.aligned_v = rows_aligned(p.v);
  plan.aligned_o = rows_aligned(p.o);
  plan.stages = fused_stages<E, kKeyDim>(static_cast<size_t>(l.device->shared_memory));
  const int64_t blocks = p.sequences.count * p.heads.value_heads * plan.column_blocks;
  return launch<fused_kernel<E, kKeyDim>>("chunk_gated_delta_rule", l, blocks, plan.warps * 32,
                                          fused_shared_bytes<E, kKeyDim>(plan.stages), p, plan);
}

// One file per type, so that they compile side by side.
Status fused_f32(const DeltaRule &p, const Launch &l);
Status fused_f32_wide(const DeltaRule &p, const Launch &l);  // DK over 128: slow to compile.
Status fused_bf16(const DeltaRule &p, const Launch &l);
Status fused_f16(const DeltaRule &p, const Launch &l);

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_KERNEL_CUH_
