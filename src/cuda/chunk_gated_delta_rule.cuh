#ifndef GDN_CUDA_CHUNK_GATED_DELTA_RULE_CUH_
#define GDN_CUDA_CHUNK_GATED_DELTA_RULE_CUH_

#include <algorithm>

#include "cuda/device/sequences.cuh"
#include "cuda/device/state.cuh"
#include "cuda/fused_step.cuh"
#include "cuda/launch.h"
#include "cuda/operations.h"

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
// The first warp also inverts I + A, the last one also computes the gates one step ahead.

namespace gdn::cuda {

constexpr int kColumns = 128;  ///< Most value columns of a block.
constexpr int kStateWarps = kColumns / 16;
constexpr int kFusedThreads = kStateWarps * 32;

/// What follows from shapes and alignment.
struct FusedPlan {
  int warps;          ///< Of a block; each holds 16 value columns.
  int column_blocks;  ///< Blocks that share a value head.
  int stages;         ///< Tiles of q, k, v in shared memory: 2 if they fit, else 1.
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

template <class E, int kKeyDim>
__global__ void __launch_bounds__(kFusedThreads, kKeyDim == 128 && sizeof(E) == 2 ? 2 : 1)
    fused_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ FusedPlan plan) {
  extern __shared__ __align__(16) unsigned char memory[];
  FusedShared<E> &s = *reinterpret_cast<FusedShared<E> *>(memory);
  E *const tiles = reinterpret_cast<E *>(memory + (sizeof(FusedShared<E>) + 15) / 16 * 16);

  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int warps = plan.warps, threads = warps * 32;
  const int key_dim = static_cast<int>(p.key_dim);
  const int64_t item = blockIdx.x;
  const int column = static_cast<int>(item % plan.column_blocks) * plan.warps * 16;
  const int columns = min(plan.warps * 16, static_cast<int>(p.value_dim) - column);
  const int64_t head_item = item / plan.column_blocks;
  const int64_t h = head_item % p.heads.value_heads, n = head_item / p.heads.value_heads;
  const int64_t hk = p.heads.key_head(h);
  const SequenceSpan span = clamped_span(p.sequences, n);

  int64_t slot = n;
  if (p.state_indices.present) {
    slot = checked_slot(p.state_indices.at(n), p.initial_state.shape[0]);
    if (slot < 0) {
      clear_output<E>(p, span, h, column, columns, threadIdx.x, threads);
      return;
    }
  }

  const bool is_state = warp * 16 < columns;
  const bool is_gate = warp == warps - 1;
  const int dv = column + warp * 16;
  constexpr int kFragments = kKeyDim / 8;
  float state[kFragments][4];
#pragma unroll
  for (int j = 0; j < kFragments; ++j) state[j][0] = state[j][1] = state[j][2] = state[j][3] = 0.0F;
  if (is_state && p.initial_state.present()) {
    load_state(state, p.initial_state, slot, h, key_dim, dv, lane);
  }
  int64_t checkpoint = 0;
  if (p.checkpoint_every > 0) {
    checkpoint = units_before(p.sequences, n, p.checkpoint_every, false, lane);
  }

  const int ld = padded<E>(key_dim), ldv = padded<E>(plan.warps * 16);
  const int stage_size = kStep * (2 * ld + ldv);
  const int64_t steps = (span.length + kStep - 1) / kStep;
  const auto tokens_of = [&](int64_t i) {
    return static_cast<int>(min(static_cast<int64_t>(kStep), span.length - i * kStep));
  };
  const auto load_step = [&](int64_t i, int stage) {
    const int64_t t = span.begin + i * kStep;
    const int valid = tokens_of(i);
    E *k = tiles + stage * stage_size, *q = k + kStep * ld, *v = q + kStep * ld;
    load_tile(k, ld, p.k.at<const E>(span.batch, t, hk), p.k.stride[1], kStep, valid, key_dim,
              plan.aligned_qk, threadIdx.x, threads);
    load_tile(q, ld, p.q.at<const E>(span.batch, t, hk), p.q.stride[1], kStep, valid, key_dim,
              plan.aligned_qk, threadIdx.x, threads);
    load_tile(v, ldv, p.v.at<const E>(span.batch, t, h, column), p.v.stride[1], kStep, valid,
              columns, plan.aligned_v, threadIdx.x, threads);
    copy_commit();
  };
  float next_g = 0.0F, next_beta = 0.0F;
  const auto fetch_gates = [&](int64_t i) {
    next_g = next_beta = 0.0F;
    if (i < steps && lane < tokens_of(i)) {
      const int64_t t = span.begin + i * kStep + lane;
      next_g = token_decay(p, span.batch, t, h);
      next_beta = token_beta(p, span.batch, t, h);
    }
  };
  for (int i = threadIdx.x; i < kStep; i += threads) s.norm_k[i] = s.norm_q[i] = 1.0F;
  if (is_gate) {
    fetch_gates(0);
    write_gates<E>(s.gates[0], next_g, next_beta, p.scale, lane);
    fetch_gates(1);
  }
  if (plan.stages == 2 && steps > 0) load_step(0, 0);

  for (int64_t i = 0; i < steps; ++i) {
    const int stage = plan.stages == 2 ? static_cast<int>(i & 1) : 0;
    if (plan.stages == 1) {
      __syncthreads();  // The only stage is still being read.
      load_step(i, 0);
    }
    copy_wait<0>();
    __syncthreads();
    if (plan.stages == 2 && i + 1 < steps) load_step(i + 1, stage ^ 1);
    const E *k = tiles + stage * stage_size, *q = k + kStep * ld;
    E *v = tiles + stage * stage_size + 2 * kStep * ld;
    StepGates &g = s.gates[i & 1];

    if (p.qk_l2norm) {
      apply_norms(s, g, k, q, ld, key_dim, warp, warps, lane);
      __syncthreads();
    }
    for (int unit = warp; unit < 8; unit += warps) {
      masked_products(s, g, k, q, ld, key_dim, p.scale, unit, lane);
    }
    __syncthreads();

    float u[4][4] = {}, o[4][4] = {};
    if (warp == 0) invert(s, g, lane);
    if (is_state) {
#pragma unroll
      for (int j = 0; j < kFragments; j += 2) {
        if (j * 8 < key_dim) {
          LeftTile<E> a;
          left_from_accumulators(a, state[j], state[j + 1]);
          multiply_add<Right::n_major>(u[0], u[1], a, k + j * 8, ld, lane);
          multiply_add<Right::n_major>(u[2], u[3], a, k + 16 * ld + j * 8, ld, lane);
          multiply_add<Right::n_major>(o[0], o[1], a, q + j * 8, ld, lane);
          multiply_add<Right::n_major>(o[2], o[3], a, q + 16 * ld + j * 8, ld, lane);
        }
      }
    }
    __syncthreads();

    if (is_gate) {
      write_gates<E>(s.gates[(i + 1) & 1], next_g, next_beta, p.scale, lane);
      fetch_gates(i + 2);
    }
    if (is_state) {
      LeftTile<E> left[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float x[2][4];
        accumulators_from_transposed(x[0], x[1], v + half * 16 * ldv + warp * 16, ldv, lane);
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const float2 f =
              *reinterpret_cast<const float2 *>(&g.key_decay[half * 16 + j * 8 + (lane & 3) * 2]);
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            x[j][e] = fmaf(-((e & 1) != 0 ? f.y : f.x), u[2 * half + j][e], x[j][e]);
          }
        }
        left_from_accumulators(left[half], x[0], x[1]);
      }
      scale_tokens(o, g.query_decay, lane);
#pragma unroll
      for (int j = 0; j < 4; ++j) u[j][0] = u[j][1] = u[j][2] = u[j][3] = 0.0F;
      multiply_triangle<E>(u, left, s.t_high, lane);
      if constexpr (sizeof(E) == 2) multiply_triangle<E>(u, left, s.t_low, lane);
      if constexpr (kNarrowRange<E>) scale_tokens(u, g.power, lane);
      left_from_accumulators(left[0], u[0], u[1]);
      left_from_accumulators(left[1], u[2], u[3]);
      multiply_triangle<E>(o, left, s.p, lane);

      // O replaces V, whose columns no other warp reads.
      __syncwarp();
#pragma unroll
      for (int j = 0; j < 4; ++j) store_transposed<E>(v + j * 8 * ldv + warp * 16, ldv, o[j], lane);

      scale_tokens(u, g.to_end, lane);
      if constexpr (kNarrowRange<E>) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
#pragma unroll
          for (int e = 0; e < 4; ++e) u[j][e] *= g.gain;
        }
      }
      left_from_accumulators(left[0], u[0], u[1]);
      left_from_accumulators(left[1], u[2], u[3]);
      float decay = g.decay;
      if constexpr (kNarrowRange<E>) decay *= g.gain;
