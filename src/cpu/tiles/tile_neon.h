#ifndef GDN_CPU_TILES_TILE_NEON_H_
#define GDN_CPU_TILES_TILE_NEON_H_

// The tile layer on the Advanced SIMD of 64-bit Arm. tile.h describes the vocabulary.

#include <arm_neon.h>

#include "cpu/tiles/elements.h"

namespace gdn::cpu::GDN_ISA {
namespace {

constexpr int kWidth = 4;
constexpr int kTileRows = 8;
constexpr bool kFused = true;
constexpr bool kHasBf16Dot = false;
constexpr bool kShifts = false;

using Vec = float32x4_t;

inline Vec zero() { return vdupq_n_f32(0.0F); }
inline Vec set1(float x) { return vdupq_n_f32(x); }

inline Vec load(const float *p) { return vld1q_f32(p); }
inline void store(float *p, Vec v) { vst1q_f32(p, v); }

inline Vec widen(Bf16, uint16x4_t x) { return vreinterpretq_f32_u32(vshll_n_u16(x, 16)); }
inline Vec widen(F16, uint16x4_t x) { return vcvt_f32_f16(vreinterpret_f16_u16(x)); }

inline uint16x4_t narrow(Bf16, Vec v) {
  const uint32x4_t u = vreinterpretq_u32_f32(v);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7FFF)));
  const uint32x4_t quiet = vorrq_u32(u, vdupq_n_u32(0x400000));
  return vshrn_n_u32(vbslq_u32(vceqq_f32(v, v), rounded, quiet), 16);
}
inline uint16x4_t narrow(F16, Vec v) { return vreinterpret_u16_f16(vcvt_f16_f32(v)); }

template <class E>
inline Vec load(const E *p) {
  return widen(E{}, vld1_u16(reinterpret_cast<const uint16_t *>(p)));
}
template <class E>
inline void store(E *p, Vec v) {
  vst1_u16(reinterpret_cast<uint16_t *>(p), narrow(E{}, v));
}
template <class E>
inline Vec load_n(const E *p, int64_t n) {
  E buffer[kWidth] = {};
  for (int i = 0; i < kWidth && i < n; ++i) buffer[i] = p[i];
  return load(buffer);
}
template <class E>
inline void store_n(E *p, Vec v, int64_t n) {
  E buffer[kWidth];
  store(buffer, v);
  for (int i = 0; i < kWidth && i < n; ++i) p[i] = buffer[i];
}

inline Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
inline Vec fnma(Vec a, Vec b, Vec c) { return vfmsq_f32(c, a, b); }

inline Vec select_gt(Vec x, Vec y, Vec a, Vec b) { return vbslq_f32(vcgtq_f32(x, y), a, b); }
inline Vec max(Vec a, Vec b) { return select_gt(a, b, a, b); }
inline Vec min(Vec a, Vec b) { return select_gt(b, a, a, b); }
inline Vec abs(Vec a) { return vabsq_f32(a); }
inline Vec reciprocal(Vec x) { return set1(1.0F) / x; }
inline Vec scale2(Vec x, Vec n) {
  const int32x4_t i = vcvtq_s32_f32(n);
  const int32x4_t half = vshrq_n_s32(i, 1);
  const int32x4_t bias = vdupq_n_s32(127);
  const int32x4_t first = vshlq_n_s32(vaddq_s32(half, bias), 23);
  const int32x4_t second = vshlq_n_s32(vaddq_s32(vsubq_s32(i, half), bias), 23);
  return x * vreinterpretq_f32_s32(first) * vreinterpretq_f32_s32(second);
}
inline Vec rsqrt(Vec x) { return set1(1.0F) / vsqrtq_f32(x); }

inline float reduce_add(Vec v) { return vaddvq_f32(v); }
inline float reduce_max(Vec v) { return vmaxvq_f32(v); }

inline void transpose_square(const void *source, int64_t source_stride, void *target,
                             int64_t target_stride) {
  const float *s = static_cast<const float *>(source);
  float *t = static_cast<float *>(target);
  const Vec r0 = load(s);
  const Vec r1 = load(s + source_stride);
  const Vec r2 = load(s + 2 * source_stride);
  const Vec r3 = load(s + 3 * source_stride);
  const float64x2_t even01 = vreinterpretq_f64_f32(vtrn1q_f32(r0, r1));
  const float64x2_t odd01 = vreinterpretq_f64_f32(vtrn2q_f32(r0, r1));
  const float64x2_t even23 = vreinterpretq_f64_f32(vtrn1q_f32(r2, r3));
  const float64x2_t odd23 = vreinterpretq_f64_f32(vtrn2q_f32(r2, r3));
  store(t, vreinterpretq_f32_f64(vtrn1q_f64(even01, even23)));
  store(t + target_stride, vreinterpretq_f32_f64(vtrn1q_f64(odd01, odd23)));
  store(t + 2 * target_stride, vreinterpretq_f32_f64(vtrn2q_f64(even01, even23)));
  store(t + 3 * target_stride, vreinterpretq_f32_f64(vtrn2q_f64(odd01, odd23)));
}

inline void prefetch(const void *p) { __builtin_prefetch(p, 0, 2); }

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#include "cpu/tiles/coarse.h"
#include "cpu/tiles/tile.h"

#endif  // GDN_CPU_TILES_TILE_NEON_H_
