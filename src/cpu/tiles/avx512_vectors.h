#ifndef GDN_CPU_TILES_AVX512_VECTORS_H_
#define GDN_CPU_TILES_AVX512_VECTORS_H_

// The vectors of all AVX-512 tile headers (F, BW, DQ and VL). Before including this, a header
// defines narrow(Bf16{}, v), which rounds 16 floats to bf16. tile.h describes the vocabulary.

#include <immintrin.h>

#include "cpu/tiles/elements.h"

namespace gdn::cpu::GDN_ISA {
namespace {

constexpr int kWidth = 16;
constexpr bool kFused = true;
constexpr bool kShifts = true;
constexpr int kTileRows = 8;

using Vec = __m512;

inline Vec zero() { return _mm512_setzero_ps(); }
inline Vec set1(float x) { return _mm512_set1_ps(x); }

/// The first n lanes; n is 0 or more.
inline __mmask16 lane_mask(int64_t n) {
  // NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult)
  return n >= 16 ? static_cast<__mmask16>(0xFFFF) : static_cast<__mmask16>((1U << n) - 1U);
}

inline Vec load(const float *p) { return _mm512_loadu_ps(p); }
inline void store(float *p, Vec v) { _mm512_storeu_ps(p, v); }
inline Vec load_n(const float *p, int64_t n) { return _mm512_maskz_loadu_ps(lane_mask(n), p); }
inline void store_n(float *p, Vec v, int64_t n) { _mm512_mask_storeu_ps(p, lane_mask(n), v); }

inline Vec widen(Bf16, __m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
inline Vec widen(F16, __m256i x) { return _mm512_cvtph_ps(x); }

inline __m256i narrow(F16, Vec v) {
  return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

inline __m256i load_half(const void *p) {
  return _mm256_loadu_si256(static_cast<const __m256i *>(p));
}
inline Vec load(const Bf16 *p) { return widen(Bf16{}, load_half(p)); }
inline Vec load(const F16 *p) { return widen(F16{}, load_half(p)); }
inline void store(Bf16 *p, Vec v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), narrow(Bf16{}, v));
}
inline void store(F16 *p, Vec v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), narrow(F16{}, v));
}
template <class E>
inline Vec load_n(const E *p, int64_t n) {
  return widen(E{}, _mm256_maskz_loadu_epi16(lane_mask(n), p));
}
template <class E>
inline void store_n(E *p, Vec v, int64_t n) {
  _mm256_mask_storeu_epi16(p, lane_mask(n), narrow(E{}, v));
}

/// Vectors 0 to kVectors - 1 of a row of floats that starts anywhere in a cache line: lanes past
/// the row's `count` elements, more than (kVectors - 1) * kWidth, are 0. Each line is loaded once
/// and turned to where the row has its elements; the parts of a vector meet by a mask, for which,
/// unlike for a permutation of two registers, no multiply-add has to wait. Nothing outside the row
/// is looked at.
template <int kVectors>
class ShiftedRow {
 public:
  static_assert(kVectors > 1, "the first line holds elements of this row alone from the shift on");

  ShiftedRow(const float *row, int64_t count) {
    const auto shift = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(row) / sizeof(float) % 16);
    line_ = row - shift;
    alignas(64) static constexpr int32_t kLanes[32] = {
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,  //
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    turn_ = _mm512_loadu_si512(kLanes + shift);
    from_next_ = static_cast<__mmask16>(0xFFFF0000U >> shift);
    const auto left = static_cast<uint32_t>(count - (kVectors - 1) * kWidth);
    const uint32_t last_two = (uint32_t{1} << (shift + left)) - 1U;
    last_lines_[0] = static_cast<__mmask16>(last_two);
    last_lines_[1] = static_cast<__mmask16>(last_two >> 16);
    const auto first = static_cast<__mmask16>(0xFFFFU << shift);
    turned_ = _mm512_permutexvar_ps(turn_, _mm512_maskz_load_ps(first, line_));
  }

  /// Vector j, one after the other.
  Vec next(int j) {
    const float *p = line_ + (j + 1) * kWidth;
    const Vec line = j + 2 < kVectors ? _mm512_load_ps(p)
                                      : _mm512_maskz_load_ps(last_lines_[j + 2 - kVectors], p);
    const Vec before = turned_;
    turned_ = _mm512_permutexvar_ps(turn_, line);
    return _mm512_mask_blend_ps(from_next_, before, turned_);
  }

