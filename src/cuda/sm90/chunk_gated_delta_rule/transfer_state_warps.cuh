#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_TRANSFER_STATE_WARPS_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_TRANSFER_STATE_WARPS_CUH_

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
// those of 32. As in state_warps.cuh barriers are waited for and branches taken only while no wgmma
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

  /// V of a step, as accumulators lie.
  __device__ __forceinline__ void read_v(uint32_t (&vv)[8], uint32_t mask, int step) const {
    const bf16 *const v = &s.v[stage.i][half * kTileOfChunk + step * kTileHalf];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int r = j * 16 + (lane & 7) + ((lane >> 4) & 1) * 8;
      const int c = warp * 16 + ((lane >> 3) & 1) * 8;
      uint32_t(&quad)[4] = *reinterpret_cast<uint32_t(*)[4]>(vv + 4 * j);
      ldmatrix_trans(quad, &v[r * kHalf + (c ^ swizzle128(r))]);
#pragma unroll
      for (int i = 0; i < 4; ++i) quad[i] &= mask;
    }
  }

  /// Factors of a step's tokens, as accumulators lie.
  __device__ __forceinline__ void read_factors(float2 (&e)[4], const float *of_chunk,
                                               int step) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      e[j] = *reinterpret_cast<const float2 *>(&of_chunk[step * kStep + j * 8 + cl]);
    }
  }

  /// z (+)= x times a 32 x 32 tile in two parts.
  template <bool kAdd>
  static __device__ __forceinline__ void multiply(float (&z)[16], const uint32_t (&x)[8],
                                                  const void *tile) {
    const uint32_t t = descriptor_base(tile, 16);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      mma_rs_n32<true>(z, x + 4 * (k & 1), descriptor64(t, k * 1024), kAdd || k > 0);
    }
    mma_commit();
  }

  /// state += x times K of a step of a stage.
  __device__ __forceinline__ void update(float (&state)[64], const uint32_t (&x)[8], int at,
                                         int step) const {
    const uint32_t k_tile = descriptor_base(s.k[at], kTileOfChunk * 2);
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      mma_rs_n128(state, x + 4 * k, descriptor128(k_tile, (step * 2 + k) * 2048));
    }
    mma_commit();
  }

  static __device__ __forceinline__ void round_all(uint32_t (&to)[8], const float (&x)[16]) {
#pragma unroll
    for (int i = 0; i < 8; ++i) to[i] = pack2<bf16>(x[2 * i], x[2 * i + 1]);
  }
  static __device__ __forceinline__ void round_ends(uint32_t (&to)[8], const float (&x)[16],
                                                    const float2 (&e)[4]) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      to[2 * j] = pack2<bf16>(e[j].x * x[4 * j], e[j].y * x[4 * j + 1]);
      to[2 * j + 1] = pack2<bf16>(e[j].x * x[4 * j + 2], e[j].y * x[4 * j + 3]);
    }
  }

  /// x = V - 2^c U of a step.
  static __device__ __forceinline__ void subtract(float (&x)[16], const uint32_t (&vv)[8],
                                                  const float2 (&e)[4], const float *u) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float2 a = unpack2<bf16>(vv[2 * j]), b = unpack2<bf16>(vv[2 * j + 1]);
      x[4 * j] = a.x - e[j].x * u[4 * j];
      x[4 * j + 1] = a.y - e[j].y * u[4 * j + 1];
      x[4 * j + 2] = b.x - e[j].x * u[4 * j + 2];
      x[4 * j + 3] = b.y - e[j].y * u[4 * j + 3];
    }
  }

  /// U of the chunk at the ring's place, from which X1 in x and X2; S <- 2^{c_last} S unless this
  /// is past the last chunk. All in one, so that S is multiplied while the products are in flight.
  __device__ __forceinline__ void begin_chunk(float (&state)[64], uint32_t (&x)[8], float (&x2)[16],
                                              uint32_t mask, bool past) const {
    const ChunkGates &g = s.gates[stage.i];
    uint32_t left[32], vv[8];
    float u[32], x1[16];
    float2 e[4];
#pragma unroll
    for (int i = 0; i < 32; ++i) left[i] = pack2<bf16>(state[2 * i], state[2 * i + 1]);
    const uint32_t k_tile = descriptor_base(s.k[stage.i], 16);
    mma_fence();
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      mma_rs_n64(u, left + 4 * k, descriptor128(k_tile, (k >> 2) * kTileOfChunk * 2 + (k & 3) * 32),
                 k > 0);
    }
    mma_commit();
    read_v(vv, mask, 0);
    read_factors(e, g.key_decay, 0);
    float decay = g.decay;
    if (past) decay = 1.0F;
#pragma unroll
    for (int i = 0; i < 64; ++i) state[i] *= decay;
    mma_wait<0>();
    pin(u);
    subtract(x1, vv, e, u);
    round_all(x, x1);
    read_v(vv, mask, 1);
    read_factors(e, g.key_decay, 1);
    subtract(x2, vv, e, u + 16);
  }

  __device__ __forceinline__ void run_item(const Item &item, int round) {
    float state[64], x2[16];
    uint32_t x[8];
    read_first(state, item);
    int chunks = __shfl_sync(kFullWarp, chunks_of(item), 0);
    // Without V its place is cleared as it is read.
    const uint32_t mask = item.identity ? 0U : 0xffffffffU;
    bool is_ready = false;  // Asked while products are in flight, so that the answer costs nothing.
    if (chunks > 0) {
      wait(&s.full[stage.i], stage.phase);
      begin_chunk(state, x, x2, mask, false);
    }
    for (; chunks > 0; --chunks) {
      const ChunkGates &g = s.gates[stage.i];
      const auto &t = s.t[stage.i];
      uint64_t *const done = &s.done[stage.i];
      const int here = stage.i;
      const bool more = chunks > 1;
      uint32_t w[8];
      float z[16];
      float2 e[4];
      stage.next();
      if (more && !is_ready) wait(&s.full[stage.i], stage.phase);
      mma_fence();
      multiply<false>(z, x, t[0]);
      read_factors(e, g.end, 0);
      mma_wait<0>();
      pin(z);
      round_all(x, z);
      mma_fence();
      multiply<true>(x2, x, t[2]);
      round_ends(w, z, e);
      mma_fence();
      update(state, w, here, 0);
      read_factors(e, g.end, 1);
      mma_wait<1>();
      pin(x2);
      round_all(x, x2);
      mma_fence();
      multiply<false>(z, x, t[1]);
      mma_wait<0>();
      pin(z);
      pin(state);
      round_ends(w, z, e);
      mma_fence();
      update(state, w, here, 1);
      Ring<kStages> after = stage;
      after.next();
      is_ready = is_over(&s.full[after.i], after.phase);
      mma_wait<0>();
      pin(state);
      __syncwarp();
      arrive_if(kEveryLaneArrives || lane == 0, done);
      begin_chunk(state, x, x2, mask, !more);
    }
    write_last(state, item_index(round));
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