#pragma unroll
      for (int j = 0; j < kFragments; j += 2) {
        if (j * 8 < key_dim) {
#pragma unroll
          for (int e = 0; e < 4; ++e) state[j][e] *= decay, state[j + 1][e] *= decay;
          multiply_add<Right::k_major>(state[j], state[j + 1], left[0], k + j * 8, ld, lane);
          multiply_add<Right::k_major>(state[j], state[j + 1], left[1], k + 16 * ld + j * 8, ld,
                                       lane);
          if constexpr (kNarrowRange<E>) {
            const float undo = 1.0F / g.gain;
#pragma unroll
            for (int e = 0; e < 4; ++e) state[j][e] *= undo, state[j + 1][e] *= undo;
          }
        }
      }
      __syncwarp();
      const int64_t t = span.begin + i * kStep;
      store_tile(p.o.at<E>(span.batch, t, h, dv), p.o.stride[1], v + warp * 16, ldv, tokens_of(i),
                 16, plan.aligned_o, lane, 32);
      if (p.checkpoint_every > 0) {
        const int64_t done = (i + 1) * kStep;
        if (done <= span.length && done % p.checkpoint_every == 0) {
          if (checkpoint < p.checkpoints.shape[0]) {
            store_state(p.checkpoints, state, checkpoint, h, key_dim, dv, lane);
          }
          ++checkpoint;
        }
      }
    }
  }

  const Tensor &out = p.state_indices.present ? p.initial_state : p.final_state;
  if (is_state && out.present()) store_state(out, state, slot, h, key_dim, dv, lane);
}

