#ifndef GDN_CPU_KERNELS_STRIDED_H_
#define GDN_CPU_KERNELS_STRIDED_H_

// Vectors of elements that need not lie side by side. Included after GDN_TILE. The values are the
// same as those of load_n() and store_n(), so bits do not depend on strides.

namespace gdn::cpu::GDN_ISA {
namespace {

/// The first n lanes (at most kWidth) from p, `stride` elements apart; the others are 0.
template <class E>
inline Vec load_strided(const E *p, int64_t stride, int64_t n) {
  if (stride == 1) return n >= kWidth ? load(p) : load_n(p, n);
  float lanes[kWidth] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = to_f32(p[i * stride]);
  return load(lanes);
}

template <class E>
inline void store_strided(E *p, int64_t stride, Vec v, int64_t n) {
  if (stride == 1) {
    if (n >= kWidth) {
      store(p, v);
    } else {
      store_n(p, v, n);
    }
    return;
  }
  E lanes[kWidth];
  store(lanes, v);
  for (int64_t i = 0; i < n; ++i) p[i * stride] = lanes[i];
}

/// The same from a tensor of any type, at an element offset.
inline Vec load_strided(const Tensor &t, int64_t offset, int64_t stride, int64_t n) {
  if (t.dtype == DType::f32) {
    return load_strided(static_cast<const float *>(t.data) + offset, stride, n);
  }
  if (t.dtype == DType::bf16) {
    return load_strided(static_cast<const Bf16 *>(t.data) + offset, stride, n);
  }
  return load_strided(static_cast<const F16 *>(t.data) + offset, stride, n);
}

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_STRIDED_H_
