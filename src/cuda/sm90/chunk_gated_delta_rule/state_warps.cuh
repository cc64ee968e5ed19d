#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_STATE_WARPS_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_STATE_WARPS_CUH_

#include "cuda/sm90/chunk_gated_delta_rule/shared.cuh"

// A state warpgroup: S^T for 64 value columns in the accumulators of its 128 threads. A step is
//
//     [U, Q S] = S^T [K; Q]^T      one chain of eight products of 64 x 64
//     X = V - 2^c U
//     V' = T diag(beta) X          T in two parts
//     S^T <- 2^{c_last} S^T + (2^{c_last - c} V')^T K
//     O^T = scale 2^c (Q S)^T + V'^T (scale P)^T      P in two parts; beside the next step's first
//
// Barriers are waited for and branches taken only while no wgmma is in flight, and nothing is in
// flight across the loop's end: otherwise ptxas injects waits (C7517) or serialises every wgmma
// (C7514).

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

template <class F>
struct StateWarps {
  const DeltaRule &p;
  const Plan &plan;
  Shared<F> &s;
  const int group;  ///< Which 64 of the block's value columns.
  int half;         ///< Which 64 of the head's.
  const int warp, lane;
  const int cl = (lane & 3) * 2;
  Ring<F::kTiles> tile;
  Ring<F::kInputs> input;  ///< T; V of the step after is one further on.
  Ring<F::kAhead> ready;   ///< Of P as well.
  int o_buffer = 0;

  static constexpr int kFront = F::kOutput ? 32 : 16;

  __device__ __forceinline__ int64_t state_offset(const Tensor &t, int64_t entry, int head) const {
    return t.offset(entry, head, cl, half * 64 + warp * 16 + (lane >> 2));
  }

  __device__ __forceinline__ void write(const Tensor &t, int64_t entry, int head,
                                        const float (&x)[64]) const {
    if constexpr (F::kStraight) {
      write_state_as<float>(t, state_offset(t, entry, head), x);
    } else {
      write_state(t, state_offset(t, entry, head), x);
    }
  }

  /// checkpoint: its row, or with checkpoint_indices its number within the sequence.
  __device__ __forceinline__ void write_checkpoint(int64_t sequence, int64_t checkpoint, int head,
                                                   const float (&x)[64]) const {
    const bool named = p.checkpoint_indices.present;
    if (named) checkpoint = p.checkpoint_slot(sequence, checkpoint);
    if (checkpoint < 0 || (!named && checkpoint >= p.checkpoints.shape[0])) return;
    write(named ? p.final_state : p.checkpoints, checkpoint, head, x);
  }