 private:
  const float *line_;
  __m512i turn_;
  __mmask16 from_next_;
  __mmask16 last_lines_[2];
  Vec turned_;
};

inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }

inline Vec select_gt(Vec x, Vec y, Vec a, Vec b) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, y, _CMP_GT_OQ), b, a);
}
inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
inline Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
inline Vec abs(Vec a) { return _mm512_abs_ps(a); }
inline Vec scale2(Vec x, Vec n) { return _mm512_scalef_ps(x, n); }
inline Vec reciprocal(Vec x) {
  // A 14-bit estimate and one Newton step.
  const Vec y = _mm512_rcp14_ps(x);
  return fma(y, fnma(x, y, set1(1.0F)), y);
}
inline Vec fraction(Vec t) {
  return _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
inline Vec scale2_floor(Vec a, Vec t) { return _mm512_scalef_ps(a, t); }
inline Vec reciprocal_estimate(Vec a) { return _mm512_rcp14_ps(a); }
inline Vec rsqrt(Vec x) { return _mm512_div_ps(_mm512_set1_ps(1.0F), _mm512_sqrt_ps(x)); }

inline float reduce_add(Vec v) {
  const __m256 low = _mm512_castps512_ps256(v);
  const __m256 high = _mm512_extractf32x8_ps(v, 1);
  const __m256 y = _mm256_add_ps(low, high);
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
inline float reduce_max(Vec v) { return _mm512_reduce_max_ps(v); }

/// Four floats of each of rows 0, 4, 8 and 12, one row to a quarter of the register.
inline Vec load_quarters(const float *p, int64_t stride) {
  Vec v = _mm512_castps128_ps512(_mm_loadu_ps(p));
  v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 4 * stride), 1);
  v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 8 * stride), 2);
  return _mm512_insertf32x4(v, _mm_loadu_ps(p + 12 * stride), 3);
}

inline void transpose_square(const void *source, int64_t source_stride, void *target,
                             int64_t target_stride) {
  const float *s = static_cast<const float *>(source);
  float *t = static_cast<float *>(target);
  // Loads place the rows, so that only 4 x 4 blocks inside the quarters are left to transpose.
  for (int c = 0; c < 16; c += 4) {
    const Vec r0 = load_quarters(s + c, source_stride);
    const Vec r1 = load_quarters(s + c + source_stride, source_stride);
    const Vec r2 = load_quarters(s + c + 2 * source_stride, source_stride);
    const Vec r3 = load_quarters(s + c + 3 * source_stride, source_stride);
    const Vec low01 = _mm512_unpacklo_ps(r0, r1);
    const Vec high01 = _mm512_unpackhi_ps(r0, r1);
    const Vec low23 = _mm512_unpacklo_ps(r2, r3);
    const Vec high23 = _mm512_unpackhi_ps(r2, r3);
    store(t + c * target_stride, _mm512_shuffle_ps(low01, low23, 0x44));
    store(t + (c + 1) * target_stride, _mm512_shuffle_ps(low01, low23, 0xEE));
    store(t + (c + 2) * target_stride, _mm512_shuffle_ps(high01, high23, 0x44));
    store(t + (c + 3) * target_stride, _mm512_shuffle_ps(high01, high23, 0xEE));
  }
}

/// Words 2 i + odd of 16 groups of two, where a word is a pair of 16-bit elements.
inline __m512i every_other_word(const void *p, int odd) {
  const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const auto *words = static_cast<const int32_t *>(p);
  return _mm512_permutex2var_epi32(_mm512_loadu_si512(words),
                                   _mm512_add_epi32(even, _mm512_set1_epi32(odd)),
                                   _mm512_loadu_si512(words + 16));
}
inline void split_four(const Bf16 *p, Vec *v) {
  for (int i = 0; i < 2; ++i) {
    const __m512i pairs = every_other_word(p, i);
    v[2 * i] = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
    v[2 * i + 1] = _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(-65536)));
  }
}
inline void split_four(const F16 *p, Vec *v) {
  for (int i = 0; i < 2; ++i) {
    const __m512i pairs = every_other_word(p, i);
    v[2 * i] = widen(F16{}, _mm512_cvtepi32_epi16(pairs));
    v[2 * i + 1] = widen(F16{}, _mm512_cvtepi32_epi16(_mm512_srli_epi32(pairs, 16)));
  }
}

inline void prefetch(const void *p) { __builtin_prefetch(p, 0, 2); }

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_TILES_AVX512_VECTORS_H_
