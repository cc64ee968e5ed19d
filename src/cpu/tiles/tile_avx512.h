#ifndef GDN_CPU_TILES_TILE_AVX512_H_
#define GDN_CPU_TILES_TILE_AVX512_H_

// The tile layer on AVX-512 F, BW, DQ and VL. tile.h describes the vocabulary.

#include <immintrin.h>

#include "cpu/tiles/elements.h"

namespace gdn::cpu::GDN_ISA {
namespace {

constexpr bool kHasBf16Dot = false;

inline __m256i narrow(Bf16, __m512 v) {
  const __m512i u = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF));
  __m512i r = _mm512_add_epi32(u, bias);
  const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  r = _mm512_mask_or_epi32(r, nan, u, _mm512_set1_epi32(0x400000));
  const __m512i upper_halves = _mm512_set_epi16(       //
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  //
      31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
  return _mm512_castsi512_si256(_mm512_permutexvar_epi16(upper_halves, r));
}

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#include "cpu/tiles/avx512_vectors.h"
#include "cpu/tiles/tile.h"

#endif  // GDN_CPU_TILES_TILE_AVX512_H_
