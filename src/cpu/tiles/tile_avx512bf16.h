#ifndef GDN_CPU_TILES_TILE_AVX512BF16_H_
#define GDN_CPU_TILES_TILE_AVX512BF16_H_

// AVX-512 with the bf16 dot product (vdpbf16ps): the vectors of tile_avx512.h and one more matrix
// operand, Bf16Operand of mma_bf16.h. On Zen 4 the dot product has twice the rate of the f32
// multiply-add, on Intel servers half of it.

#include <immintrin.h>

#include "cpu/tiles/elements.h"

namespace gdn::cpu::GDN_ISA {
namespace {

constexpr bool kHasBf16Dot = true;

inline __m256i narrow(Bf16, __m512 v) { return (__m256i)_mm512_cvtneps_pbh(v); }

/// acc += dot of the bf16 pairs in a (one pair, broadcast) and b (16 pairs). The products are
/// summed in f32; denormals count as zero.
inline __m512 dot_pairs(__m512 acc, const Bf16 *a, const Bf16 *b) {
  int32_t pair;
  std::memcpy(&pair, a, sizeof pair);
  const __m512i column = _mm512_loadu_si512(b);
  return _mm512_dpbf16_ps(acc, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)column);
}

/// Rounds two vectors to bf16 and interleaves them: pair i is (x[i], y[i]).
inline void store_pairs(Bf16 *p, __m512 x, __m512 y) {
  const __m512i interleave = _mm512_set_epi16(                       //
      31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,  //
      23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const __m512i rounded = (__m512i)_mm512_cvtne2ps_pbh(y, x);  // x in the lower half.
  _mm512_storeu_si512(p, _mm512_permutexvar_epi16(interleave, rounded));
}

inline __m512i load_pairs(const Bf16 *p) { return _mm512_loadu_si512(p); }

/// The first and the second elements of 16 pairs.
inline __m512 first_of_pairs(__m512i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16)); }
inline __m512 second_of_pairs(__m512i x) {
  return _mm512_castsi512_ps(_mm512_and_si512(x, _mm512_set1_epi32(-65536)));
}

/// The even and the odd ones of 2 kWidth floats, and back.
inline void split_two(const float *p, __m512 *v) {
  const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  const __m512 low = _mm512_loadu_ps(p);
  const __m512 high = _mm512_loadu_ps(p + 16);
  v[0] = _mm512_permutex2var_ps(low, even, high);
  v[1] = _mm512_permutex2var_ps(low, odd, high);
}
inline void join_two(const __m512 *v, float *p) {
  const __m512i low = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  _mm512_storeu_ps(p, _mm512_permutex2var_ps(v[0], low, v[1]));
  _mm512_storeu_ps(p + 16, _mm512_permutex2var_ps(v[0], high, v[1]));
}

/// Splits 32 pairs into their first and their second elements.
inline void split_pairs(const Bf16 *pairs, Bf16 *first, Bf16 *second) {
  const __m512i a = _mm512_loadu_si512(pairs);
  const __m512i b = _mm512_loadu_si512(pairs + 32);
  const __m256i low_a = _mm512_cvtepi32_epi16(a);
  const __m256i low_b = _mm512_cvtepi32_epi16(b);
  const __m256i high_a = _mm512_cvtepi32_epi16(_mm512_srli_epi32(a, 16));
  const __m256i high_b = _mm512_cvtepi32_epi16(_mm512_srli_epi32(b, 16));
  _mm512_storeu_si512(first, _mm512_inserti64x4(_mm512_castsi256_si512(low_a), low_b, 1));
  _mm512_storeu_si512(second, _mm512_inserti64x4(_mm512_castsi256_si512(high_a), high_b, 1));
}

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#include "cpu/tiles/avx512_vectors.h"
#include "cpu/tiles/tile.h"

#include "cpu/tiles/mma_bf16.h"

#endif  // GDN_CPU_TILES_TILE_AVX512BF16_H_
