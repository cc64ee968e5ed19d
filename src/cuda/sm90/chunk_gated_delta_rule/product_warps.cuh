#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_PRODUCT_WARPS_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_PRODUCT_WARPS_CUH_

#include "cuda/sm90/chunk_gated_delta_rule/shared.cuh"

// The product warpgroup: everything that does not depend on the state.
//
//     [K; Q] K^T  one chain of eight products of 64 x 32: A out of rows 0..31 (warps 0 and 1),
//                 P out of rows 32..63 (warps 2 and 3)
//     W^T = K^T E with E of solver_warps.cuh, and scale P T diag(beta), kLag steps later,
//                 when the solver has made T
//
// While a wgmma is in flight there must be no wait on a barrier and no branch: ptxas would wait for
// the products there (C7517).

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

struct ProductWarps {
  Shared &s;
  const float scale;
  const int warp, lane;
  const int cl = (lane & 3) * 2;                 // First column of a pair of accumulators.
  const int r0 = (warp & 1) * 16 + (lane >> 2);  // Row of the first two accumulators.
  // Step n of K, Q, gates; step m = n - kLag; step m - kProducts, whose W the state must have used.
  Ring<kTiles> new_tile, old_tile, used_tile;
  Ring<kSolvers> a_ring, t_ring;
  Ring<kScores> p_write, p_read;
  Ring<kProducts> w_ring;

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
  __device__ __forceinline__ void clear_tail() {
    const int valid = s.gates[new_tile.i].valid;
    if (valid < kStep) {
#pragma unroll 1
      for (int i = opaque(warp * 32 + lane); i < 2 * 64 * 8; i += 128) {
        const int half = i >> 9, row = (i >> 3) & 63;
        if ((row & 31) >= valid) {
          *reinterpret_cast<uint4 *>(
              &s.kq[new_tile.i][half * kKqHalf + row * kHalf + (i & 7) * 8]) =
              make_uint4(0, 0, 0, 0);
        }
      }
      proxy_fence();
      named_barrier(3, 128);
    }
  }

  __device__ __forceinline__ void wait_tile() {
    wait(&s.kq_full[new_tile.i], new_tile.phase);
    clear_tail();
  }

