#ifndef GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_GATE_WARP_CUH_
#define GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_GATE_WARP_CUH_

#include "cuda/sm80/chunk_gated_delta_rule/shared.cuh"

// The gates of a step, a lane a token.

namespace gdn::cuda::sm80::chunk {

/// Gates of a step out of a token's log decay and beta (0 past the end), without norms.
template <class E>
__device__ __forceinline__ void write_gates(StepGates &s, float g, float beta, float scale,
                                            int lane) {
  float c, from_start, to_end;
  if constexpr (Precision<E>::kSumsInTwo) {
    constexpr double kLog2EDouble = 1.4426950408889634;
    constexpr float kLn2 = 0.6931471805599453F;
    const double sum = warp_scan(kLog2EDouble * g, lane);
    c = static_cast<float>(sum);
    const auto low = static_cast<float>(sum - c);
    s.c_low[lane] = low;
    const float e = exp2_fast(c);
    from_start = fmaf(e, kLn2 * low, e);
    to_end = exp2_fast((__shfl_sync(kFullWarp, c, kStep - 1) - c) +
                       (__shfl_sync(kFullWarp, low, kStep - 1) - low));
  } else {
    c = warp_scan(g * kLog2E, lane);
    const float last = __shfl_sync(kFullWarp, c, kStep - 1);
    from_start = exp2_fast(c), to_end = exp2_fast(last - c);
  }
  float gain = 1.0F;
  if constexpr (Precision<E>::kGains) {
    s.power[lane] = power_below(beta);
    s.inverse_power[lane] = inverse_of_power(s.power[lane]);
    gain = warp_gain(fabsf(beta) * to_end);
    s.undo = inverse_of_power(gain);
  }
  s.c[lane] = c;
  s.key_decay[lane] = from_start;
  s.query_decay[lane] = scale * from_start;
  s.to_end[lane] = to_end * gain;
  s.beta[lane] = beta;
  if (lane == kStep - 1) s.decay = from_start * gain;
}

/// Gates of step i; kLater: not the first one.
template <bool kLater, class E>
__device__ __forceinline__ void form_gates(const DeltaRule &p, Shared<E> &s, int i) {
  float g = 0.0F, beta = 0.0F;
  const int lane = fresh_lane();
  const int skipped = kLater ? 0 : s.place.skipped(i);
  if (i < s.place.steps && lane < s.place.rows(i) - skipped) {
    const int64_t t = s.place.begin + static_cast<int64_t>(i) * kStep + skipped + lane;
    g = token_decay(p, s.place.batch, t, s.place.h);
    beta = token_beta(p, s.place.batch, t, s.place.h);
  }
  write_gates<E>(s.gates[i % 3], g, beta, p.scale, lane);
}

/// 2^(c_row - c_column).
template <class E>
__device__ __forceinline__ float decay_between(const StepGates &g, int row, int column) {
  if constexpr (Precision<E>::kSumsInTwo) {
    return exp2_fast((g.c[row] - g.c[column]) + (g.c_low[row] - g.c_low[column]));
  } else {
    return exp2_fast(g.c[row] - g.c[column]);
  }
}

}  // namespace gdn::cuda::sm80::chunk

#endif  // GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_GATE_WARP_CUH_