  /// [U, Q S] of the step at the rings' place from S, rounded, in left; without O U alone.
  __device__ __forceinline__ void issue_front(float (&d)[kFront],
                                              const uint32_t (&left)[32]) const {
    const uint32_t kq = descriptor_base(s.kq[tile.i], 16);
    mma_fence();
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const uint64_t right = descriptor128(kq, (k >> 2) * Shared<F>::kKqHalfBytes + (k & 3) * 32);
      if constexpr (F::kOutput) {
        mma_rs_n64(d, left + 4 * k, right, k > 0);
      } else {
        mma_rs_n32<false>(d, left + 4 * k, right, k > 0);
      }
    }
    mma_commit();
  }

  /// Clears the rows of V at a place of its ring that lie past the sequence.
  __device__ __forceinline__ void clear_tail(int place, int rows) const {
    bf16 *const v = s.v[place] + group * kTileHalf;
    if (lane >= rows) {
      const int swizzle = swizzle128(lane);
      *reinterpret_cast<uint4 *>(&v[lane * kHalf + ((warp * 16) ^ swizzle)]) =
          make_uint4(0, 0, 0, 0);
      *reinterpret_cast<uint4 *>(&v[lane * kHalf + ((warp * 16 + 8) ^ swizzle)]) =
          make_uint4(0, 0, 0, 0);
    }
    __syncwarp();
  }

  /// V of a step, as accumulators lie.
  __device__ __forceinline__ void read_v(uint32_t (&vv)[8], uint32_t mask, int place) const {
    const bf16 *const v = s.v[place] + group * kTileHalf;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int r = j * 16 + (lane & 7) + ((lane >> 4) & 1) * 8;
      const int c = warp * 16 + ((lane >> 3) & 1) * 8;
      uint32_t(&quad)[4] = *reinterpret_cast<uint32_t(*)[4]>(vv + 4 * j);
      ldmatrix_trans(quad, &v[r * kHalf + (c ^ swizzle128(r))]);
      if constexpr (!F::kOutput) {
#pragma unroll
        for (int i = 0; i < 4; ++i) quad[i] &= mask;
      }
    }
  }

  __device__ __forceinline__ void read_decays(float2 (&e)[4], float &decay,
                                              const StepGates &g) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) e[j] = *reinterpret_cast<const float2 *>(&g.key_decay[j * 8 + cl]);
    decay = g.decay;
  }

  /// While issue_front() is in flight: S <- 2^{c_last} S unless this is past the last step. Then
  /// x = X^T as left operand, d[16 ..] = (Q S)^T.
  __device__ __forceinline__ void finish_front(float (&state)[64], float (&d)[kFront],
                                               uint32_t (&x)[8], const uint32_t (&vv)[8],
                                               const float2 (&e)[4], float decay, bool past) const {
    if (past) decay = 1.0F;
#pragma unroll
    for (int i = 0; i < 64; ++i) state[i] *= decay;
    mma_wait<0>();
    pin(d);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float2 a = unpack2<bf16>(vv[2 * j]), b = unpack2<bf16>(vv[2 * j + 1]);
      x[2 * j] = pack2<bf16>(a.x - e[j].x * d[4 * j], a.y - e[j].y * d[4 * j + 1]);
      x[2 * j + 1] = pack2<bf16>(b.x - e[j].x * d[4 * j + 2], b.y - e[j].y * d[4 * j + 3]);
    }
  }

  /// From X in x and (Q S)^T in d[16 ..]: z = V'^T, y = scale 2^c (Q S)^T. beside() is what else is
  /// done while the products are in flight.
  template <class Beside>
  __device__ __forceinline__ void solve(float (&z)[16], float (&y)[16], const uint32_t (&x)[8],
                                        const float (&d)[kFront], float2 (&end)[4],
                                        const StepGates &g, Beside beside) const {
    const uint32_t t = descriptor_base(s.t[input.i], 16);
    mma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      mma_rs_n32<true>(z, x + 4 * (k & 1), descriptor64(t, k * 1024), k > 0);
    }
    mma_commit();