  __device__ __forceinline__ void issue_kq(float (&kq)[16]) {
    const uint32_t base = descriptor_base(s.kq[new_tile.i], 16);
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const uint64_t d = descriptor128(base, (k >> 2) * kKqHalfBytes + (k & 3) * 32);
      mma_ss_n32<false>(kq, d, d, k > 0);
    }
    mma_commit();
  }

  __device__ __forceinline__ void issue_w(float (&w0)[16], float (&w1)[16]) {
    const uint32_t t = descriptor_base(s.t[t_ring.i], 16);
    const uint32_t k = descriptor_base(s.kq[old_tile.i], kKqHalfBytes);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      mma_ss_n32<true>(w0, descriptor128(k, i * 2048), descriptor128(t, i * 32), i > 0);
      mma_ss_n32<true>(w1, descriptor128(k, kKqHalfBytes + i * 2048), descriptor128(t, i * 32),
                       i > 0);
    }
    mma_commit();
  }

  /// Rows 32..63 of the accumulators are P T; the others hold nothing.
  __device__ __forceinline__ void issue_pt(float (&pt)[16]) {
    const uint32_t t = descriptor_base(s.t[t_ring.i] + 32, 8192);
    // The operand has 64 rows and starts a tile before P, whose rows are its second half.
    const uint32_t p = descriptor_base(s.p[p_read.i], 16) - sizeof(s.p[0]) / 16;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      mma_ss_n32_f16(pt, descriptor64(p, i * 32), descriptor128(t, i * 32), i > 0);
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

  /// A for the solver out of the first two warps' products of the new tile, P out of the others'.
  /// The solver wants A's diagonal too, for the lengths of keys.
  __device__ __forceinline__ void put_masked(const float (&kq)[16]) {
    const StepGates &g = s.gates[new_tile.i];
    const float b0 = g.beta_row[r0], b1 = g.beta_row[r0 + 8];
    if (warp < 2) {
      wait(&s.a_empty[a_ring.i], a_ring.phase ^ 1);
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
    } else {
      uint32_t p[8];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int c = j * 8 + cl;
        p[2 * j] = pack2<f16>(c <= r0 ? kq[4 * j] : 0.0F, c + 1 <= r0 ? kq[4 * j + 1] : 0.0F);
        p[2 * j + 1] =
            pack2<f16>(c <= r0 + 8 ? kq[4 * j + 2] : 0.0F, c + 1 <= r0 + 8 ? kq[4 * j + 3] : 0.0F);
      }
      put_rows(s.p[p_write.i], p);  // The proxy fence of publish() covers it before it is read.
    }
    new_tile.next();
    a_ring.next();
    p_write.next();
  }

  __device__ __forceinline__ void store_w(const float (&w0)[16], const float (&w1)[16]) {
    bf16 *const tile = &s.w[w_ring.i][((lane & 7) + (lane >> 4) * 8) * kHalf +
                                      ((warp * 16 + ((lane >> 3) & 1) * 8) ^ swizzle128(lane))];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float *d = half != 0 ? w1 : w0;
#pragma unroll
      for (int j = 0; j < 4; j += 2) {
        stmatrix_trans(tile + half * kTileHalf + j * 8 * kHalf, pack2<bf16>(d[4 * j], d[4 * j + 1]),
                       pack2<bf16>(d[4 * j + 2], d[4 * j + 3]),
                       pack2<bf16>(d[4 * j + 4], d[4 * j + 5]),
                       pack2<bf16>(d[4 * j + 6], d[4 * j + 7]));
      }
    }
  }

  __device__ __forceinline__ void store_pt(const float (&pt)[16]) {
    if (warp >= 2) {
      uint32_t x[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) x[i] = pack2<bf16>(scale * pt[2 * i], scale * pt[2 * i + 1]);
      put_rows(s.pt[w_ring.i], x);
    }
  }

  /// W and P T to the state, the T tile back to the solver. The fence waits for the stores, and for
  /// less long when the masks have been computed in between.
  __device__ __forceinline__ void publish() {
    proxy_fence();
    __syncwarp();
    if (kEveryLaneArrives || lane == 0) {
      arrive(&s.w_full[w_ring.i]);
      arrive(&s.t_empty[t_ring.i]);
    }
    w_ring.next();
    t_ring.next();
    old_tile.next();
    p_read.next();
  }

  __device__ __forceinline__ void wait_used(int n) {
    if (n - kLag >= kProducts) {
      wait(&s.done[used_tile.i], used_tile.phase);
      used_tile.next();
    }
  }

  __device__ __forceinline__ void run(int total) {
    float kq[16], pt[16], w0[16], w1[16];
    int n = 0;
    for (; n < min(kLag, total); ++n) {
      wait_tile();
      mma_fence();
      issue_kq(kq);
      mma_wait<0>();
      pin(kq);
      decay(kq);
      put_masked(kq);
    }
    proxy_fence();
    named_barrier(3, 128);
    for (; n < total; ++n) {
      wait(&s.t_full[t_ring.i], t_ring.phase);
      wait_used(n);
      mma_fence();
      issue_w(w0, w1);
      issue_pt(pt);
      wait_tile();
      mma_fence();
      issue_kq(kq);
      mma_wait<2>();
      pin(w0);
      pin(w1);
      store_w(w0, w1);
      mma_wait<1>();
      pin(pt);
      store_pt(pt);
      mma_wait<0>();
      pin(kq);
      decay(kq);
      publish();
      put_masked(kq);
    }
    proxy_fence();
    named_barrier(3, 128);
    for (; n < total + kLag; ++n) {
      if (n < kLag) continue;
      wait(&s.t_full[t_ring.i], t_ring.phase);
      mma_fence();
      issue_w(w0, w1);
      issue_pt(pt);
      mma_wait<0>();
      pin(w0);
      pin(w1);
      pin(pt);
      wait_used(n);
      store_w(w0, w1);
      store_pt(pt);
      publish();
    }
  }
};

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_PRODUCT_WARPS_CUH_
