#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_TRANSFER_STATE_WARPS_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_TRANSFER_STATE_WARPS_CUH_

#include "cuda/sm90/chunk_gated_delta_rule/step_operands.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/transfer_shared.cuh"

// A state warpgroup of a transfer: S^T for 64 columns in the accumulators of its 128 threads. With
// 1 and 2 for the first and second 32 tokens of a chunk it takes
//
//     [U1, U2] = S^T [K1; K2]^T      one chain of eight products of 64 x 64
//     X = V - 2^c U
//     V1' = T1 diag(beta) X1         T and A21 in two parts
//     V2' = T2 diag(beta) (X2 - A21 V1')
//     S^T <- 2^{c_last} S^T + (2^{c_last - c} V')^T K
//
// so that the longest products and what surrounds them are those of 64 tokens, while inverses are
// those of 32. Where keys of a chunk repeat, X and V' are taken in two parts, in a loop of its own.
// As in state_warps.cuh barriers are waited for and branches taken only while no wgmma
// is in flight.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

struct TransferStateWarps {
  const DeltaRule &p;
  const Plan &plan;
  TransferShared &s;
  const int half;  ///< Which 64 columns.
  const int warp, lane;
  const int cl = (lane & 3) * 2;
  Ring<kStages> stage;

  __device__ __forceinline__ int column() const { return half * 64 + warp * 16 + (lane >> 2); }

  /// Zero, the state that comes into a sequence, or the identity.
  __device__ __forceinline__ void read_first(float (&state)[64], const Item &item) const {
#pragma unroll
    for (int i = 0; i < 64; ++i) state[i] = 0.0F;
    if (item.identity) {
#pragma unroll
      for (int i = 0; i < 64; ++i) {
        const int key = (i >> 2) * 8 + cl + (i & 1);
        if (key == column() + ((i >> 1) & 1) * 8) state[i] = 1.0F;
      }
    } else if (item.segment.first && item.skipped == 0 && p.reads_state(item.sequence)) {
      const Tensor &from = p.initial_state;
      read_state(state, from, from.offset(item.slot, item.head, cl, column()));
    }
  }

  /// N, or M as segment_states.cu reads it.
  __device__ __forceinline__ void write_last(const float (&state)[64], int index) const {
    // Asked for again, since what is kept over the steps costs registers.
    const Item item = transfer_item(p, plan, index);
    const Segments &all = plan.segments;
    if (!item.identity) {
      write_state_as<float>(all.states,
                            all.states.offset(item.segment.row, item.head, cl, column()), state);
      return;
    }
    bf16 *const to =
        transfer_at(all, static_cast<int>(p.heads.value_heads), item.segment.row, item.head);
    const int key = opaque(cl), own = column();  // Else all places are kept over the steps.
#pragma unroll
    for (int i = 0; i < 64; i += 2) {
      const int place = transfer_place(own + ((i >> 1) & 1) * 8, (i >> 2) * 8 + key);
      const uint32_t high = pack2<bf16>(state[i], state[i + 1]);
      const float2 rounded = unpack2<bf16>(high);
      *reinterpret_cast<uint32_t *>(&to[place]) = high;
      *reinterpret_cast<uint32_t *>(&to[kDim * kDim + place]) =
          pack2<bf16>(state[i] - rounded.x, state[i + 1] - rounded.y);
    }
  }

  /// V of a step of the chunk at the ring's place.
  __device__ __forceinline__ void read_values(uint32_t (&vv)[8], uint32_t mask, int step) const {
    read_v(vv, &s.v[stage.i][half * kTileOfChunk + step * kTileHalf], warp, lane);
#pragma unroll
    for (uint32_t &x : vv) x &= mask;
  }

  /// Factors of a step's tokens, as accumulators lie.
  __device__ __forceinline__ void read_factors(float2 (&e)[4], const float *of_chunk,
                                               int step) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      e[j] = *reinterpret_cast<const float2 *>(&of_chunk[step * kStep + j * 8 + cl]);
    }
  }

  /// z (+)= x times a 32 x 32 tile in two parts. kCareful: x has a low part, to which the tile's
  /// high part is enough.
  template <bool kAdd, bool kCareful>
  static __device__ __forceinline__ void multiply(float (&z)[16], const uint32_t (&x)[8],
                                                  const uint32_t (&low)[8], const void *tile) {
    const uint32_t t = descriptor_base(tile, 16);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      mma_rs_n32<true>(z, x + 4 * (k & 1), descriptor64(t, k * 1024), kAdd || k > 0);
    }
    if constexpr (kCareful) {
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        mma_rs_n32<true>(z, low + 4 * k, descriptor64(t, k * 1024), true);
      }
    }
    mma_commit();
  }

  /// state += x times K of a step of a stage.
  template <bool kCareful>
  __device__ __forceinline__ void update(float (&state)[64], const uint32_t (&x)[8],
                                         const uint32_t (&low)[8], int at, int step) const {
    const uint32_t k_tile = descriptor_base(s.k[at], kTileOfChunk * 2);
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      mma_rs_n128(state, x + 4 * k, descriptor128(k_tile, (step * 2 + k) * 2048));
    }
    if constexpr (kCareful) {
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        mma_rs_n128(state, low + 4 * k, descriptor128(k_tile, (step * 2 + k) * 2048));
      }
    }
    mma_commit();
  }

  /// What a chunk leaves to the next.
  struct Carried {
    float state[64];
    float x1[16], x2[16];  ///< Of the chunk that comes.
    uint32_t x[8];         ///< X1 as left operand.
    bool repeats;          ///< Keys of the chunk that comes repeat.
  };

  /// U of the chunk at the ring's place, from which X1 in x and X2; S <- 2^{c_last} S unless this
  /// is past the last chunk. All in one, so that S is multiplied while the products are in flight.
  __device__ __forceinline__ void begin_chunk(Carried &c, uint32_t mask, bool past) const {
    const ChunkGates &g = s.gates[stage.i];
    uint32_t left[32], vv[8];
    float u[32];
    float2 e[4];
#pragma unroll
    for (int i = 0; i < 32; ++i) left[i] = pack2<bf16>(c.state[2 * i], c.state[2 * i + 1]);
    const uint32_t k_tile = descriptor_base(s.k[stage.i], 16);
    mma_fence();
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      mma_rs_n64(u, left + 4 * k, descriptor128(k_tile, (k >> 2) * kTileOfChunk * 2 + (k & 3) * 32),
                 k > 0);
    }
    mma_commit();
    read_values(vv, mask, 0);
    read_factors(e, g.key_decay, 0);
    float decay = g.decay;
    if (past) decay = 1.0F;
