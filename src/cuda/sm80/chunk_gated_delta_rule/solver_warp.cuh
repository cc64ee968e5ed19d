#ifndef GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_SOLVER_WARP_CUH_
#define GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_SOLVER_WARP_CUH_

#include "cuda/sm80/chunk_gated_delta_rule/shared.cuh"

namespace gdn::cuda::sm80::chunk {

/// T diag(beta) with T = (I + A)^-1, in two parts where T is. The block above the diagonal is never
/// read.
template <class E>
__device__ __forceinline__ void invert(Shared<E> &s, const StepGates &g, int buffer, int lane) {
  // Read one at a time: there are no registers for all.
  const volatile float *const inverse_power = g.inverse_power;
  const auto put = [&](int row, int column, float x) {
    float t = g.beta[column] * x;
    if constexpr (Precision<E>::kGains) t *= inverse_power[row];
    const E high = from_float<E>(t);
    s.t_high[row * Shared<E>::kLdT + column] = high;
    if constexpr (Precision<E>::kTInTwo) {
      s.t_low[row * Shared<E>::kLdT + column] = from_float<E>(t - to_float(high));
    }
  };
  const int h = lane >> 4, c = lane & 15;
  float(*const a)[kInverseLd] = s.a[buffer];
  {  // Beside a warp's part of the state the columns cannot stay in registers.
    float y[16];
    invert_diagonal(a, lane, y);
    __syncwarp();
    keep_diagonal(a, lane, y);
#pragma unroll
    for (int i = 0; i < 16; ++i) put(16 * h + i, lane, y[i]);
  }
  __syncwarp();
  float r[8], u[8];
  multiply_corner(a, lane, r, [&](int k) { return a[c][k]; });
  __syncwarp();
  finish_corner(a, lane, u, r);
#pragma unroll
  for (int i = 0; i < 8; ++i) put(16 + 8 * h + i, c, u[i]);
}

}  // namespace gdn::cuda::sm80::chunk

#endif  // GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_SOLVER_WARP_CUH_
