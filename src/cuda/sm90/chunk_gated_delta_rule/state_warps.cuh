#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_STATE_WARPS_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_STATE_WARPS_CUH_

#include "cuda/sm90/chunk_gated_delta_rule/shared.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/step_operands.cuh"

// A state warpgroup: S^T for 64 value columns in the accumulators of its 128 threads. A step is
//
//     [U, Q S] = S^T [K; Q]^T      one chain of eight products of 64 x 64
//     X = V - 2^c U
//     V' = T diag(beta) X          T in two parts
//     S^T <- 2^{c_last} S^T + (2^{c_last - c} V')^T K
//     O^T = scale 2^c (Q S)^T + V'^T (scale P)^T      P in two parts; beside the next step's first
//
// A step whose keys repeat (solver_warps.cuh) takes X and V' in two parts as well, in code of its
// own: the loop of all other steps has to fit an instruction cache that all roles share.
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

  /// [U, Q S] of the step at the rings' place from S, rounded, in left.
  __device__ __forceinline__ void issue_front(float (&d)[32], const uint32_t (&left)[32]) const {
    const uint32_t kq = descriptor_base(s.kq[tile.i], 16);
    mma_fence();
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const uint64_t right = descriptor128(kq, (k >> 2) * Shared<F>::kKqHalfBytes + (k & 3) * 32);
      mma_rs_n64(d, left + 4 * k, right, k > 0);
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

  __device__ __forceinline__ void read_decays(float2 (&e)[4], float &decay,
                                              const StepGates &g) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) e[j] = *reinterpret_cast<const float2 *>(&g.key_decay[j * 8 + cl]);
    decay = g.decay;
  }

  /// While issue_front() is in flight: S <- 2^{c_last} S unless this is past the last step. Then
  /// d[16 ..] = (Q S)^T, exact = X^T, x = the same as left operand.
  __device__ __forceinline__ void finish_front(float (&state)[64], float (&d)[32],
                                               float (&exact)[16], uint32_t (&x)[8],
                                               const uint32_t (&vv)[8], const float2 (&e)[4],
                                               float decay, bool past) const {
    if (past) decay = 1.0F;
#pragma unroll
    for (int i = 0; i < 64; ++i) state[i] *= decay;
    mma_wait<0>();
    pin(d);
    subtract(exact, d, vv, e);
    round_all(x, exact);
  }

  /// z = V'^T from X in x. kCareful: X has a low part, to which T's high part is enough. Decays are
  /// read beside the products, but nobody may want them there.
  template <bool kCareful>
  __device__ __forceinline__ void solve(float (&z)[16], const uint32_t (&x)[8],
                                        const uint32_t (&low)[8], float2 (&end)[4],
                                        float2 (&query)[4]) const {
    const StepGates &g = s.gates[tile.i];
    const uint32_t t = descriptor_base(s.t[input.i], 16);
    mma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      mma_rs_n32<true>(z, x + 4 * (k & 1), descriptor64(t, k * 1024), k > 0);
    }
    if constexpr (kCareful) {
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        mma_rs_n32<true>(z, low + 4 * k, descriptor64(t, k * 1024), true);
      }
    }
    mma_commit();
