#ifndef GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_PRODUCT_WARPS_CUH_
#define GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_PRODUCT_WARPS_CUH_

#include "cuda/sm80/chunk_gated_delta_rule/gate_warp.cuh"

// What a step needs beside the state: A and P, by all warps, and under l2norm the norms.

namespace gdn::cuda::sm80::chunk {

/// Multiplies a row whose norm is far from 1 by a power of two; returns 1 / |row| of what then lies
/// there.
template <int kKeyDim, class E>
__device__ __forceinline__ float rescale_row(E *row, int lane) {
  float most = 0.0F, sum = 0.0F;
#pragma unroll 1
  for (int i = lane; i < kKeyDim; i += 32) most = fmaxf(most, fabsf(to_float(row[i])));
  const float scale = row_scale(warp_max(most));
#pragma unroll 1
  for (int i = lane; i < kKeyDim; i += 32) {
    const float x = to_float(row[i]) * scale;
    row[i] = from_float<E>(x);
    sum = fmaf(x, x, sum);
  }
  return inverse_norm(warp_sum(sum), scale);
}

/// Under l2norm: rsqrt(sum x^2 + eps) of the rows of the K and Q tiles, also into the gates. Rows
/// far from 1 are rescaled in their tiles.
template <class E, int kKeyDim>
__device__ __forceinline__ void apply_norms(Shared<E> &s, StepGates &g,
                                            StepTiles<E, kKeyDim> &tiles, int warp, int warps,
                                            int lane) {
  for (int r = warp; r < 2 * kStep; r += warps) {
    const int t = r & (kStep - 1);
    E *const row = (r < kStep ? tiles.k : tiles.q) + t * tiles.kLd;
    float sum = 0.0F;
#pragma unroll
    for (int i = lane; i < kKeyDim; i += 32) sum = fmaf(to_float(row[i]), to_float(row[i]), sum);
    sum = warp_sum(sum);
    float norm = rsqrtf(sum + kL2NormEps);
    if (norm_is_far(sum)) norm = rescale_row<kKeyDim>(row, lane);
    if (lane != 0) continue;
    if (r < kStep) {
      s.norm_k[t] = norm;
      g.key_decay[t] *= norm;
      g.to_end[t] *= norm;
    } else {
      s.norm_q[t] = norm;
      g.query_decay[t] *= norm;
    }
  }
}

constexpr int kUnits = 6;  ///< 16 x 16 blocks of the lower triangles of A and P.

/// One block of A (unit < 3) or P, from the K and Q tiles.
template <class E, int kKeyDim>
__device__ __forceinline__ void masked_products(Shared<E> &s, const StepGates &g, int buffer,
                                                const StepTiles<E, kKeyDim> &tiles, float scale,
                                                int unit, int lane) {
  constexpr int kLdK = StepTiles<E, kKeyDim>::kLd;
  const bool is_p = unit >= 3;
  const int block = is_p ? unit - 3 : unit;  // (0, 0), (1, 0), (1, 1).
  const int rows = block > 0 ? 16 : 0, columns = block > 1 ? 16 : 0;
  float c[2][4] = {};
  const E *const left = (is_p ? tiles.q : tiles.k) + rows * kLdK;
  const E *const right = tiles.k + columns * kLdK;
#pragma unroll 4
  for (int i = 0; i < kKeyDim; i += 16) {
    LeftTile<E> a;
    left_from_shared(a, left + i, kLdK, lane);
    multiply_add<Right::n_major>(c[0], c[1], a, right + i, kLdK, lane);
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int row = rows + (lane >> 2) + (e >> 1) * 8;
      const int column = columns + j * 8 + (lane & 3) * 2 + (e & 1);
      const float x = c[j][e] * s.norm_k[column] * decay_between<E>(g, row, column);
      if (is_p) {
        c[j][e] = row >= column ? scale * s.norm_q[row] * x : 0.0F;
      } else if (row > column) {
        s.a[buffer][column][row] = g.beta[row] * s.norm_k[row] * x;
      }
    }
  }
  constexpr int kLd = Shared<E>::kLdT;
  if (!is_p) return;
  store_unit<E>(s.p[buffer] + rows * kLd + columns, kLd, c, lane);
  if constexpr (Precision<E>::kValuesInTwo) {
#pragma unroll
    for (int j = 0; j < 2; ++j) subtract_rounded<E>(c[j]);
    store_unit<E>(s.p_low[buffer] + rows * kLd + columns, kLd, c, lane);
  }
}

/// A and P of step i, whose tiles have arrived.
template <class E, int kKeyDim>
__device__ __forceinline__ void form_products(const DeltaRule &p, Shared<E> &s, int i,
                                              StepTiles<E, kKeyDim> &tiles, int warps) {
  StepGates &g = s.gates[i % 3];
  const int lane = fresh_lane(), warp = fresh_thread() >> 5;
  if (p.qk_l2norm) {
    apply_norms(s, g, tiles, warp, warps, lane);
    __syncthreads();
  }
  // The first warp comes last: it has an inverse to find.
  for (int unit = (warp == 0 ? warps : warp) - 1; unit < kUnits; unit += warps) {
    masked_products(s, g, i & 1, tiles, p.scale, unit, lane);
  }
}

}  // namespace gdn::cuda::sm80::chunk

#endif  // GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_PRODUCT_WARPS_CUH_
