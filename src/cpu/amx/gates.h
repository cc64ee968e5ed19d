#ifndef GDN_CPU_AMX_GATES_H_
#define GDN_CPU_AMX_GATES_H_

// Gates of one step of one value head: log decays and betas from memory, their activations, the
// cumulative sum and the row scales that follow from it.

#include "cpu/amx/layout.h"
#include "cpu/amx/vec.h"

namespace gdn::cpu::amx {
namespace {

/// 64 values of one head along the tokens; zeros past `count` and for an absent tensor.
[[gnu::always_inline]] inline void load_tokens(const Tensor &x, int64_t batch, int64_t token,
                                               int count, int64_t head, float *out) {
  if (!x.present() || count < kStep) {
    for (int i = 0; i < kStep; i += kHalf) _mm512_store_ps(out + i, _mm512_setzero_ps());
  }
  if (!x.present()) return;
  const int64_t first = x.offset(batch, token, head);
  const int64_t stride = x.stride[1];
  if (x.dtype == DType::f32) {
    const float *p = static_cast<const float *>(x.data) + first;
    for (int i = 0; i < count; ++i) out[i] = p[i * stride];
  } else {
    for (int i = 0; i < count; ++i) out[i] = load_element(x.data, x.dtype, first + i * stride);
  }
}

/// Lanes moved up by N, zeros from below.
template <int N>
[[gnu::always_inline]] inline __m512 shift_up(__m512 x) {
  return _mm512_castsi512_ps(
      _mm512_alignr_epi32(_mm512_castps_si512(x), _mm512_setzero_si512(), 16 - N));
}

[[gnu::always_inline]] inline __m512 cumulative_sum(__m512 x) {
  x = _mm512_add_ps(x, shift_up<1>(x));
  x = _mm512_add_ps(x, shift_up<2>(x));
  x = _mm512_add_ps(x, shift_up<4>(x));
  return _mm512_add_ps(x, shift_up<8>(x));
}

[[gnu::always_inline]] inline __m512 last_lane(__m512 x) {
  return _mm512_permutexvar_ps(_mm512_set1_epi32(15), x);
}

/// log decay of a raw gate: -exp(A_log) softplus(a + dt_bias).
[[gnu::always_inline]] inline __m512 activate_gate(const DeltaRule &p, int64_t head, __m512 a) {
  if (p.dt_bias.present()) {
    const float bias = load_element(p.dt_bias.data, p.dt_bias.dtype, p.dt_bias.offset(head));
    a = _mm512_add_ps(a, _mm512_set1_ps(bias));
  }
  const float a_log = load_element(p.A_log.data, p.A_log.dtype, p.A_log.offset(head));
  const __m512 rate = exp16(clamp_exponent(_mm512_set1_ps(a_log)));
  return _mm512_sub_ps(_mm512_setzero_ps(), _mm512_mul_ps(rate, softplus16(a)));
}

/// Tokens [token, token + count) of a step of value head `head`; returns the decay of the whole
/// step. Rows past count get beta 0 and no decay.
inline float load_gates(const DeltaRule &p, int64_t batch, int64_t token, int count, int64_t head,
                        const KeyBlock &key, const GateBlock &out) {
  alignas(64) float raw[kStep];
  const uint64_t valid = count >= kStep ? ~UINT64_C(0) : (UINT64_C(1) << count) - 1;

  load_tokens(p.beta, batch, token, count, head, raw);
  for (int i = 0; i < kStep; i += kHalf) {
    __m512 b = _mm512_load_ps(raw + i);
    if (!p.beta.present()) b = _mm512_set1_ps(1.0F);
    if (p.beta_sigmoid) {
      b = sigmoid16(b);
      if (p.allow_neg_eigval) b = _mm512_add_ps(b, b);
    }
    _mm512_store_ps(out.beta + i, _mm512_maskz_mov_ps(static_cast<__mmask16>(valid >> i), b));
  }

  load_tokens(p.g, batch, token, count, head, raw);
  __m512 last = _mm512_setzero_ps();
  for (int i = 0; i < kStep; i += kHalf) {
    __m512 g = _mm512_load_ps(raw + i);
    if (p.gate) {
      g = _mm512_maskz_mov_ps(static_cast<__mmask16>(valid >> i), activate_gate(p, head, g));
    }
    // exp(-128) is 0 in f32 already; the bound keeps -inf out of the differences below.
    g = _mm512_max_ps(_mm512_set1_ps(-128.0F), g);
    const __m512 c = _mm512_add_ps(last, cumulative_sum(g));
    _mm512_store_ps(out.c + i, c);
    last = last_lane(c);
  }

  for (int i = 0; i < kStep; i += kHalf) {
    const __m512 c = _mm512_load_ps(out.c + i);
    const __m512 e = exp16(c);
    const __m512 k_norm = _mm512_load_ps(key.k_norm + i);
    const __m512 b = _mm512_load_ps(out.beta + i);
    _mm512_store_ps(out.read_scale + i, _mm512_mul_ps(b, _mm512_mul_ps(e, k_norm)));
    _mm512_store_ps(out.output_scale + i, _mm512_mul_ps(_mm512_load_ps(key.q_norm + i), e));
    _mm512_store_ps(out.write_scale + i, _mm512_mul_ps(exp16(_mm512_sub_ps(last, c)), k_norm));
  }
  return _mm512_cvtss_f32(exp16(last));
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_GATES_H_
