#ifndef GDN_CPU_TILES_TILE_AVX2_H_
#define GDN_CPU_TILES_TILE_AVX2_H_

// The tile layer on AVX2, FMA and F16C. tile.h describes the vocabulary.

#include <immintrin.h>

#include "cpu/tiles/elements.h"

namespace gdn::cpu::GDN_ISA {
namespace {

constexpr int kWidth = 8;
constexpr int kTileRows = 4;
constexpr bool kFused = true;
constexpr bool kHasBf16Dot = false;
constexpr bool kShifts = false;

using Vec = __m256;

inline Vec zero() { return _mm256_setzero_ps(); }
inline Vec set1(float x) { return _mm256_set1_ps(x); }

inline Vec load(const float *p) { return _mm256_loadu_ps(p); }
inline void store(float *p, Vec v) { _mm256_storeu_ps(p, v); }

inline Vec widen(Bf16, __m128i x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}
inline Vec widen(F16, __m128i x) { return _mm256_cvtph_ps(x); }

inline __m128i narrow(Bf16, Vec v) {
  const __m256i u = _mm256_castps_si256(v);
  const __m256i high = _mm256_srli_epi32(u, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF));
  const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(u, bias), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
  const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
  const __m256i r = _mm256_blendv_epi8(rounded, quiet, nan);
  return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
}
inline __m128i narrow(F16, Vec v) {
  return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

inline Vec load(const Bf16 *p) {
  return widen(Bf16{}, _mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
}
inline Vec load(const F16 *p) {
  return widen(F16{}, _mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
}
inline void store(Bf16 *p, Vec v) {
  _mm_storeu_si128(reinterpret_cast<__m128i *>(p), narrow(Bf16{}, v));
}
inline void store(F16 *p, Vec v) {
  _mm_storeu_si128(reinterpret_cast<__m128i *>(p), narrow(F16{}, v));
}

inline __m256i lane_mask(int64_t n) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const int32_t count = n < 8 ? static_cast<int32_t>(n) : 8;
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes);
}
inline Vec load_n(const float *p, int64_t n) { return _mm256_maskload_ps(p, lane_mask(n)); }
inline void store_n(float *p, Vec v, int64_t n) { _mm256_maskstore_ps(p, lane_mask(n), v); }

/// The first n of 8 elements of 16 bits, 4, 2 and 1 of them as the bits of n say, in registers:
/// what is written in parts and then read whole waits for the parts to reach the cache.
inline __m128i load_16_bits(const void *p, int64_t n) {
  const auto *x = static_cast<const char *>(p);
  int64_t low = 0;
  if ((n & 4) != 0) {
    std::memcpy(&low, x, 8);
    x += 8;
  }
  uint64_t rest = 0;
  if ((n & 2) != 0) {
    uint32_t two;
    std::memcpy(&two, x, 4);
    rest = two;
    x += 4;
  }
  if ((n & 1) != 0) {
    uint16_t one;
    std::memcpy(&one, x, 2);
    rest |= static_cast<uint64_t>(one) << (16 * (n & 2));
  }
  const auto other = static_cast<int64_t>(rest);
  return (n & 4) != 0 ? _mm_set_epi64x(other, low) : _mm_set_epi64x(0, other);
}
inline void store_16_bits(void *p, __m128i v, int64_t n) {
  auto *x = static_cast<char *>(p);
  auto rest = static_cast<uint64_t>(_mm_cvtsi128_si64(v));
  if ((n & 4) != 0) {
    std::memcpy(x, &rest, 8);
    rest = static_cast<uint64_t>(_mm_extract_epi64(v, 1));
    x += 8;
  }
  if ((n & 2) != 0) {
    std::memcpy(x, &rest, 4);
    rest >>= 32;
    x += 4;
  }
  if ((n & 1) != 0) std::memcpy(x, &rest, 2);
}
template <class E>
inline Vec load_n(const E *p, int64_t n) {
  return n >= kWidth ? load(p) : widen(E{}, load_16_bits(p, n));
}
template <class E>
inline void store_n(E *p, Vec v, int64_t n) {
  if (n >= kWidth) return store(p, v);
  store_16_bits(p, narrow(E{}, v), n);
}

inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }

inline Vec select_gt(Vec x, Vec y, Vec a, Vec b) {
  return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, y, _CMP_GT_OQ));
}
inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
inline Vec abs(Vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a); }
inline Vec scale2(Vec x, Vec n) {
  const __m256i i = _mm256_cvtps_epi32(n);
  const __m256i half = _mm256_srai_epi32(i, 1);
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256i first = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
  const __m256i rest = _mm256_add_epi32(_mm256_sub_epi32(i, half), bias);
  const __m256i second = _mm256_slli_epi32(rest, 23);
  return _mm256_mul_ps(_mm256_mul_ps(x, _mm256_castsi256_ps(first)), _mm256_castsi256_ps(second));
}
inline Vec reciprocal(Vec x) { return set1(1.0F) / x; }
inline Vec rsqrt(Vec x) { return _mm256_div_ps(_mm256_set1_ps(1.0F), _mm256_sqrt_ps(x)); }

inline float reduce_add(Vec v) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
inline float reduce_max(Vec v) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

inline void transpose_square(const void *source, int64_t source_stride, void *target,
                             int64_t target_stride) {
  const float *s = static_cast<const float *>(source);
  float *t = static_cast<float *>(target);
  Vec r[8], u[8];
  for (int i = 0; i < 8; ++i) r[i] = load(s + i * source_stride);
  for (int i = 0; i < 8; i += 2) {
    u[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    u[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(u[i], u[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(u[i], u[i + 2], 0xEE);
    r[i + 2] = _mm256_shuffle_ps(u[i + 1], u[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(u[i + 1], u[i + 3], 0xEE);
  }
  for (int i = 0; i < 4; ++i) {
    store(t + i * target_stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    store(t + (i + 4) * target_stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}

inline void prefetch(const void *p) { __builtin_prefetch(p, 0, 2); }

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#include "cpu/tiles/coarse.h"
#include "cpu/tiles/tile.h"

#endif  // GDN_CPU_TILES_TILE_AVX2_H_
