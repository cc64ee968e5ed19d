#ifndef GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_STATE_WARPS_CUH_
#define GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_STATE_WARPS_CUH_

#include "cuda/sm80/chunk_gated_delta_rule/shared.cuh"

// A state warp: S^T for 16 value columns, in registers. With its tiles of K, Q and V, and with P
// and T of the step, it computes
//
//     X^T  = V^T - (S^T K^T) diag(r e^c)          r: 1 / |k| under l2norm, else 1
//     V'^T = X^T (T diag(beta))^T
//     O^T  = (S^T Q^T) diag(scale r_q e^c) + V'^T P^T
//     S^T <- e^{c_last} S^T + (V'^T diag(r e^{c_last - c})) K
//
// project() is the first and S^T Q^T, advance() is the rest.

namespace gdn::cuda::sm80::chunk {

/// x[j][e] *= factor[token] for the tokens of a [16, 32] accumulator.
__device__ __forceinline__ void scale_tokens(float (&x)[4][4], const float *factor, int lane) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const float2 f = *reinterpret_cast<const float2 *>(factor + j * 8 + (lane & 3) * 2);
    x[j][0] *= f.x, x[j][1] *= f.y, x[j][2] *= f.x, x[j][3] *= f.y;
  }
}

/// d += a t^T for columns 16 k .. 16 k + 15 of a lower triangular t, [n][k].
template <class E>
__device__ __forceinline__ void multiply_triangle(float (&d)[4][4], const LeftTile<E> &a,
                                                  const E *t, int k, int lane) {
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    if (n >= k) {
      multiply_add<Right::n_major>(d[2 * n], d[2 * n + 1], a, t + n * 16 * Shared<E>::kLdT + k * 16,
                                   Shared<E>::kLdT, lane);
    }
  }
}

/// o += a P^T for the same columns of V', a.
template <class E>
__device__ __forceinline__ void multiply_p(float (&o)[4][4], const LeftTile<E> &a,
                                           const Shared<E> &s, int buffer, int k, int lane) {
  multiply_triangle(o, a, s.p[buffer], k, lane);
}
template <class E>
__device__ __forceinline__ void multiply_p(float (&o)[4][4], const TwoTiles<E> &a,
                                           const Shared<E> &s, int buffer, int k, int lane) {
  multiply_triangle(o, a.high, s.p[buffer], k, lane);
  multiply_triangle(o, a.high, s.p_low[buffer], k, lane);
  multiply_triangle(o, a.low, s.p[buffer], k, lane);
}

/// o = S^T Q^T; returns X^T. k, q: the step's tiles; v: the warp's 16 columns of V. One pass over
/// the state: rounded to E and kept for a second, it would take half as many registers again.
template <int kLd, int kLdV, class E, int kFragments>
__device__ __forceinline__ Operand<E> project(float (&o)[4][4], const float (&state)[kFragments][4],
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
  return Operand<E>(x);
}

/// V'^T = X^T (T diag(beta))^T.
template <class E>
__device__ __forceinline__ void form_values(float (&values)[4][4], const Operand<E> &x,
                                            const Shared<E> &s, const StepGates &g, int lane) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const LeftTile<E> a = x.at(half);
    multiply_triangle(values, a, s.t_high, half, lane);
    if constexpr (Precision<E>::kTInTwo) multiply_triangle(values, a, s.t_low, half, lane);
  }
  if constexpr (Precision<E>::kGains) scale_tokens(values, g.power, lane);
}

/// O^T = (S^T Q^T) diag(scale r_q e^c) + V'^T P^T, into the warp's 16 columns of V.
template <int kLdV, class E>
__device__ __forceinline__ void form_output(E *v, float (&o)[4][4], const ValueOperand<E> &values,
                                            const Shared<E> &s, const StepGates &g, int buffer,
                                            int lane) {
  scale_tokens(o, g.query_decay, lane);
  multiply_p(o, values.at(0), s, buffer, 0, lane);
  multiply_p(o, values.at(1), s, buffer, 1, lane);
  __syncwarp();  // No other warp reads these columns of V.
  if constexpr (Operand<E>::kRounded) {
    const Operand<E> out(o);
    store_transposed(v, kLdV, out.tile[0], lane);
    store_transposed(v + 16 * kLdV, kLdV, out.tile[1], lane);
  } else {
#pragma unroll
    for (int j = 0; j < 4; ++j) store_transposed(v + j * 8 * kLdV, kLdV, o[j], lane);
  }
}

/// S^T <- e^{c_last} S^T + update K.
template <int kLd, class E, int kFragments>
__device__ __forceinline__ void update_state(float (&state)[kFragments][4],
                                             const ValueOperand<E> &update, const StepGates &g,
                                             const E *k, int lane) {
  scale_all(state, g.decay);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const auto a = update.at(half);
#pragma unroll
    for (int j = 0; j < kFragments; j += 2) {
      multiply_add<Right::k_major>(state[j], state[j + 1], a, k + half * 16 * kLd + j * 8, kLd,
                                   lane);
      if (Precision<E>::kGains && half == 1) {
#pragma unroll
        for (int e = 0; e < 4; ++e) state[j][e] *= g.undo, state[j + 1][e] *= g.undo;
      }
    }
  }
}

/// k: the step's tile; v: the warp's 16 columns of V, which O replaces.
template <int kLd, int kLdV, class E, int kFragments>
__device__ __forceinline__ void advance(float (&state)[kFragments][4], float (&o)[4][4],
                                        const Operand<E> &x, const Shared<E> &s, const StepGates &g,
                                        int buffer, const E *k, E *v) {
  const int lane = fresh_lane();
  float values[4][4] = {};
  form_values(values, x, s, g, lane);
  const ValueOperand<E> operand(values);
  if constexpr (ValueOperand<E>::kRounded) {
    // Both operands are made while there are accumulators: fewer registers than these take.
    scale_tokens(values, g.to_end, lane);
    const ValueOperand<E> update(values);
    form_output<kLdV>(v, o, operand, s, g, buffer, lane);
    update_state<kLd>(state, update, g, k, lane);
  } else {
    form_output<kLdV>(v, o, operand, s, g, buffer, lane);
    scale_tokens(values, g.to_end, lane);
    update_state<kLd>(state, ValueOperand<E>(values), g, k, lane);
  }
  __syncwarp();
}

}  // namespace gdn::cuda::sm80::chunk

#endif  // GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_STATE_WARPS_CUH_
