#ifndef GDN_CPU_TILES_COARSE_H_
#define GDN_CPU_TILES_COARSE_H_

// The primitives of coarse functions, for sets that have no instructions for them. Included by
// tile_<set>.h after its other primitives.

namespace gdn::cpu::GDN_ISA {
namespace {

/// The integer at or below t, or the next one above it where t is one.
inline Vec floor_bounded(Vec t) {
  const Vec magic = set1(12582912.0F);  // Adding 1.5 * 2^23 rounds to an integer.
  return ((t - set1(0.5F)) + magic) - magic;
}
inline Vec bounded_exponent(Vec t) { return max(set1(-252.0F), min(set1(254.0F), t)); }

inline Vec fraction(Vec t) {
  const Vec bounded = bounded_exponent(t);
  return bounded - floor_bounded(bounded);
}
inline Vec scale2_floor(Vec a, Vec t) { return scale2(a, floor_bounded(bounded_exponent(t))); }
inline Vec reciprocal_estimate(Vec a) { return reciprocal(a); }

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_TILES_COARSE_H_
