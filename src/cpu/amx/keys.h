#ifndef GDN_CPU_AMX_KEYS_H_
#define GDN_CPU_AMX_KEYS_H_

// Queries and keys of one step of one key head: copied into tiles (rows past the end are zeros),
// transposed, multiplied with each other.
//
// Shapes, D = DK / 32: K K^T and Q K^T, lower tiles only: 6 D products. Transposing K costs 2 D
// blocks of 16 x 16 dwords; K^T as a left operand follows from them with a shift and a blend.

#include "cpu/amx/layout.h"
#include "cpu/amx/vec.h"

namespace gdn::cpu::amx {
namespace {

/// Copies `count` rows of bf16 [.., width] into tiles [dk][token half][16][32], zeros elsewhere.
[[gnu::always_inline]] inline void load_rows(const uint16_t *rows, int64_t stride, int count,
                                             int64_t width, int dk, uint8_t *out) {
  for (int b = 0; b < dk; ++b) {
    const int64_t left = width - int64_t{b} * 32;
    const __mmask32 columns = _cvtu32_mask32(left >= 32 ? ~0U : (1U << left) - 1);
    uint8_t *tile = out + int64_t{b} * 2 * kTileBytes;
    for (int t = 0; t < count; ++t) {
      _mm512_store_si512(tile + t * 64,
                         _mm512_maskz_loadu_epi16(columns, rows + t * stride + b * 32));
    }
    for (int t = count; t < kStep; ++t) _mm512_store_si512(tile + t * 64, _mm512_setzero_si512());
  }
}

/// Builds k_right and k_left from k.
[[gnu::always_inline]] inline void transpose_keys(const KeyBlock &key, int dk) {
  for (int b = 0; b < dk; ++b) {
    for (int h = 0; h < 2; ++h) {
      const uint8_t *in = key.k + (2 * b + h) * kTileBytes;
      uint8_t *out = key.k_right + (2 * b + h) * kTileBytes;
      __m512i r[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) r[i] = _mm512_load_si512(in + i * 64);
      transpose16(r);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) _mm512_store_si512(out + i * 64, r[i]);
    }
    const uint8_t *first = key.k_right + 2 * b * kTileBytes;
    const uint8_t *second = first + kTileBytes;
    uint8_t *out = key.k_left + 2 * b * kTileBytes;
    for (int i = 0; i < 16; ++i) {
      const __m512i x = _mm512_load_si512(first + i * 64);
      const __m512i y = _mm512_load_si512(second + i * 64);
      const __m512i even = _mm512_mask_blend_epi16(0xAAAAAAAAU, x, _mm512_slli_epi32(y, 16));
      _mm512_store_si512(out + i * 128, even);
      _mm512_store_si512(out + i * 128 + 64, pack_upper_halves(x, y));
    }
  }
}

/// kk and qk from k, q and k_right.
[[gnu::always_inline]] inline void multiply_keys(const KeyBlock &key, int dk) {
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  tile_zero<4>();
  tile_zero<5>();
  for (int b = 0; b < dk; ++b) {
    const int64_t at = int64_t{b} * 2 * kTileBytes;
    tile_load<7>(key.k_right + at);
    tile_load<6>(key.k + at);
    tile_dp<0, 6, 7>();
    tile_load<6>(key.q + at);
    tile_dp<3, 6, 7>();
    tile_load<6>(key.k + at + kTileBytes);
    tile_dp<1, 6, 7>();
    tile_load<6>(key.q + at + kTileBytes);
    tile_dp<4, 6, 7>();
    tile_load<7>(key.k_right + at + kTileBytes);
    tile_dp<5, 6, 7>();
    tile_load<6>(key.k + at + kTileBytes);
    tile_dp<2, 6, 7>();
  }
  tile_store<0>(key.kk);
  tile_store<1>(key.kk + 256);
  tile_store<2>(key.kk + 512);
  tile_store<3>(key.qk);
  tile_store<4>(key.qk + 256);
  tile_store<5>(key.qk + 512);
}

/// Row scales: 1 and scale, or with l2norm those divided by the norms. |k|^2 is the diagonal of
/// K K^T; |q|^2 is summed from the rows.
[[gnu::always_inline]] inline void load_norms(const KeyBlock &key, const DeltaRule &p, int dk) {
  const __m512 scale = _mm512_set1_ps(p.scale);
  if (!p.qk_l2norm) {
    for (int h = 0; h < 2; ++h) {
      _mm512_store_ps(key.k_norm + h * kHalf, _mm512_set1_ps(1.0F));
      _mm512_store_ps(key.q_norm + h * kHalf, scale);
    }
    return;
  }
  const __m512 one = _mm512_set1_ps(1.0F);
  const __m512 eps = _mm512_set1_ps(1e-6F);
  const __m512i diagonal =
      _mm512_mullo_epi32(_mm512_set1_epi32(17),
                         _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  for (int h = 0; h < 2; ++h) {
    const __m512 kk = _mm512_i32gather_ps(diagonal, key.kk + h * 512, 4);
    _mm512_store_ps(key.k_norm + h * kHalf,
                    _mm512_div_ps(one, _mm512_sqrt_ps(_mm512_add_ps(kk, eps))));
    __m512i sums[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      __m512 sum = _mm512_setzero_ps();
      for (int b = 0; b < dk; ++b) {
        const __m512i x = _mm512_load_si512(key.q + (2 * b + h) * kTileBytes + i * 64);
        sum = _mm512_fmadd_ps(low_bf16(x), low_bf16(x), sum);
        sum = _mm512_fmadd_ps(high_bf16(x), high_bf16(x), sum);
      }
      sums[i] = _mm512_castps_si512(sum);
    }
    transpose16(sums);
    __m512 qq = _mm512_setzero_ps();
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) qq = _mm512_add_ps(qq, _mm512_castsi512_ps(sums[i]));
    _mm512_store_ps(key.q_norm + h * kHalf,
                    _mm512_div_ps(scale, _mm512_sqrt_ps(_mm512_add_ps(qq, eps))));
  }
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_KEYS_H_
