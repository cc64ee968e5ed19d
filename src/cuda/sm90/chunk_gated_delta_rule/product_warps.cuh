#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_PRODUCT_WARPS_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_PRODUCT_WARPS_CUH_

#include "cuda/sm90/chunk_gated_delta_rule/shared.cuh"

// The product warpgroup: everything that does not depend on the state.
//
//     [K; Q] K^T  one chain of eight products of 64 x 32: A out of rows 0..31 (warps 0 and 1),
//                 P out of rows 32..63 (warps 2 and 3)
//
// While a wgmma is in flight there must be no wait on a barrier and no branch: ptxas would wait for
// the products there (C7517).

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

template <class F>
struct ProductWarps {
  Shared<F> &s;
  const uint32_t sign;  // Of the scale, as bits of a pair.
  const int warp, lane;
  const int cl = (lane & 3) * 2;                 // First column of a pair of accumulators.
  const int r0 = (warp & 1) * 16 + (lane >> 2);  // Row of the first two accumulators.
  // The step at work, and that whose P the state must have used.
  Ring<F::kTiles> new_tile, used_tile;
  Ring<F::kAhead> ready;
  Ring<Shared<F>::kSolvers> a_ring;
  Ring<F::kAhead> p_ring;

  /// 16 rows of a [32][32] tile with 64-byte rows: x[2 j] = (row lane / 4, columns 8 j + cl, + 1),
  /// x[2 j + 1] = row + 8.
  __device__ __forceinline__ void put_rows(void *tile, const uint32_t *x) {
    const int row = (warp & 1) * 16 + (lane & 15);
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
      bf16 *const to =
          static_cast<bf16 *>(tile) + row * kStep + ((j + (lane >> 4)) ^ swizzle64(row) / 8) * 8;
      stmatrix(to, x[2 * j], x[2 * j + 1], x[2 * j + 2], x[2 * j + 3]);
    }
  }

  /// Clears the rows of the new tile that lie past its sequence.
  __device__ __forceinline__ void clear_tail(int valid) {
    if (valid < kStep) {
#pragma unroll 1
      for (int i = opaque(warp * 32 + lane); i < 2 * 64 * 8; i += 128) {
        const int half = i >> 9, row = (i >> 3) & 63;
        if ((row & 31) >= valid) {
          *reinterpret_cast<uint4 *>(
              &s.kq[new_tile.i][half * Shared<F>::kKqHalf + row * kHalf + (i & 7) * 8]) =
              make_uint4(0, 0, 0, 0);
        }
      }
      proxy_fence();
      named_barrier(3, 128);
    }
  }

  /// `valid`: of its step if it is there already.
  __device__ __forceinline__ void wait_tile(bool is_there, int valid) {
    if (!is_there) {
      wait(&s.kq_full[new_tile.i], new_tile.phase);
      valid = s.gates[new_tile.i].valid;
    }
    clear_tail(valid);
  }

  __device__ __forceinline__ void issue_kq(float (&kq)[16]) {
    const uint32_t base = descriptor_base(s.kq[new_tile.i], 16);
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const uint64_t d = descriptor128(base, (k >> 2) * Shared<F>::kKqHalfBytes + (k & 3) * 32);
      mma_ss_n32(kq, d, d, k > 0);
    }
    mma_commit();
  }

  /// Decays of the new tile's products: of A in the first two warps, of P in the others. All loads
  /// come first: ptxas moves none over a store, and each would cost its latency in a chain.
  __device__ __forceinline__ void decay(float (&kq)[16]) {
    const StepGates &g = s.gates[new_tile.i];
    const float *const rows = warp < 2 ? g.row : g.query_row;
    const float c0 = rows[r0], c1 = rows[r0 + 8];
    float2 column[4];
#pragma unroll
    for (int j = 0; j < 4; ++j)
      column[j] = *reinterpret_cast<const float2 *>(&g.column[j * 8 + cl]);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      kq[4 * j] *= exp2_fast(c0 - column[j].x);
      kq[4 * j + 1] *= exp2_fast(c0 - column[j].y);
      kq[4 * j + 2] *= exp2_fast(c1 - column[j].x);
      kq[4 * j + 3] *= exp2_fast(c1 - column[j].y);
    }
  }

  /// A for the solver, a warp's rows.
  __device__ __forceinline__ void put_a(const float (&kq)[16], bool has_room) {
    const StepGates &g = s.gates[new_tile.i];
    const float b0 = g.beta_row[r0], b1 = g.beta_row[r0 + 8];
    if (!has_room) wait(&s.a_empty[a_ring.i], a_ring.phase ^ 1);
    float(*a)[kInverseLd] = s.a[a_ring.i];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (j < 2 * warp + 2) {  // Whole units above the diagonal are never read.
        const int c = j * 8 + cl;
        a[c][r0] = b0 * kq[4 * j];
        a[c + 1][r0] = b0 * kq[4 * j + 1];
        a[c][r0 + 8] = b1 * kq[4 * j + 2];
        a[c + 1][r0 + 8] = b1 * kq[4 * j + 3];
      }
    }
    __syncwarp();
    arrive_warp(lane == 0, &s.a_full[a_ring.i]);
  }

  /// Scale P, a warp's rows.
  __device__ __forceinline__ void put_p(const float (&kq)[16], const uint32_t (&mask)[8]) {
    // Above the diagonal decays may overflow: masked as bits.
    uint32_t high[8], low[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      high[i] = pack2<bf16>(kq[2 * i], kq[2 * i + 1]);
      const float2 rounded = unpack2<bf16>(high[i]);
      low[i] = (pack2<bf16>(kq[2 * i] - rounded.x, kq[2 * i + 1] - rounded.y) & mask[i]) ^ sign;
      high[i] = (high[i] & mask[i]) ^ sign;
    }
    // The proxy fence of publish() covers them before they are read.
    put_rows(s.p[p_ring.i][0], high);
    put_rows(s.p[p_ring.i][1], low);
  }

  /// A out of the first two warps' products of the new tile, P out of the others'.
  __device__ __forceinline__ void put_masked(const float (&kq)[16], const uint32_t (&mask)[8],
                                             bool has_room) {
    if (warp >= 2) {
      put_p(kq, mask);
    } else {
      put_a(kq, has_room);
    }
    new_tile.next();
    a_ring.next();
    p_ring.next();
  }

  /// P of a step to the state, by the warps that made it.
  __device__ __forceinline__ void publish(bool any) {
    proxy_fence_if(warp >= 2);
    __syncwarp();
    arrive_if(any && warp >= 2 && (kEveryLaneArrives || lane == 0), &s.ready[ready.i]);
    if (any) ready.next();
  }

  __device__ __forceinline__ void run(int total) {
    float kq[16];
    uint32_t mask[8];  // Of pairs of P.
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int row = r0 + (i & 1) * 8, c = (i >> 1) * 8 + cl;
      mask[i] = (c <= row ? 0xffffU : 0U) | (c + 1 <= row ? 0xffff0000U : 0U);
    }
    // Barriers are asked while products are in flight, so that most answers cost nothing.
    bool is_there = false, is_used = false, has_room = false;
    int valid = 0;
    for (int n = 0; n < total; ++n) {
      if (n >= F::kAhead) {
        if (!is_used) wait(&s.done[used_tile.i], used_tile.phase);
        used_tile.next();
      }
      wait_tile(is_there, valid);
      mma_fence();
      issue_kq(kq);
      publish(n > 0);
      Ring<F::kTiles> next = new_tile;
      next.next();
      is_there = is_over(&s.kq_full[next.i], next.phase);
      // Read whether it is there or not, and ignored if not: a branch would wait for the products.
      // The build for racecheck, which reports reads that nobody uses, takes the branch.
      if (!kEveryLaneArrives || is_there) valid = s.gates[next.i].valid;
      is_used = is_over(&s.done[used_tile.i], used_tile.phase);
      has_room = is_over(&s.a_empty[a_ring.i], a_ring.phase ^ 1);
      mma_wait<0>();
      pin(kq);
      decay(kq);
      put_masked(kq, mask, has_room);
    }
    publish(total > 0);
  }
};

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_PRODUCT_WARPS_CUH_
