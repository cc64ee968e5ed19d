#ifndef GDN_CORE_DELTA_RULE_H_
#define GDN_CORE_DELTA_RULE_H_

#include "core/sequences.h"

namespace gdn {

/// Which key head a value head reads.
struct HeadMap {
  int64_t key_heads = 1;
  int64_t value_heads = 1;
  bool interleaved = false;

  GDN_HOST_DEVICE int64_t group() const { return value_heads / key_heads; }

  GDN_HOST_DEVICE int64_t key_head(int64_t value_head) const {
    return interleaved ? value_head % key_heads : value_head / group();
  }

  /// Value head i (0 <= i < group()) of a key head.
  GDN_HOST_DEVICE int64_t value_head(int64_t key_head, int64_t i) const {
    return interleaved ? i * key_heads + key_head : key_head * group() + i;
  }
};

/// A checked call of the gated delta rule, chunked or recurrent. States are always presented as
/// [.., HV, DK, DV]; a V-first state is a stride pattern (its DK stride is 1 instead of its DV
/// stride).
struct DeltaRule {
  Sequences sequences;
  HeadMap heads;
  int64_t key_dim = 0;    ///< DK.
  int64_t value_dim = 0;  ///< DV.

  Tensor q, k;            ///< [B, T, HK, DK].
  Tensor v;               ///< [B, T, HV, DV].
  Tensor g, beta;         ///< [B, T, HV]; absent: 0 and 1.
  Tensor A_log, dt_bias;  ///< [HV], with gate.
  Tensor o;               ///< [B, T, HV, DV].

  float scale = 1.0F;
  bool qk_l2norm = false;
  bool gate = false;              ///< g are raw gates, A_log is present.
  bool beta_sigmoid = false;      ///< beta are logits.
  bool allow_neg_eigval = false;  ///< beta is doubled after the sigmoid.

  Tensor initial_state;  ///< [N or slots, HV, DK, DV]; absent: zeros.
  Tensor final_state;    ///< The same tensor as initial_state when in place; absent: not wanted.
  IndexArray state_indices;        ///< Present: pool; initial_state == final_state is the pool.
  IndexArray num_accepted_tokens;  ///< Recurrent with a [N, M] state_indices.

  int64_t chunk_size = 64;  ///< A hint: 16, 32, 64 or 128.
  int64_t checkpoint_every = 0;
  Tensor checkpoints;  ///< [sum floor(L_n / checkpoint_every), HV, DK, DV].
  /// Backend's own: first checkpoint of sequence n, N entries, filled when checkpoints are wanted.
  const int64_t *checkpoint_offsets = nullptr;

  /// True when state_indices names a slot for each token.
  GDN_HOST_DEVICE bool slot_per_token() const {
    return state_indices.present && state_indices.columns > 1;
  }
};

}  // namespace gdn

#endif  // GDN_CORE_DELTA_RULE_H_
