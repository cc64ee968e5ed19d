#ifndef GDN_CPU_AMX_SOLVE_H_
#define GDN_CPU_AMX_SOLVE_H_

// The two 32 x 32 matrices of a step and value head, from K K^T, Q K^T and the gates:
//
//     T = (I + A)^-1,  A[i,j] = beta_i exp(c_i - c_j) (k_i . k_j) / (|k_i| |k_j|),  i > j
//     P[i,j] = scale exp(c_i - c_j) (q_i . k_j) / (|q_i| |k_j|),  i >= j
//
// T by forward substitution in f32: two blocks of 16 (120 multiply-adds of 16 lanes each), then
// T21 = -T22 A21 T11 (256 + 136). In the block (2,1) the decay is exp(c_i - c_15) exp(c_15 - c_j),
// both factors at most 1; elsewhere the exponential of the difference.

#include "cpu/amx/layout.h"
#include "cpu/amx/vec.h"

namespace gdn::cpu::amx {
namespace {

/// Rows of (I - N)^-1 for the strictly lower 16 x 16 matrix N (row stride 16).
[[gnu::always_inline]] inline void invert16(const float *n, __m512 (&t)[16]) {
  const __m512 one = _mm512_set1_ps(1.0F);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) t[i] = _mm512_maskz_mov_ps(static_cast<__mmask16>(1U << i), one);
#pragma GCC unroll 16
  for (int j = 0; j < 15; ++j) {
#pragma GCC unroll 16
    for (int i = j + 1; i < 16; ++i) {
      t[i] = _mm512_fmadd_ps(_mm512_set1_ps(n[i * 16 + j]), t[j], t[i]);
    }
  }
}

/// Fills g.t and g.p.
inline void solve(const KeyBlock &key, const GateBlock &g) {
  float *n11 = g.matrix;
  float *n22 = g.matrix + 256;
  float *n21 = g.matrix + 512;
  float *t22 = g.matrix + 768;
  float *p22 = g.matrix + 1024;

  for (int h = 0; h < 2; ++h) {
    const float *kk = key.kk + h * 512;
    const float *qk = key.qk + h * 512;
    float *n = h == 0 ? n11 : n22;
    const __m512 c = _mm512_load_ps(g.c + h * kHalf);
    const __m512 norm = _mm512_load_ps(key.k_norm + h * kHalf);
    for (int i = 0; i < 16; ++i) {
      const int row = h * kHalf + i;
      const __mmask16 below = static_cast<__mmask16>((1U << i) - 1);
      const __mmask16 up_to = static_cast<__mmask16>((2U << i) - 1);
      const __m512 d = _mm512_mul_ps(norm, exp16(_mm512_sub_ps(_mm512_set1_ps(g.c[row]), c)));
      const __m512 a = _mm512_set1_ps(-g.beta[row] * key.k_norm[row]);
      const __m512 x = _mm512_mul_ps(_mm512_mul_ps(a, d), _mm512_load_ps(kk + i * 16));
      _mm512_store_ps(n + i * 16, _mm512_maskz_mov_ps(below, x));
      const __m512 y = _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(key.q_norm[row]), d),
                                     _mm512_load_ps(qk + i * 16));
      const __m512 masked = _mm512_maskz_mov_ps(up_to, y);
      if (h == 0) {
        _mm512_store_si512(g.p + i * 64, _mm512_srli_epi32(add_half_ulp(masked), 16));
      } else {
        _mm512_store_ps(p22 + i * 16, masked);
      }
    }
  }

  const __m512 reference = _mm512_set1_ps(g.c[kHalf - 1]);
  const __m512 to_reference = _mm512_mul_ps(_mm512_load_ps(key.k_norm),
                                            exp16(_mm512_sub_ps(reference, _mm512_load_ps(g.c))));
  alignas(64) float from_reference[kHalf];
  _mm512_store_ps(from_reference, exp16(_mm512_sub_ps(_mm512_load_ps(g.c + kHalf), reference)));
  for (int i = 0; i < 16; ++i) {
    const int row = kHalf + i;
    const __m512 d = _mm512_mul_ps(to_reference, _mm512_set1_ps(from_reference[i]));
    const __m512 a = _mm512_set1_ps(-g.beta[row] * key.k_norm[row]);
    const __m512 x = _mm512_mul_ps(_mm512_mul_ps(a, d), _mm512_load_ps(key.kk + 256 + i * 16));
    _mm512_store_ps(n21 + i * 16, x);
    const __m512 y = _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(key.q_norm[row]), d),
                                   _mm512_load_ps(key.qk + 256 + i * 16));
    _mm512_store_si512(g.p + kTileBytes + i * 64, pack_bf16(y, _mm512_load_ps(p22 + i * 16)));
  }

  __m512 t[16];
  invert16(n22, t);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) _mm512_store_ps(t22 + i * 16, t[i]);
  invert16(n11, t);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    _mm512_store_si512(g.t + i * 64, _mm512_srli_epi32(add_half_ulp(t[i]), 16));
  }
  // n21 becomes N21 T11, row by row.
  for (int i = 0; i < 16; ++i) {
    __m512 x = _mm512_mul_ps(_mm512_set1_ps(n21[i * 16]), t[0]);
    __m512 y = _mm512_mul_ps(_mm512_set1_ps(n21[i * 16 + 1]), t[1]);
#pragma GCC unroll 16
    for (int j = 2; j < 16; j += 2) {
      x = _mm512_fmadd_ps(_mm512_set1_ps(n21[i * 16 + j]), t[j], x);
      y = _mm512_fmadd_ps(_mm512_set1_ps(n21[i * 16 + j + 1]), t[j + 1], y);
    }
    _mm512_store_ps(n21 + i * 16, _mm512_add_ps(x, y));
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) t[i] = _mm512_load_ps(n21 + i * 16);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    __m512 x = _mm512_mul_ps(_mm512_set1_ps(t22[i * 16]), t[0]);
#pragma GCC unroll 16
    for (int j = 1; j <= i; ++j) {
      x = _mm512_fmadd_ps(_mm512_set1_ps(t22[i * 16 + j]), t[j], x);
    }
    _mm512_store_si512(g.t + kTileBytes + i * 64, pack_bf16(x, _mm512_load_ps(t22 + i * 16)));
  }
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_SOLVE_H_
