#ifndef GDN_CPU_AMX_PAIRS_H_
#define GDN_CPU_AMX_PAIRS_H_

// Vectors of bf16 pairs beside those of the tile header, which is avx512bf16's.

#include "cpu/tiles/tile_avx512bf16.h"

namespace gdn::cpu::amx {
namespace {

/// Dwords whose low half is the upper half of lo and whose high half is that of hi.
[[gnu::always_inline]] inline __m512i pack_upper_halves(__m512i lo, __m512i hi) {
  return _mm512_mask_blend_epi16(0xAAAAAAAAU, _mm512_srli_epi32(lo, 16), hi);
}

/// Half a bf16 unit in the last place: adding it to the bits of a float and cutting the lower half
/// rounds to nearest, ties away from zero.
[[gnu::always_inline]] inline __m512i add_half_ulp(Vec x) {
  return _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
}

/// bf16 pairs (lo, hi), rounded to nearest.
[[gnu::always_inline]] inline __m512i pack_bf16(Vec lo, Vec hi) {
  return pack_upper_halves(add_half_ulp(lo), add_half_ulp(hi));
}

/// Stores bf16 pairs (x, y) as a high part, rounded to nearest, and a low part: what the high part
/// leaves, which is exact in f32, rounded to nearest.
[[gnu::always_inline]] inline void store_split(void *high, void *low, Vec x, Vec y) {
  const __m512i bits_x = add_half_ulp(x);
  const __m512i bits_y = add_half_ulp(y);
  _mm512_store_si512(high, pack_upper_halves(bits_x, bits_y));
  _mm512_store_si512(low, pack_bf16(x - second_of_pairs(bits_x), y - second_of_pairs(bits_y)));
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_PAIRS_H_
