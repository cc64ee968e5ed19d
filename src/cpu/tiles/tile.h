#ifndef GDN_CPU_TILES_TILE_H_
#define GDN_CPU_TILES_TILE_H_

// The vocabulary of kernels. A kernel includes GDN_TILE, which is tile_<set>.h; that defines the
// primitives below and then includes this file for what is built from them.
//
// Primitives, one implementation per instruction set (namespace gdn::cpu::GDN_ISA, unnamed):
//   kWidth                     f32 lanes of a Vec
//   kTileRows                  rows of a register tile (mma.h)
//   kFused                     whether fma() and fnma() round once
//   kHasBf16Dot                whether the set has a bf16 dot product: Bf16Operand (mma_bf16.h)
//   kShifts                    whether the set has a ShiftedRow, which reads rows that start in the
//                              middle of cache lines by loads of whole lines
//   Vec                        a register of kWidth floats; + - * / work on it
//   zero(), set1(x)
//   load(p), store(p, v)       p: float, Bf16 or F16, no alignment needed; storing rounds to
//                              nearest even
//   load_n(p, n), store_n      the first n lanes only (0 <= n; more than kWidth counts as kWidth);
//                              the others load as 0 and memory past n is not touched
//   fma(a, b, c)               a b + c        } fused where the set has it
//   fnma(a, b, c)              c - a b        }
//   select_gt(x, y, a, b)      x > y ? a : b
//   max, min                   the second operand if either is NaN
//   abs(a)
//   scale2(a, n)               a 2^n for integral n in [-252, 254]
//   reciprocal(a)              1 / a within 1 ulp, for finite a
//   rsqrt(a)                   1 / sqrt(a), both steps correctly rounded
//   fraction(t)                what t lies above an integer n at or next below it, 0 to 1; any
//   value
//                              in that range for an infinite t
//   scale2_floor(a, t)         a 2^n for that n and 1 <= a <= 2; 0 or infinity beyond float's range
//   reciprocal_estimate(a)     1 / a within 2^-14 of it, 0 for infinity, for a >= 1
//   reduce_add, reduce_max     over the lanes, in an order fixed per set
//   transpose_square(s, ss, t, ts)   t[j][i] = s[i][j] for 0 <= i, j < kWidth; elements are any 4
//                              bytes, strides count elements, s and t do not overlap
//   prefetch(p)                towards the second-level cache
//   split_four(p, v)           v[i] has the i-th of four elements of kWidth groups of four; sets
//                              with a quick way have overloads, tile.h has the others
//
// Kernels write fma() where two code paths must agree in their bits, so that the compiler's own
// contraction decides nothing there.

#include "cpu/tiles/mma.h"

