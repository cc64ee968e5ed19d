#ifndef GDN_CPU_AMX_GATES_H_
#define GDN_CPU_AMX_GATES_H_

// Gates of one step of one value head: log decays and betas (kernels/gates.h), the cumulative sum
// and the row scales that follow from it.

#include "cpu/amx/layout.h"
#include "cpu/tiles/tile_avx512bf16.h"

#include "cpu/kernels/gate_rate.h"
#include "cpu/kernels/gates.h"

namespace gdn::cpu::amx {
namespace {

/// Lanes moved up by N, zeros from below.
template <int N>
[[gnu::always_inline]] inline Vec shift_up(Vec x) {
  return _mm512_castsi512_ps(
      _mm512_alignr_epi32(_mm512_castps_si512(x), _mm512_setzero_si512(), kHalf - N));
}

[[gnu::always_inline]] inline Vec cumulative_sum(Vec x) {
  x = x + shift_up<1>(x);
  x = x + shift_up<2>(x);
  x = x + shift_up<4>(x);
  return x + shift_up<8>(x);
}

[[gnu::always_inline]] inline Vec last_lane(Vec x) {
  return _mm512_permutexvar_ps(_mm512_set1_epi32(kHalf - 1), x);
}

/// Fills `out` for tokens [token, token + count) of value head `head`; returns the decay of the
/// whole step. Rows past count get beta 0 and no decay.
inline float load_step_gates(const DeltaRule &p, int64_t batch, int64_t token, int count,
                             int64_t head, const KeyBlock &key, const GateBlock &out) {
  alignas(64) float g[kStep];
  for (int64_t i = 0; i < kStep; i += kGateTokens) {
    const int64_t left = count > i ? count - i : 0;
    load_gates(p, batch, token + i, head, left < kGateTokens ? left : kGateTokens, g + i,
               out.beta + i);
  }
  Vec last = zero();
  for (int i = 0; i < kStep; i += kHalf) {
    // exp(-128) is 0 in f32 already, and differences of smaller sums have more correct bits.
    const Vec c = last + cumulative_sum(max(set1(-128.0F), load(g + i)));
    store(out.c + i, c);
    last = last_lane(c);
  }
  for (int i = 0; i < kStep; i += kHalf) {
    const Vec c = load(out.c + i);
    const Vec decay = exp(c);
    const Vec k_norm = load(key.k_norm + i);
    store(out.read_scale + i, load(out.beta + i) * (decay * k_norm));
    store(out.output_scale + i, load(key.q_norm + i) * decay);
    store(out.write_scale + i, exp(last - c) * k_norm);
  }
  return _mm512_cvtss_f32(exp(last));
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_GATES_H_
