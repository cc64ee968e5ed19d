#ifndef GDN_CPU_AMX_SOLVE_H_
#define GDN_CPU_AMX_SOLVE_H_

// The matrices of a step and value head, from K K^T, Q K^T and the gates, for i >= j:
//
//     A[i,j] = beta_i exp(c_i - c_j) (k_i . k_j) / (|k_i| |k_j|),  A[i,i] = 0
//     P[i,j] = scale exp(c_i - c_j) (q_i . k_j) / (|q_i| |k_j|)
//     T      = (I + A)^-1 of each block of 32 tokens
//
// T by forward substitution in f32: two tiles of 16 (120 multiply-adds of 16 lanes each), then
// T21 = -T22 A21 T11 (256 + 136). Off the diagonal the decay is exp(c_i - c_ref) exp(c_ref - c_j)
// with ref between the two, both factors at most 1; in diagonal tiles it is the exponential of the
// difference.
//
// All are kept as a high and a low bf16 half. With T rounded to one, a key repeated under beta = 1
// and no decay gives errors of the same sign in all tokens, 4e-2 in the state.

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

/// Fills g.t and g.p of a block.
inline void solve_block(const KeyBlock &key, const GateBlock &g, int block) {
  const float *key_kk = key.kk + block * 768;
  const float *key_qk = key.qk + block * 768;
  const float *c_all = g.c + block * kBlock;
  const float *k_norm = key.k_norm + block * kBlock;
  const float *q_norm = key.q_norm + block * kBlock;
  const float *beta = g.beta + block * kBlock;
  uint8_t *out_t = g.t + block * 4 * kTileBytes;
  uint8_t *out_p = g.p + block * 4 * kTileBytes;
  float *n11 = g.matrix;
  float *n22 = g.matrix + 256;
  float *n21 = g.matrix + 512;
  float *t22 = g.matrix + 768;
  float *p22 = g.matrix + 1024;

  for (int h = 0; h < 2; ++h) {
    const float *kk = key_kk + h * 512;
    const float *qk = key_qk + h * 512;
    float *n = h == 0 ? n11 : n22;
    const __m512 c = _mm512_load_ps(c_all + h * kHalf);
    const __m512 norm = _mm512_load_ps(k_norm + h * kHalf);
    for (int i = 0; i < 16; ++i) {
      const int row = h * kHalf + i;
      const __mmask16 below = static_cast<__mmask16>((1U << i) - 1);
      const __mmask16 up_to = static_cast<__mmask16>((2U << i) - 1);
      const __m512 d = _mm512_mul_ps(norm, exp16(_mm512_sub_ps(_mm512_set1_ps(c_all[row]), c)));
      const __m512 a = _mm512_set1_ps(-beta[row] * k_norm[row]);
      const __m512 x = _mm512_mul_ps(_mm512_mul_ps(a, d), _mm512_load_ps(kk + i * 16));
      _mm512_store_ps(n + i * 16, _mm512_maskz_mov_ps(below, x));
      const __m512 y =
          _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(q_norm[row]), d), _mm512_load_ps(qk + i * 16));
      const __m512 masked = _mm512_maskz_mov_ps(up_to, y);
      if (h == 0) {
        store_split(out_p + i * 64, 2 * kTileBytes, masked, _mm512_setzero_ps());
      } else {
        _mm512_store_ps(p22 + i * 16, masked);
      }
    }
  }

  const __m512 reference = _mm512_set1_ps(c_all[kHalf - 1]);
  const __m512 to_reference =
      _mm512_mul_ps(_mm512_load_ps(k_norm), exp16(_mm512_sub_ps(reference, _mm512_load_ps(c_all))));
  alignas(64) float from_reference[kHalf];
  _mm512_store_ps(from_reference, exp16(_mm512_sub_ps(_mm512_load_ps(c_all + kHalf), reference)));
  for (int i = 0; i < 16; ++i) {
    const int row = kHalf + i;
    const __m512 d = _mm512_mul_ps(to_reference, _mm512_set1_ps(from_reference[i]));
    const __m512 a = _mm512_set1_ps(-beta[row] * k_norm[row]);
    const __m512 x = _mm512_mul_ps(_mm512_mul_ps(a, d), _mm512_load_ps(key_kk + 256 + i * 16));
    _mm512_store_ps(n21 + i * 16, x);
    const __m512 y = _mm512_mul_ps(_mm512_mul_ps(_mm512_set1_ps(q_norm[row]), d),
                                   _mm512_load_ps(key_qk + 256 + i * 16));
    store_split(out_p + kTileBytes + i * 64, 2 * kTileBytes, y, _mm512_load_ps(p22 + i * 16));
  }

  __m512 t[16];
  invert16(n22, t);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) _mm512_store_ps(t22 + i * 16, t[i]);
  invert16(n11, t);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) {
    store_split(out_t + i * 64, 2 * kTileBytes, t[i], _mm512_setzero_ps());
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
    store_split(out_t + kTileBytes + i * 64, 2 * kTileBytes, x, _mm512_load_ps(t22 + i * 16));
  }
}

/// Fills g.a10 and g.p10.
inline void couple_blocks(const KeyBlock &key, const GateBlock &g) {
  const float *kk = key.kk + 6 * 256;
  const float *qk = key.qk + 6 * 256;
  const __m512 reference = _mm512_set1_ps(g.c[kBlock - 1]);
  __m512 to_reference[2];
  alignas(64) float from_reference[kBlock];
  for (int h = 0; h < 2; ++h) {
    const int at = h * kHalf;
    to_reference[h] = _mm512_mul_ps(_mm512_load_ps(key.k_norm + at),
                                    exp16(_mm512_sub_ps(reference, _mm512_load_ps(g.c + at))));
    _mm512_store_ps(from_reference + at,
                    exp16(_mm512_sub_ps(_mm512_load_ps(g.c + kBlock + at), reference)));
  }
  for (int i = 0; i < kBlock; ++i) {
    const int row = kBlock + i;
    const int at = (i >> 4) * 512 + (i & 15) * 16;
    const __m512 a = _mm512_set1_ps(from_reference[i] * g.beta[row] * key.k_norm[row]);
    const __m512 b = _mm512_set1_ps(from_reference[i] * key.q_norm[row]);
    const __m512 a0 = _mm512_mul_ps(_mm512_mul_ps(a, to_reference[0]), _mm512_load_ps(kk + at));
    const __m512 a1 =
        _mm512_mul_ps(_mm512_mul_ps(a, to_reference[1]), _mm512_load_ps(kk + at + 256));
    const __m512 p0 = _mm512_mul_ps(_mm512_mul_ps(b, to_reference[0]), _mm512_load_ps(qk + at));
    const __m512 p1 =
        _mm512_mul_ps(_mm512_mul_ps(b, to_reference[1]), _mm512_load_ps(qk + at + 256));
    store_split(g.a10 + i * 64, 2 * kTileBytes, a0, a1);
    store_split(g.p10 + i * 64, 2 * kTileBytes, p0, p1);
  }
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_SOLVE_H_