#pragma unroll
    for (int j = 0; j < 4; ++j) end[j] = *reinterpret_cast<const float2 *>(&g.end[j * 8 + cl]);
    if constexpr (F::kOutput) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float2 e = *reinterpret_cast<const float2 *>(&g.query_decay[j * 8 + cl]);
        y[4 * j] = e.x * d[16 + 4 * j];
        y[4 * j + 1] = e.y * d[16 + 4 * j + 1];
        y[4 * j + 2] = e.x * d[16 + 4 * j + 2];
        y[4 * j + 3] = e.y * d[16 + 4 * j + 3];
      }
    }
    beside();
    mma_wait<0>();
    pin(z);
    if constexpr (F::kOutput) pin(y);
  }

  /// S^T in bf16 as left operand.
  static __device__ __forceinline__ void round_state(uint32_t (&left)[32],
                                                     const float (&state)[64]) {
#pragma unroll
    for (int i = 0; i < 32; ++i) left[i] = pack2<bf16>(state[2 * i], state[2 * i + 1]);
  }

  /// The state that comes into an item.
  __device__ __forceinline__ void read_first(float (&state)[64], const Item &item) const {
#pragma unroll
    for (int i = 0; i < 64; ++i) state[i] = 0.0F;
    const Tensor *from = &p.initial_state;
    int64_t entry = item.slot;
    bool any = p.reads_state(item.sequence);
    if constexpr (F::kSegments) {
      const Segments &all = plan.segments;
      const SegmentPlace &place = item.segment;
      if (item.identity) {
#pragma unroll
        for (int i = 0; i < 64; ++i) {
          const int key = (i >> 2) * 8 + cl + (i & 1);
          if (key == half * 64 + warp * 16 + (lane >> 2) + ((i >> 1) & 1) * 8) state[i] = 1.0F;
        }
        return;
      }
      if (F::kOutput) {
        if (!place.first || all.initial_copied) {
          from = place.first ? &all.transfers : &all.states;
          entry = place.first ? place.row : place.row - 1;
        }
        any = (any && place.first) || (!F::kWarm && !place.first);
      } else {
        any = any && place.first && item.skipped == 0;
      }
    }
    if (!any) return;
    if constexpr (F::kStraight) {
      read_state_as<float>(state, *from, state_offset(*from, entry, item.head));
    } else {
      read_state(state, *from, state_offset(*from, entry, item.head));
    }
  }

  /// The state that an item leaves.
  __device__ __forceinline__ void write_last(const float (&state)[64], int round) const {
    // Asked for again, since what is kept over the steps costs registers.
    const Item item = item_at(p, plan, s, item_index(round));
    if constexpr (!F::kOutput) {
      const Segments &all = plan.segments;
      write(item.identity ? all.transfers : all.states, item.segment.row, item.head, state);
    } else if (!F::kSegments || item.segment.last) {
      const int64_t to = p.final_slot(item.sequence);
      if (to >= 0) write(p.final_state, to, item.head, state);
    }
  }

  /// Zeros to the o of a skipped sequence.
  __device__ __forceinline__ void clear_output(const Item &item) const {
    for (int i = fresh_thread() & 127; i < item.length * 64; i += 128) {
      *p.o.at<bf16>(item.batch, item.begin + (i >> 6), item.head, half * 64 + (i & 63)) =
          from_float<bf16>(0.0F);
    }
  }

  __device__ __forceinline__ void run_item(const Item &item, int round) {
    float state[64], d[kFront], y[16], z[16];
    uint32_t x[8], vv[8], left[32];
    float2 e[4];
    float decay;
    read_first(state, item);
    // Without V its place is cleared as it is read.
    const uint32_t value_mask = item.identity ? 0U : 0xffffffffU;
    const int head = __shfl_sync(kFullWarp, item.head, 0);
    const int lead = F::kSegments || F::kStraight ? 0 : __shfl_sync(kFullWarp, item.lead, 0);
    const bool any = __shfl_sync(kFullWarp, item.length, 0) > 0;
    // From the open step's place on the grid on.
    int left_tokens = any ? __shfl_sync(kFullWarp, item.length, 0) + lead : 0;
    const int every =
        F::kOutput && !F::kStraight ? static_cast<int>(p.checkpoint_every) / kStep : 0;
    int until = every;       // Steps to the next checkpoint.
    int64_t checkpoint = 0;  // Its row, or with checkpoint_indices its number.
    if (every > 0) {
      if (p.checkpoints.present()) checkpoint = checkpoints_before(p, item.sequence, lane);
      if constexpr (F::kSegments) {  // A call with positions is not cut.
        until -= static_cast<int>(item.segment.offset % p.checkpoint_every) / kStep;
        checkpoint += item.segment.offset / p.checkpoint_every;
      } else {
        until -= static_cast<int>(p.phase(item.sequence, p.checkpoint_every)) / kStep;
      }
    }
    bool is_ready = false;  // Asked while products are in flight, so that the answer costs nothing.
    if (any) {
      wait(&s.ready[ready.i], ready.phase);  // It comes after the tiles of the next step.
      is_ready = true;
      const int valid = min(left_tokens, kStep) - lead;
      if (valid < kStep) clear_tail(input.i, valid);
      round_state(left, state);
      issue_front(d, left);
      read_v(vv, value_mask, input.i);
      read_decays(e, decay, s.gates[tile.i]);
      finish_front(state, d, x, vv, e, decay, false);
    }
    for (; left_tokens > 0; left_tokens -= kStep) {
      const uint32_t p_tile = descriptor_base(s.p[ready.i][0], 16);
      const uint32_t k_tile = descriptor_base(s.kq[tile.i], Shared<F>::kKqHalfBytes);
      bf16 *const o_tile = s.o[o_buffer][group];
      uint64_t *const done = &s.done[tile.i];
      const StepGates &g = s.gates[tile.i];
      const bool more = left_tokens > kStep;
      float2 end[4];
      if (!is_ready) wait(&s.ready[ready.i], ready.phase);
      if (more && left_tokens < 2 * kStep) {
        clear_tail((input.i + 1) % F::kInputs, left_tokens - kStep);
      }
      Ring<F::kTiles> next_tile = tile;
      Ring<F::kInputs> next_input = input;
      next_tile.next();
      next_input.next();
      solve(z, y, x, d, end, g, [&] {
        if constexpr (F::kOutput) return;  // There are no registers for it.
        read_v(vv, value_mask, next_input.i);
        read_decays(e, decay, s.gates[next_tile.i]);
      });
      input = next_input;
      tile = next_tile;
      ready.next();
      o_buffer ^= 1;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        x[2 * j] = pack2<bf16>(end[j].x * z[4 * j], end[j].y * z[4 * j + 1]);
        x[2 * j + 1] = pack2<bf16>(end[j].x * z[4 * j + 2], end[j].y * z[4 * j + 3]);
      }
      mma_fence();
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        mma_rs_n128(state, x + 4 * k, descriptor128(k_tile, k * 2048));
      }
      mma_commit();
      uint32_t o[8];
      if constexpr (F::kOutput) {
#pragma unroll
        for (int i = 0; i < 8; ++i) o[i] = pack2<bf16>(z[2 * i], z[2 * i + 1]);
        mma_fence();
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          mma_rs_n32<false>(y, o + 4 * (k & 1),
                            descriptor64(p_tile, (k >> 1) * sizeof(s.p[0][0]) + (k & 1) * 32),
                            true);
        }
        mma_commit();
      }
      is_ready = is_over(&s.ready[ready.i], ready.phase);
      mma_wait<F::kOutput ? 1 : 0>();
      pin(state);
      round_state(left, state);
      issue_front(d, left);
      if constexpr (F::kOutput) {
        mma_wait<1>();
        pin(y);
#pragma unroll
        for (int i = 0; i < 8; ++i) o[i] = pack2<bf16>(y[2 * i], y[2 * i + 1]);
#pragma unroll
        for (int j = 0; j < 4; j += 2) {
          bf16 *const to = &o_tile[(j * 8 + (lane & 7) + (lane >> 4) * 8) * kHalf +
                                   ((warp * 16 + ((lane >> 3) & 1) * 8) ^ swizzle128(lane))];
          stmatrix_trans(to, o[2 * j], o[2 * j + 1], o[2 * j + 2], o[2 * j + 3]);
        }
      }
      if constexpr (F::kOutput) {
        read_v(vv, value_mask, input.i);
        read_decays(e, decay, s.gates[tile.i]);
      }
      __syncwarp();
      arrive_if(kEveryLaneArrives || lane == 0, done);
      finish_front(state, d, x, vv, e, decay, !more || (!F::kStraight && until == 1));
      if constexpr (F::kStraight) continue;
      if (--until == 0) {
        until = every;
        if (left_tokens >= kStep) write_checkpoint(item.sequence, checkpoint, head, state);
        ++checkpoint;
        if (more) {
#pragma unroll
          for (int i = 0; i < 64; ++i) state[i] *= decay;
        }
      }
    }
    write_last(state, round);
  }

  __device__ __forceinline__ void run() {
    for (int round = 0; item_index(round) < plan.items; ++round) {
      const Item item = item_at(p, plan, s, item_index(round));
      half = item.half + group;
      if (item.slot < 0) {
        if constexpr (F::kOutput) clear_output(item);
      } else {
        run_item(item, round);
      }
    }
  }
};

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_STATE_WARPS_CUH_