/// Launches the kernel for element type E; key_dim <= kKeyDim.
template <class E, int kKeyDim>
Status launch_fused(const DeltaRule &p, const Launch &l) {
  FusedPlan plan;
  const int value_tiles = static_cast<int>(p.value_dim) / 16;
  plan.column_blocks = (value_tiles + kStateWarps - 1) / kStateWarps;
  plan.warps = (value_tiles + plan.column_blocks - 1) / plan.column_blocks;
  plan.aligned_qk = rows_aligned(p.q) && rows_aligned(p.k);
  plan.aligned_v = rows_aligned(p.v);
  plan.aligned_o = rows_aligned(p.o);
  const int key_dim = static_cast<int>(p.key_dim), columns = plan.warps * 16;
  const auto limit = static_cast<size_t>(l.device->shared_memory);
  plan.stages = fused_shared_bytes<E>(key_dim, columns, 2) <= limit ? 2 : 1;
  const int64_t blocks = p.sequences.count * p.heads.value_heads * plan.column_blocks;
  return launch<fused_kernel<E, kKeyDim>>("chunk_gated_delta_rule", l, blocks, plan.warps * 32,
                                          fused_shared_bytes<E>(key_dim, columns, plan.stages), p,
                                          plan);
}

// One file per type, so that they compile side by side.
Status fused_f32(const DeltaRule &p, const Launch &l);
Status fused_f32_wide(const DeltaRule &p, const Launch &l);  // DK over 128: slow to compile.
Status fused_bf16(const DeltaRule &p, const Launch &l);
Status fused_f16(const DeltaRule &p, const Launch &l);

}  // namespace gdn::cuda

#endif  // GDN_CUDA_CHUNK_GATED_DELTA_RULE_CUH_