namespace gdn::cpu::GDN_ISA {
namespace {

/// Defined by sets with kShifts.
template <int kVectors>
class ShiftedRow;

/// e^x for -104 <= x <= 89.
inline Vec exp_bounded(Vec x) {
  // Adding 1.5 * 2^23 rounds to an integer.
  const Vec magic = set1(12582912.0F);
  const Vec n = fma(x, set1(1.44269504F), magic) - magic;
  Vec r = fnma(n, set1(0.693145752F), x);  // ln 2 in two parts, the first with 9 trailing zeros
  r = fnma(n, set1(1.42860677e-6F), r);
  // 1 + r + r^2 p(r), p the best approximation for |r| <= ln(2) / 2: 2^-28 of e^r.
  Vec p = fma(r, set1(0.001381454F), set1(0.008368745F));
  p = fma(r, p, set1(0.04166839F));
  p = fma(r, p, set1(0.16666521F));
  p = fma(r, p, set1(0.49999994F));
  p = fma(r * r, p, r);
  return scale2(p + set1(1.0F), n);
}

/// e^x, about 1 ulp: 0 below -103.98, infinity above 88.73, NaN for NaN.
inline Vec exp(Vec x) { return exp_bounded(max(set1(-104.0F), min(set1(89.0F), x))); }

/// ln(1 + y) for 0 <= y <= 1, about 2 ulp, also relative to tiny results.
inline Vec log1p_unit(Vec y) {
  // ln(1 + y) = 2 atanh(s), s = y / (2 + y) <= 1/3.
  const Vec s = y / (y + set1(2.0F));
  const Vec z = s * s;
  Vec p = fma(z, set1(1.0F / 17.0F), set1(1.0F / 15.0F));
  p = fma(z, p, set1(1.0F / 13.0F));
  p = fma(z, p, set1(1.0F / 11.0F));
  p = fma(z, p, set1(1.0F / 9.0F));
  p = fma(z, p, set1(1.0F / 7.0F));
  p = fma(z, p, set1(1.0F / 5.0F));
  p = fma(z, p, set1(1.0F / 3.0F));
  const Vec twice = s + s;
  return fma(twice * z, p, twice);
}

/// ln(1 + e^x); x itself above 20.
inline Vec softplus(Vec x) {
  const Vec y = log1p_unit(exp(zero() - abs(x)));
  return select_gt(x, set1(20.0F), x, max(zero(), x) + y);
}

/// 1 / (1 + e^-x); the upper bound keeps the sum finite.
inline Vec sigmoid(Vec x) {
  const Vec bounded = max(set1(-104.0F), min(set1(88.0F), zero() - x));
  return reciprocal(set1(1.0F) + exp_bounded(bounded));
}

/// 2^t within 2^-18 of it: for results that are rounded to 16 bits.
inline Vec exp2_coarse(Vec t) {
  const Vec r = fraction(t);
  // The polynomial whose largest relative error on 0 .. 1 is least.
  Vec p = fma(r, set1(0.013534168F), set1(0.05201146F));
  p = fma(r, p, set1(0.24144275F));
  p = fma(r, p, set1(0.69300383F));
  p = fma(r, p, set1(1.0000026F));
  return scale2_floor(p, t);
}

/// sigmoid(x) and silu(x) as exact as a result of type E needs.
template <class E>
inline Vec sigmoid_to(Vec x) {
  if constexpr (sizeof(E) < sizeof(float)) {
    return reciprocal_estimate(set1(1.0F) + exp2_coarse(x * set1(-1.44269504F)));
  } else {
    return sigmoid(x);
  }
}
template <class E>
inline Vec silu_to(Vec x) {
  return x * sigmoid_to<E>(x);
}

inline float exp(float x) {
  float y[kWidth];
  store(y, exp(set1(x)));
  return y[0];
}
inline float softplus(float x) {
  float y[kWidth];
  store(y, softplus(set1(x)));
  return y[0];
}
inline float sigmoid(float x) {
  float y[kWidth];
  store(y, sigmoid(set1(x)));
  return y[0];
}

/// Sum of x[i]^2 over n elements of any type, lane by lane and then over the lanes.
template <class E>
inline float sum_of_squares(const E *x, int64_t n) {
  Vec sum = zero();
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const Vec v = load(x + i);
    sum = fma(v, v, sum);
  }
  if (i < n) {
    const Vec v = load_n(x + i, n - i);
    sum = fma(v, v, sum);
  }
  return reduce_add(sum);
}

template <class E>
inline void split_four(const E *p, Vec *v) {
  float rows[4][kWidth];
  for (int c = 0; c < kWidth; ++c) {
    for (int i = 0; i < 4; ++i) rows[i][c] = to_f32(p[c * 4 + i]);
  }
  for (int i = 0; i < 4; ++i) v[i] = load(rows[i]);
}

/// y[i] = x[i] for n elements, converting between any two element types.
template <class X, class Y>
inline void convert_row(const X *x, int64_t n, Y *y) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(y + i, load(x + i));
  if (i < n) store_n(y + i, load_n(x + i, n - i), n - i);
}

/// Calls f(offset, lanes) for vectors that cover n elements; lanes < kWidth only at the end.
template <class F>
inline void for_each_vec(int64_t n, F &&f) {
  for (int64_t i = 0; i < n; i += kWidth) f(i, n - i < kWidth ? n - i : int64_t{kWidth});
}

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_TILES_TILE_H_
