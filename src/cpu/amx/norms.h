#ifndef GDN_CPU_AMX_NORMS_H_
#define GDN_CPU_AMX_NORMS_H_

// Row scales of the queries and keys of one step of one key head: 1 and scale, or with l2norm those
// divided by the norms. |k|^2 is the diagonal of K K^T; |q|^2 is summed from the rows. Rows so long
// or so short that the products do not fit f32 are copied with a power of two taken out, and
// multiplied again.

#include "cpu/amx/keys.h"
#include "cpu/tiles/tile_avx512bf16.h"

#include "cpu/kernels/row_norm.h"

namespace gdn::cpu::amx {
namespace {

/// Sums over the lanes of each of 16 vectors, as the lanes of one.
[[gnu::always_inline]] inline Vec sum_lanes(Vec (&x)[kHalf]) {
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    x[i] = _mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]) + _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512d a = _mm512_castps_pd(x[2 * i]);
    const __m512d b = _mm512_castps_pd(x[2 * i + 1]);
    x[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b)) + _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
  }
  // Each quarter of x[i] now holds parts of the sums 4 i .. 4 i + 3.
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    x[i] = _mm512_shuffle_f32x4(x[2 * i], x[2 * i + 1], 0x88) +
           _mm512_shuffle_f32x4(x[2 * i], x[2 * i + 1], 0xDD);
  }
  return _mm512_shuffle_f32x4(x[0], x[1], 0x88) + _mm512_shuffle_f32x4(x[0], x[1], 0xDD);
}

/// |k|^2 of 16 tokens from 16 half on.
[[gnu::always_inline]] inline Vec key_squares(const KeyBlock &key, int half) {
  const __m512i diagonal =
      _mm512_mullo_epi32(_mm512_set1_epi32(kHalf + 1),
                         _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  const FloatTile &kk = key.kk->block[half / 2].diagonal[half % 2];
  return _mm512_i32gather_ps(diagonal, kk.row[0], 4);
}

/// |q|^2 of the same tokens.
[[gnu::always_inline]] inline Vec query_squares(const KeyBlock &key, int half, int key_blocks) {
  const uint8_t *q = key.q.tile(0, half);
  Vec sums[kHalf];
#pragma GCC unroll 16
  for (int i = 0; i < kHalf; ++i) {
    sums[i] = zero();
    for (int b = 0; b < key_blocks; ++b) {
      const __m512i x = _mm512_load_si512(q + i * key.q.stride + b * 64);
      sums[i] = fma(first_of_pairs(x), first_of_pairs(x), sums[i]);
      sums[i] = fma(second_of_pairs(x), second_of_pairs(x), sums[i]);
    }
  }
  return sum_lanes(sums);
}

/// Lanes of the first `count` whose sums are extreme.
[[gnu::always_inline]] inline __mmask16 extreme_lanes(Vec sums, int64_t count) {
  const __mmask16 high = _mm512_cmp_ps_mask(sums, set1(kOrdinaryHigh), _CMP_NLE_UQ);
  const __mmask16 low = _mm512_cmp_ps_mask(sums, set1(kOrdinaryLow), _CMP_NGE_UQ);
  return static_cast<__mmask16>((high | low) & lane_mask(count));
}

/// `rows` copied to `copy`, each times a power of two that goes to `shrink`.
inline LeftRows shrink_rows(const LeftRows &rows, int key_blocks, uint8_t *copy, float *shrink) {
  const int64_t stride = int64_t{key_blocks} * kBlock * 2;
  for (int t = 0; t < kStep; ++t) {
    const uint8_t *from = rows.data + t * rows.stride;
    uint8_t *to = copy + t * stride;
    Vec largest = zero();
    for (int b = 0; b < key_blocks; ++b) {
      const __m512i x = _mm512_load_si512(from + b * 64);
      largest = max(max(abs(first_of_pairs(x)), abs(second_of_pairs(x))), largest);
    }
    shrink[t] = shrink_of(reduce_max(largest));
    const Vec factor = set1(shrink[t]);
    for (int b = 0; b < key_blocks; ++b) {
      const __m512i x = _mm512_load_si512(from + b * 64);
      _mm512_store_si512(to + b * 64,
                         pack_bf16(factor * first_of_pairs(x), factor * second_of_pairs(x)));
    }
  }
  return {copy, stride};
}

/// Products and norms of a step some of whose rows are extreme.
[[gnu::noinline]] inline void load_extreme_norms(KeyBlock *key, const DeltaRule &p, int blocks,
                                                 int key_blocks) {
  float q_shrink[kStep];
  float k_shrink[kStep];
  key->q = shrink_rows(key->q, key_blocks, key->q_copy, q_shrink);
  key->k = shrink_rows(key->k, key_blocks, key->k_copy, k_shrink);
  load_products(*key, blocks, key_blocks);
  for (int h = 0; h < 2 * blocks; ++h) {
    float *q_norm = key->q_norm + h * kHalf;
    float *k_norm = key->k_norm + h * kHalf;
    store(q_norm, query_squares(*key, h, key_blocks));
    store(k_norm, key_squares(*key, h));
    for (int i = 0; i < kHalf; ++i) {
      const int t = h * kHalf + i;
      q_norm[i] = p.scale * norm_of_shrunk(q_shrink[t], q_norm[i], 1, kL2NormEps).factor;
      k_norm[i] = norm_of_shrunk(k_shrink[t], k_norm[i], 1, kL2NormEps).factor;
    }
  }
}

/// The row scales of a step of `count` tokens, after load_products(), which it may repeat.
inline void load_norms(KeyBlock *key, const DeltaRule &p, int count, int blocks, int key_blocks) {
  const Vec eps = set1(kL2NormEps);
  __mmask16 extreme = 0;
  for (int h = 0; h < kStep / kHalf; ++h) {
    float *k_norm = key->k_norm + h * kHalf;
    float *q_norm = key->q_norm + h * kHalf;
    if (!p.qk_l2norm || h >= 2 * blocks) {
      store(k_norm, set1(1.0F));
      store(q_norm, set1(p.scale));
      continue;
    }
    const Vec k = key_squares(*key, h);
    const Vec q = query_squares(*key, h, key_blocks);
    store(k_norm, rsqrt(k + eps));
    store(q_norm, set1(p.scale) / _mm512_sqrt_ps(q + eps));
    const int64_t valid = count > h * kHalf ? count - h * kHalf : 0;
    extreme |= extreme_lanes(k, valid) | extreme_lanes(q, valid);
  }
  if (extreme != 0) load_extreme_norms(key, p, blocks, key_blocks);
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_NORMS_H_