#pragma unroll
    for (int j = 0; j < 4; ++j) end[j] = *reinterpret_cast<const float2 *>(&g.end[j * 8 + cl]);
    mma_wait<0>();
    pin(z);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      query[j] = *reinterpret_cast<const float2 *>(&g.query_decay[j * 8 + cl]);
    }
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
      if (!place.first || all.initial_copied) {
        from = place.first ? &all.transfers : &all.states;
        entry = place.first ? place.row : place.row - 1;
      }
      any = (any && place.first) || (!F::kWarm && !place.first);
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
    if (!F::kSegments || item.segment.last) {
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

  /// What a step leaves to the next.
  struct Carried {
    float state[64];
    float d[32];      ///< [U, Q S]^T of the step that comes,
    float exact[16];  ///< X^T, and
    uint32_t x[8];    ///< X^T as left operand.
    float decay;
  };

  /// What is known of the step that comes.
  struct Answers {
    bool is_ready;  ///< All that it waits for is there.
    bool is_plain;  ///< Its keys do not repeat.
  };

  /// One step from X, up to X of the next. kCareful: X and V' in two parts. `past`: S is not to
  /// decay, since no step comes or a checkpoint is due.
  template <bool kCareful>
  __device__ __forceinline__ Answers run_step(Carried &c, int left_tokens, bool past) {
    const uint32_t p_tile = descriptor_base(s.p[ready.i][0], 16);
    const uint32_t k_tile = descriptor_base(s.kq[tile.i], Shared<F>::kKqHalfBytes);
    bf16 *const o_tile = s.o[o_buffer][group];
    uint64_t *const done = &s.done[tile.i];
    uint32_t low[8], o[8], o_low[8], vv[8], left[32];
    float2 end[4], query[4], e[4];
    float w[16], y[16], z[16];
    if (left_tokens > kStep && left_tokens < 2 * kStep) {
      clear_tail((input.i + 1) % F::kInputs, left_tokens - kStep);
    }
    if constexpr (kCareful) round_rest(low, c.exact, c.x);
    solve<kCareful>(z, c.x, low, end, query);
    tile.next();
    input.next();
    ready.next();
    o_buffer ^= 1;
    scale(w, z, end);
    round_all(c.x, w);
    if constexpr (kCareful) round_rest(low, w, c.x);
    mma_fence();
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      mma_rs_n128(c.state, c.x + 4 * k, descriptor128(k_tile, k * 2048));
    }
    if constexpr (kCareful) {
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        mma_rs_n128(c.state, low + 4 * k, descriptor128(k_tile, k * 2048));
      }
    }
    mma_commit();
    scale(y, c.d + 16, query);
    round_all(o, z);
    if constexpr (kCareful) round_rest(o_low, z, o);
    mma_fence();
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      mma_rs_n32<false>(y, o + 4 * (k & 1),
                        descriptor64(p_tile, (k >> 1) * sizeof(s.p[0][0]) + (k & 1) * 32), true);
    }
    if constexpr (kCareful) {
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        mma_rs_n32<false>(y, o_low + 4 * k, descriptor64(p_tile, k * 32), true);
      }
    }
    mma_commit();
    // Asked while products are in flight, so that the answer costs nothing.
    const bool is_ready = is_over(&s.ready[ready.i], ready.phase);
    mma_wait<kCareful ? 0 : 1>();  // Low parts leave no registers for what is in flight.
    pin(c.state);
    if constexpr (kCareful) pin(y);
    round_state(left, c.state);
    issue_front(c.d, left);
    mma_wait<1>();
    pin(y);
    round_all(o, y);
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
      bf16 *const to = &o_tile[(j * 8 + (lane & 7) + (lane >> 4) * 8) * kHalf +
                               ((warp * 16 + ((lane >> 3) & 1) * 8) ^ swizzle128(lane))];
      stmatrix_trans(to, o[2 * j], o[2 * j + 1], o[2 * j + 2], o[2 * j + 3]);
    }
    read_v(vv, s.v[input.i] + group * kTileHalf, warp, lane);
    read_decays(e, c.decay, s.gates[tile.i]);
    // Here, since ptxas waits for it before the next product.
    const int answer = kEveryLaneArrives ? kUnknown : asked(s.repeats[ready.i]);
    __syncwarp();
    arrive_if(kEveryLaneArrives || lane == 0, done);
    finish_front(c.state, c.d, c.exact, c.x, vv, e, c.decay, past);
    return {is_ready, answer == 2 * ready.phase};
  }

  /// Waits until the step that comes is ready; whether its keys repeat.
  __device__ __forceinline__ bool repeats(Answers known) const {
    if (!known.is_ready) wait(&s.ready[ready.i], ready.phase);
    return !known.is_plain && (asked(s.repeats[ready.i]) & 1) != 0;
  }

  /// Asked for again, since what is kept over the steps costs registers.
  __device__ __forceinline__ int steps_of_checkpoint() const {
    return static_cast<int>(p.checkpoint_every) / kStep;
  }

  __device__ __forceinline__ void run_item(const Item &item, int round) {
    Carried c;
    read_first(c.state, item);
    const int head = __shfl_sync(kFullWarp, item.head, 0);
    const int sequence = static_cast<int>(item.sequence);
    const int lead = F::kSegments || F::kStraight ? 0 : __shfl_sync(kFullWarp, item.lead, 0);
    const bool any = __shfl_sync(kFullWarp, item.length, 0) > 0;
    // From the open step's place on the grid on.
    int left_tokens = any ? __shfl_sync(kFullWarp, item.length, 0) + lead : 0;
    int until = 0;           // Steps to the next checkpoint; 0: there are none.
    int64_t checkpoint = 0;  // Its row, or with checkpoint_indices its number.
    if (!F::kStraight && p.checkpoint_every > 0) {
      until = steps_of_checkpoint();
      if (p.checkpoints.present()) checkpoint = checkpoints_before(p, item.sequence, lane);
      if constexpr (F::kSegments) {  // A call with positions is not cut.
        until -= static_cast<int>(item.segment.offset % p.checkpoint_every) / kStep;
        checkpoint += item.segment.offset / p.checkpoint_every;
      } else {
        until -= static_cast<int>(p.phase(item.sequence, p.checkpoint_every)) / kStep;
      }
    }
    bool careful = false;
    if (any) {
      uint32_t vv[8], left[32];
      float2 e[4];
      careful = repeats({false, false});  // It comes after the tiles of the next step.
      const int valid = min(left_tokens, kStep) - lead;
      if (valid < kStep) clear_tail(input.i, valid);
      round_state(left, c.state);
      issue_front(c.d, left);
      read_v(vv, s.v[input.i] + group * kTileHalf, warp, lane);
      read_decays(e, c.decay, s.gates[tile.i]);
      finish_front(c.state, c.d, c.exact, c.x, vv, e, c.decay, false);
    }
    const auto past = [&] { return left_tokens <= kStep || (!F::kStraight && until == 1); };
    const auto end_step = [&] {  // With a checkpoint, if one is due.
      if constexpr (F::kStraight) return;
      if (--until == 0) {
        until = steps_of_checkpoint();
        if (left_tokens >= 0) write_checkpoint(sequence, checkpoint, head, c.state);
        ++checkpoint;
        if (left_tokens > 0) {
#pragma unroll
          for (int i = 0; i < 64; ++i) c.state[i] *= c.decay;
        }
      }
    };
    while (left_tokens > 0) {
      while (!careful) {
        const Answers known = run_step<false>(c, left_tokens, past());
        left_tokens -= kStep;
        if (left_tokens <= 0) {
          end_step();
          break;
        }
        if (!known.is_ready || !known.is_plain) careful = repeats(known);
        end_step();
      }
      while (left_tokens > 0 && careful) {
        const Answers known = run_step<true>(c, left_tokens, past());
        left_tokens -= kStep;
        careful = left_tokens > 0 && repeats(known);
        end_step();
      }
    }
    write_last(c.state, round);
  }

  __device__ __forceinline__ void run() {
    for (int round = 0; item_index(round) < plan.items; ++round) {
      const Item item = item_at(p, plan, s, item_index(round));
      half = item.half + group;
      if (item.slot < 0) {
        clear_output(item);
      } else {
        run_item(item, round);
      }
    }
  }
};

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_STATE_WARPS_CUH_
