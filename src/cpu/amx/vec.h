#ifndef GDN_CPU_AMX_VEC_H_
#define GDN_CPU_AMX_VEC_H_

// Vector helpers of the AMX kernel: bf16 in pairs, exp and log, a 16 x 16 transpose.

#include <immintrin.h>

#include <cstdint>

#include "core/tensor.h"

namespace gdn::cpu::amx {
namespace {

/// One bf16 or f32 element as float.
[[gnu::always_inline]] inline float load_element(const void *base, DType type, int64_t i) {
  if (type == DType::f32) return static_cast<const float *>(base)[i];
  const uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t *>(base)[i]) << 16;
  return __builtin_bit_cast(float, bits);
}

/// e^x to about 1 ulp; 0 where the result would be subnormal.
[[gnu::always_inline]] inline __m512 exp16(__m512 x) {
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504F)), 8);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375F), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4F), r);
  __m512 y = _mm512_set1_ps(1.9875691500e-4F);
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(1.3981999507e-3F));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(8.3334519073e-3F));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(4.1665795894e-2F));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(1.6666665459e-1F));
  y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(5.0000001201e-1F));
  y = _mm512_fmadd_ps(_mm512_mul_ps(y, r), r, _mm512_add_ps(r, _mm512_set1_ps(1.0F)));
  return _mm512_scalef_ps(y, n);
}

/// ln x for positive normal x.
[[gnu::always_inline]] inline __m512 log16(__m512 x) {
  const __m512 m = _mm512_getmant_ps(x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src);
  const __m512 e = _mm512_getexp_ps(_mm512_div_ps(x, m));  // a power of two, exactly
  const __m512 f = _mm512_sub_ps(m, _mm512_set1_ps(1.0F));
  const __m512 f2 = _mm512_mul_ps(f, f);
  __m512 y = _mm512_set1_ps(7.0376836292e-2F);
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(-1.1514610310e-1F));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(1.1676998740e-1F));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(-1.2420140846e-1F));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(1.4249322787e-1F));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(-1.6668057665e-1F));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(2.0000714765e-1F));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(-2.4999993993e-1F));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(3.3333331174e-1F));
  y = _mm512_mul_ps(_mm512_mul_ps(y, f), f2);
  y = _mm512_fmadd_ps(e, _mm512_set1_ps(-2.12194440e-4F), y);
  y = _mm512_fnmadd_ps(f2, _mm512_set1_ps(0.5F), y);
  return _mm512_fmadd_ps(e, _mm512_set1_ps(0.693359375F), _mm512_add_ps(f, y));
}

/// x cut to [-200, 128], where e^x is 0 or infinite anyway; NaN stays.
[[gnu::always_inline]] inline __m512 clamp_exponent(__m512 x) {
  return _mm512_min_ps(_mm512_set1_ps(128.0F), _mm512_max_ps(_mm512_set1_ps(-200.0F), x));
}

/// ln(1 + e^x), x above 20.
[[gnu::always_inline]] inline __m512 softplus16(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0F);
  const __m512 y = exp16(clamp_exponent(x));
  const __m512 u = _mm512_add_ps(one, y);
  // log(u) y / (u - 1) undoes the rounding of u.
  const __m512 rounded = _mm512_sub_ps(u, one);
  const __mmask16 tiny = _mm512_cmp_ps_mask(rounded, _mm512_setzero_ps(), _CMP_EQ_OQ);
  __m512 r = _mm512_div_ps(_mm512_mul_ps(log16(u), y), rounded);
  r = _mm512_mask_mov_ps(r, tiny, y);
  const __mmask16 large = _mm512_cmp_ps_mask(x, _mm512_set1_ps(20.0F), _CMP_GT_OQ);
  return _mm512_mask_mov_ps(r, large, x);
}

[[gnu::always_inline]] inline __m512 sigmoid16(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0F);
  const __m512 e = exp16(clamp_exponent(_mm512_sub_ps(_mm512_setzero_ps(), x)));
  return _mm512_div_ps(one, _mm512_add_ps(one, e));
}

/// Transposes 16 vectors of 16 dwords.
[[gnu::always_inline]] inline void transpose16(__m512i (&r)[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xDD);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xDD);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xDD);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xDD);
  }
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_VEC_H_
