#ifndef GDN_CORE_FUSED_GDN_DECODE_H_
#define GDN_CORE_FUSED_GDN_DECODE_H_

#include "core/delta_rule.h"
#include "core/layer.h"

namespace gdn {

/// New tokens of each sequence through convolution, norms, gates, rule and gated norm.
struct FusedGdnDecode {
  /// x is mixed_qkv as [B, C, T]; there is no y.
  CausalConv1dUpdate conv;
  /// q, k and v are the parts of mixed_qkv, before the convolution; g and beta are a and b, with
  /// gate, beta_sigmoid and qk_l2norm; initial_state == final_state is the pool, and o what the
  /// whole operation returns.
  DeltaRule rule;
  float eps = 1e-6F;          ///< Of the gated norm.
  bool sigmoid_gate = false;  ///< The gate is sigmoid(z), not silu(z).
  Tensor z;                   ///< [B, T, HV, DV].
  Tensor norm_weight;         ///< [DV].

  // The first channel of a head's q, k and v.
  GDN_HOST_DEVICE int64_t q_channel(int64_t key_head) const { return key_head * rule.key_dim; }
  GDN_HOST_DEVICE int64_t k_channel(int64_t key_head) const {
    return (rule.heads.key_heads + key_head) * rule.key_dim;
  }
  GDN_HOST_DEVICE int64_t v_channel(int64_t value_head) const {
    return 2 * rule.heads.key_heads * rule.key_dim + value_head * rule.value_dim;
  }

  /// True if sequence n lacks one of its slots: o is 0, and nothing is touched.
  GDN_HOST_DEVICE bool skipped(int64_t n) const {
    return rule.initial_slot(n) < 0 || conv.slot(n) < 0;
  }
};

}  // namespace gdn

#endif  // GDN_CORE_FUSED_GDN_DECODE_H_