#pragma unroll
    for (int i = 0; i < 64; ++i) c.state[i] *= decay;
    mma_wait<0>();
    pin(u);
    subtract(c.x1, u, vv, e);
    round_all(c.x, c.x1);
    read_values(vv, mask, 1);
    read_factors(e, g.key_decay, 1);
    subtract(c.x2, u + 16, vv, e);
  }

  /// One chunk, up to X of the next. kCareful: X and V' in two parts. more: there is a next one;
  /// is_ready: it is known to be there.
  template <bool kCareful>
  __device__ __forceinline__ void run_chunk(Carried &c, uint32_t mask, bool more, bool &is_ready) {
    const ChunkGates &g = s.gates[stage.i];
    const auto &t = s.t[stage.i];
    uint64_t *const done = &s.done[stage.i];
    const int here = stage.i;
    uint32_t low[8], w[8], w_low[8];
    float z[16], scaled[16];
    float2 e[4];
    if constexpr (kCareful) round_rest(low, c.x1, c.x);
    stage.next();
    if (more && !is_ready) wait(&s.full[stage.i], stage.phase);
    mma_fence();
    multiply<false, kCareful>(z, c.x, low, t[0]);
    read_factors(e, g.end, 0);
    mma_wait<0>();
    pin(z);
    round_all(c.x, z);
    if constexpr (kCareful) round_rest(low, z, c.x);
    mma_fence();
    multiply<true, kCareful>(c.x2, c.x, low, t[2]);
    scale(scaled, z, e);
    round_all(w, scaled);
    if constexpr (kCareful) round_rest(w_low, scaled, w);
    mma_fence();
    update<kCareful>(c.state, w, w_low, here, 0);
    read_factors(e, g.end, 1);
    mma_wait<1>();
    pin(c.x2);
    round_all(c.x, c.x2);
    if constexpr (kCareful) round_rest(low, c.x2, c.x);
    mma_fence();
    multiply<false, kCareful>(z, c.x, low, t[1]);
    mma_wait<0>();
    pin(z);
    pin(c.state);
    scale(scaled, z, e);
    round_all(w, scaled);
    if constexpr (kCareful) round_rest(w_low, scaled, w);
    mma_fence();
    update<kCareful>(c.state, w, w_low, here, 1);
    Ring<kStages> after = stage;
    after.next();
    is_ready = is_over(&s.full[after.i], after.phase);
    mma_wait<0>();
    pin(c.state);
    __syncwarp();
    arrive_if(kEveryLaneArrives || lane == 0, done);
    c.repeats = more && s.repeats[stage.i].x != 0;
    begin_chunk(c, mask, !more);
  }

  __device__ __forceinline__ void run_item(const Item &item, int round) {
    Carried c;
    read_first(c.state, item);
    int chunks = __shfl_sync(kFullWarp, chunks_of(item), 0);
    // Without V its place is cleared as it is read.
    const uint32_t mask = item.identity ? 0U : 0xffffffffU;
    bool is_ready = false;  // Asked while products are in flight, so that the answer costs nothing.
    if (chunks > 0) {
      wait(&s.full[stage.i], stage.phase);
      c.repeats = s.repeats[stage.i].x != 0;
      begin_chunk(c, mask, false);
    }
    while (chunks > 0) {
      for (; chunks > 0 && !c.repeats; --chunks) run_chunk<false>(c, mask, chunks > 1, is_ready);
      for (; chunks > 0 && c.repeats; --chunks) run_chunk<true>(c, mask, chunks > 1, is_ready);
    }
    write_last(c.state, item_index(round));
  }

  __device__ __forceinline__ void run() {
    for (int round = 0; item_index(round) < plan.items; ++round) {
      const Item item = transfer_item(p, plan, item_index(round));
      if (item.slot >= 0) run_item(item, round);
    }
  }
};

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_TRANSFER_STATE_WARPS_CUH_
