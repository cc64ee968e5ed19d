#ifndef GDN_CPU_KERNELS_GATE_RATE_H_
#define GDN_CPU_KERNELS_GATE_RATE_H_

// exp(A_log) softplus(x), the rate of the gate, where one factor overflows or underflows although
// the product does not. Include GDN_TILE first.

namespace gdn::cpu::GDN_ISA {
namespace {

/// |A_log| up to which the product may be taken as it stands: a softplus that underflows leaves a
/// rate below 1e-30.
constexpr float kOrdinaryRate = 16.0F;

/// exp(a) softplus(x) for any a and x.
[[gnu::noinline]] inline Vec extreme_rate(Vec a, Vec x) {
  // Far below 0 softplus(x) is e^x, and the logarithms add. What their sum loses is added to first
  // order; it is no number where the sum is infinite, and then the bound stands for it.
  const Vec sum = a + x;
  const Vec part = sum - a;
  const Vec lost = (a - (sum - part)) + (x - part);
  const Vec e = exp(sum);
  const Vec logarithmic = fma(e, min(lost, set1(1.0F)), e);
  // Elsewhere the exponential is cut into two factors.
  const Vec bounded = max(set1(-80.0F), min(set1(80.0F), a));
  const Vec product = (exp(bounded) * softplus(x)) * exp(a - bounded);
  return select_gt(set1(-20.0F), x, logarithmic, product);
}

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_GATE_RATE_H_
