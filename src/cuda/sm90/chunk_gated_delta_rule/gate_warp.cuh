#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_GATE_WARP_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_GATE_WARP_CUH_

#include "cuda/sm90/chunk_gated_delta_rule/shared.cuh"

// The gate warp: a lane a token.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

/// Piece i of row `row` (0..63) of a [K; Q] tile.
template <class F>
__device__ __forceinline__ uint4 *piece_of(bf16 *tile, int row, int i) {
  return reinterpret_cast<uint4 *>(tile + (i >> 3) * Shared<F>::kKqHalf + row * kHalf +
                                   ((i & 7) ^ swizzle128(row) / 8) * 8);
}

/// Multiplies a row whose norm is far from 1 by a power of two; returns 1 / |row| of what then lies
/// there.
template <class F>
__device__ __forceinline__ float rescale_row(bf16 *tile, int row) {
  uint32_t most = 0;  // As bits, whose order is that of magnitudes.
#pragma unroll 1
  for (int i = 0; i < 64; ++i) {
    const uint32_t x = reinterpret_cast<const uint32_t *>(piece_of<F>(tile, row, i >> 2))[i & 3];
    most = max(most, max(x & 0x7fffu, x >> 16 & 0x7fffu));
  }
  const float scale = row_scale(__uint_as_float(most << 16));
  float sum = 0.0F;
#pragma unroll 1
  for (int i = 0; i < 64; ++i) {
    uint32_t *const x = reinterpret_cast<uint32_t *>(piece_of<F>(tile, row, i >> 2)) + (i & 3);
    const float2 f = unpack2<bf16>(*x);
    *x = pack2<bf16>(f.x * scale, f.y * scale);
    sum = fmaf(f.x * scale, f.x * scale, sum);
    sum = fmaf(f.y * scale, f.y * scale, sum);
  }
  proxy_fence();  // Before this warp says that the tile is there.
  return inverse_norm(sum, scale);
}

/// rsqrt(sum x^2 + eps) of row `row` of a tile; a row far from 1 is rescaled.
template <class F>
__device__ __forceinline__ float row_norm(bf16 *tile, int row) {
  float sum = 0.0F;
#pragma unroll 4
  for (int i = 0; i < 16; ++i) {
    const uint4 x = *piece_of<F>(tile, row, i);
    for (const uint32_t e : {x.x, x.y, x.z, x.w}) {
      const float2 f = unpack2<bf16>(e);
      sum = fmaf(f.x, f.x, sum);
      sum = fmaf(f.y, f.y, sum);
    }
  }
  return norm_is_far(sum) ? rescale_row<F>(tile, row) : rsqrtf(sum + kL2NormEps);
}

template <class F>
__device__ __forceinline__ void gate_steps(const DeltaRule &p, const Plan &plan, Shared<F> &s,
                                           int lane, int total) {
  Ring<F::kTiles> ring;
  const float log_scale = __log2f(fabsf(p.scale));
  for (int n = 0; n < total; ++n) {
    wait(&s.raw_full[ring.i], ring.phase);
    StepGates &g = s.gates[ring.i];
    const int head = g.head;
    const bool in = lane < g.valid;
    float decay = 0.0F, beta = 0.0F;
    if (in && (F::kStraight || plan.tma_gates)) {
      decay = s.raw[ring.i][0][lane][head & 3];
      beta = s.raw[ring.i][1][lane][head & 3];
      if (p.gate) {
        decay =
            decay_of_gate(decay, load_any(p.A_log, p.A_log.offset(head)),
                          p.dt_bias.present() ? load_any(p.dt_bias, p.dt_bias.offset(head)) : 0.0F);
      }
      decay = bounded_decay(decay);
      if (p.beta_sigmoid) beta = sigmoid(beta);
      if (p.allow_neg_eigval) beta *= 2.0F;
    } else if (in) {
      decay = token_decay(p, g.batch, g.token + lane, head);
      beta = token_beta(p, g.batch, g.token + lane, head);
    }
    float norm_k = 1.0F, norm_q = 1.0F;
    if (p.qk_l2norm) {
      wait(&s.tile_full[ring.i], ring.phase);
      if (in) {
        norm_k = row_norm<F>(s.kq[ring.i], lane);
        norm_q = row_norm<F>(s.kq[ring.i], 32 + lane);
      }
    }
    const float c = warp_scan(decay * kLog2E, lane);
    const float last = __shfl_sync(kFullWarp, c, 31), e = exp2_fast(c);
    g.row[lane] = c;
    g.column[lane] = p.qk_l2norm ? c - __log2f(norm_k) : c;
    g.key_decay[lane] = e * norm_k;
    g.query_decay[lane] = e * norm_q * p.scale;
    g.beta_row[lane] = beta * norm_k;
    g.query_row[lane] = (p.qk_l2norm ? c + __log2f(norm_q) : c) + log_scale;
    g.beta[lane] = beta;
    g.end[lane] = exp2_fast(last - c) * norm_k;
    if (lane == 31) g.decay = e;
    __syncwarp();
    arrive_warp(elect(), &s.kq_full[ring.i]);
    ring.next();
  }
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_GATE_WARP_CUH_
