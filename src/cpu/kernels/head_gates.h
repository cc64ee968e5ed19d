#ifndef GDN_CPU_KERNELS_HEAD_GATES_H_
#define GDN_CPU_KERNELS_HEAD_GATES_H_

// Decays and betas of many value heads at one token. Include GDN_TILE, gate_rate.h and strided.h
// first.

#include "core/delta_rule.h"

namespace gdn::cpu::GDN_ISA {
namespace {

/// Writes the log decays g[i] and betas[i] of value heads head + i, i < count, with the gate and
/// the sigmoid; whole vectors are written. A head's bits are those of load_gates().
inline void load_head_gates(const DeltaRule &p, int64_t batch, int64_t token, int64_t head,
                            int64_t count, float *g, float *beta) {
  const Vec top = set1(p.allow_neg_eigval ? 2.0F : 1.0F);
  const Vec ordinary = set1(kOrdinaryRate);
  for_each_vec(count, [&](int64_t i, int64_t lanes) {
    const auto heads = [&](const Tensor &t) {
      return load_strided(t, t.offset(head + i), t.stride[0], lanes);
    };
    const auto raw = [&](const Tensor &t) {
      return load_strided(t, t.offset(batch, token, head + i), t.stride[2], lanes);
    };
    const Vec a_log = heads(p.A_log);
    const Vec x = raw(p.g) + (p.dt_bias.present() ? heads(p.dt_bias) : zero());
    Vec decay = (zero() - exp(a_log)) * softplus(x);
    if (reduce_add(select_gt(abs(a_log), ordinary, set1(1.0F), zero())) > 0.0F) {
      decay = select_gt(abs(a_log), ordinary, zero() - extreme_rate(a_log, x), decay);
    }
    store(g + i, max(set1(-1e4F), decay));
    store(beta + i, top * sigmoid(raw(p.beta)));
  });
}

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_HEAD_GATES_H_
