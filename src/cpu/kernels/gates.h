#ifndef GDN_CPU_KERNELS_GATES_H_
#define GDN_CPU_KERNELS_GATES_H_

// Decays and betas of one value head, with the in-kernel gate and sigmoid applied. Include GDN_TILE
// and gate_rate.h first.

namespace gdn::cpu::GDN_ISA {
namespace {

/// Tokens that one call of load_gates() covers at most.
constexpr int64_t kGateTokens = 32;

/// Gathers t[batch, token + i, head] for i < n into y and zeros the rest of y.
inline void gather_tokens(const Tensor &t, int64_t batch, int64_t token, int64_t head, int64_t n,
                          float *y) {
  for (int64_t i = n; i < kGateTokens; ++i) y[i] = 0.0F;
  const int64_t first = t.offset(batch, token, head);
  const int64_t step = t.stride[1];
  with_element(t.dtype, [&](auto element) {
    const auto *x = static_cast<const decltype(element) *>(t.data) + first;
    for (int64_t i = 0; i < n; ++i) y[i] = to_f32(x[i * step]);
  });
}

/// Writes the log decays g[i] and betas[i] of tokens token + i, i < n <= kGateTokens, of one value
/// head; both are 0 from n to kGateTokens, so that such tokens change nothing.
inline void load_gates(const DeltaRule &p, int64_t batch, int64_t token, int64_t head, int64_t n,
                       float *g, float *beta) {
  if (p.g.present()) {
    gather_tokens(p.g, batch, token, head, n, g);
    if (p.gate) {
      const float a_log = load_scalar(p.A_log, p.A_log.offset(head));
      const bool extreme = a_log > kOrdinaryRate || a_log < -kOrdinaryRate;
      const Vec rate = zero() - exp(set1(a_log));
      const bool biased = p.dt_bias.present();
      const Vec bias = set1(biased ? load_scalar(p.dt_bias, p.dt_bias.offset(head)) : 0.0F);
      for (int64_t i = 0; i < n; i += kWidth) {
        const Vec x = load(g + i) + bias;
        store(g + i, extreme ? zero() - extreme_rate(set1(a_log), x) : rate * softplus(x));
      }
    }
    // Below -745 a decay is 0 in double precision already; the bound keeps sums and differences of
    // logarithms finite.
    for (int64_t i = 0; i < n; i += kWidth) store(g + i, max(set1(-1e4F), load(g + i)));
    for (int64_t i = n; i < kGateTokens; ++i) g[i] = 0.0F;
  } else {
    for (int64_t i = 0; i < kGateTokens; ++i) g[i] = 0.0F;
  }
  if (p.beta.present()) {
    gather_tokens(p.beta, batch, token, head, n, beta);
    if (p.beta_sigmoid) {
      const Vec top = set1(p.allow_neg_eigval ? 2.0F : 1.0F);
      for (int64_t i = 0; i < n; i += kWidth) store(beta + i, top * sigmoid(load(beta + i)));
    }
    for (int64_t i = n; i < kGateTokens; ++i) beta[i] = 0.0F;
  } else {
    for (int64_t i = 0; i < kGateTokens; ++i) beta[i] = i < n ? 1.0F : 0.0F;
  }
}

/// exp(g), and kept + rest, which a state is multiplied by: a decay near 1, rounded to f32 and
/// applied to a state thousands of times, is off by as many half ulps; the rest takes that away.
struct Decay {
  float whole;  ///< exp(g).
  float kept;
  float rest;
};

inline Decay decay_of(float g) {
  const float whole = exp(g);
  if (!(g > -0.5F && g <= 0.0F)) return {whole, whole, 0.0F};
  // exp(g) - 1 by its series, in double precision.
  const double x = static_cast<double>(g);
  double p = 1.0;
  for (int i = 10; i > 1; --i) p = 1.0 + p * x / i;
  // Where a product is rounded before it is added, half an ulp of it would be lost again.
  if (!kFused) return {whole, 1.0F, static_cast<float>(x * p)};
  return {whole, whole, static_cast<float>(x * p - (static_cast<double>(whole) - 1.0))};
}

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_GATES_H_
