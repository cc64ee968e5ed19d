#ifndef GDN_CPU_KERNELS_GATED_ROW_H_
#define GDN_CPU_KERNELS_GATED_ROW_H_

// The gated norm of one row. Include GDN_TILE, row_norm.h and strided.h first.

namespace gdn::cpu::GDN_ISA {
namespace {

/// y = x rsqrt(mean x^2 + eps) weight gate(z) of `width` elements, where gate is silu or sigmoid.
template <bool kWeighted, bool kGated, class X, class E, class W>
inline void gated_row(const X *x, const E *z, const W *weight, int64_t weight_stride, int64_t width,
                      float eps, bool sigmoid_gate, E *y) {
  with_row_norm(row_norm(x, width, width, eps), [&](auto normalise) {
    for_each_vec(width, [&](int64_t i, int64_t lanes) {
      Vec v = normalise(load_strided(x + i, 1, lanes));
      if constexpr (kWeighted) {
        v = v * load_strided(weight + i * weight_stride, weight_stride, lanes);
      }
      if constexpr (kGated) {
        const Vec gate = load_strided(z + i, 1, lanes);
        v = v * ((sigmoid_gate ? set1(1.0F) : gate) * sigmoid(gate));
      }
      store_strided(y + i, 1, v, lanes);
    });
  });
}

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_GATED_ROW_H_
