#ifndef GDN_CPU_TILES_TILE_GENERIC_H_
#define GDN_CPU_TILES_TILE_GENERIC_H_

// The tile layer in portable vector extensions of gcc and clang: the compiler lowers them to
// whatever the baseline of the target has. tile.h describes the vocabulary.

#include "cpu/tiles/elements.h"

namespace gdn::cpu::GDN_ISA {
namespace {

constexpr int kWidth = 4;
constexpr int kTileRows = 4;
constexpr bool kFused = false;
constexpr bool kHasBf16Dot = false;
constexpr bool kShifts = false;

using Vec = float __attribute__((vector_size(16)));
using IntVec = int32_t __attribute__((vector_size(16)));

inline Vec zero() { return Vec{}; }
inline Vec set1(float x) { return Vec{x, x, x, x}; }

inline Vec load(const float *p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float *p, Vec v) { std::memcpy(p, &v, sizeof v); }

inline Vec load(const Bf16 *p) {
  return Vec{to_f32(p[0]), to_f32(p[1]), to_f32(p[2]), to_f32(p[3])};
}
inline Vec load(const F16 *p) {
  return Vec{to_f32(p[0]), to_f32(p[1]), to_f32(p[2]), to_f32(p[3])};
}

template <class E>
inline void store(E *p, Vec v) {
  for (int i = 0; i < kWidth; ++i) p[i] = round_to(v[i], E{});
}

template <class E>
inline Vec load_n(const E *p, int64_t n) {
  Vec v = zero();
  for (int i = 0; i < kWidth && i < n; ++i) v[i] = to_f32(p[i]);
  return v;
}
template <class E>
inline void store_n(E *p, Vec v, int64_t n) {
  for (int i = 0; i < kWidth && i < n; ++i) p[i] = round_to(v[i], E{});
}

inline Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
inline Vec fnma(Vec a, Vec b, Vec c) { return c - a * b; }

inline Vec select_gt(Vec x, Vec y, Vec a, Vec b) { return x > y ? a : b; }
inline Vec max(Vec a, Vec b) { return a > b ? a : b; }
inline Vec min(Vec a, Vec b) { return a < b ? a : b; }
inline Vec abs(Vec a) { return (Vec)((IntVec)a & 0x7FFFFFFF); }

inline Vec scale2(Vec x, Vec n) {
  const IntVec i = __builtin_convertvector(n, IntVec);
  const IntVec half = i >> 1;
  const Vec first = (Vec)((half + 127) << 23);
  const Vec second = (Vec)((i - half + 127) << 23);
  return x * first * second;
}

inline Vec reciprocal(Vec x) { return set1(1.0F) / x; }
inline Vec rsqrt(Vec x) {
  Vec y;
  for (int i = 0; i < kWidth; ++i) y[i] = 1.0F / __builtin_sqrtf(x[i]);
  return y;
}

inline float reduce_add(Vec v) { return (v[0] + v[2]) + (v[1] + v[3]); }
inline float reduce_max(Vec v) {
  const float a = v[0] > v[2] ? v[0] : v[2];
  const float b = v[1] > v[3] ? v[1] : v[3];
  return a > b ? a : b;
}

inline void transpose_square(const void *source, int64_t source_stride, void *target,
                             int64_t target_stride) {
  const char *s = static_cast<const char *>(source);
  char *t = static_cast<char *>(target);
  for (int i = 0; i < kWidth; ++i) {
    for (int j = 0; j < kWidth; ++j) {
      std::memcpy(t + 4 * (j * target_stride + i), s + 4 * (i * source_stride + j), 4);
    }
  }
}

inline void prefetch(const void *p) { __builtin_prefetch(p, 0, 2); }

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#include "cpu/tiles/coarse.h"
#include "cpu/tiles/tile.h"

#endif  // GDN_CPU_TILES_TILE_GENERIC_H_
