#ifndef GDN_CORE_DELTA_RULE_H_
#define GDN_CORE_DELTA_RULE_H_

#include <cstdint>

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
  Slots slots;           ///< Of the pool.
  IndexArray state_indices;         ///< Present: pool; initial_state == final_state is the pool.
  IndexArray num_accepted_tokens;   ///< Recurrent with a [N, M] state_indices.
  IndexArray output_state_indices;  ///< [N] or [N, M], with a pool; absent: state_indices.
  FlagArray has_initial_state;      ///< [N]; false: zeros, whatever initial_state holds.
  bool round_states = false;        ///< Recurrent: to final_state's type after each token.

  int64_t chunk_size = 64;        ///< A hint: 16, 32, 64 or 128.
  int64_t checkpoint_every = 0;   ///< Above 0: checkpoints or checkpoint_indices are present.
  Tensor checkpoints;             ///< [checkpoints of all sequences, HV, DK, DV].
  IndexArray checkpoint_indices;  ///< [N, K]: slots of the pool instead of checkpoints.
  IndexArray positions;           ///< [N]: tokens of the sequence before this call; absent: 0.
  /// Backend's own: first row of sequence n in checkpoints, N entries, filled when those are
  /// wanted.
  const int64_t *checkpoint_offsets = nullptr;

  /// Column of state_indices, of so many, that names the slot to start from, for a sequence with so
  /// many accepted tokens. A number out of range, which only skipped sequences may have, counts as
  /// 1.
  GDN_HOST_DEVICE static int64_t start_column(int64_t accepted, int64_t columns) {
    return accepted >= 1 && accepted <= columns ? accepted - 1 : 0;
  }

  /// Entry of initial_state that holds the state before sequence n, -1 where the sequence is
  /// skipped. Sequences without a pool have an entry each.
  GDN_HOST_DEVICE int64_t initial_slot(int64_t n) const {
    if (!state_indices.present) return n;
    int64_t column = 0;
    if (num_accepted_tokens.present) {
      column = start_column(num_accepted_tokens.at(n), state_indices.columns);
    }
    return slots.named(state_indices.at(n, column));
  }

  /// True if sequence n, which is not skipped, starts from what initial_state holds.
  GDN_HOST_DEVICE bool reads_state(int64_t n) const {
    return initial_state.present() && has_initial_state.at(n);
  }

  /// Where states go: one entry for a sequence, or one for each of its tokens.
  GDN_HOST_DEVICE const IndexArray &output_indices() const {
    return output_state_indices.present ? output_state_indices : state_indices;
  }

  /// True when a slot is named for the state after each token.
  GDN_HOST_DEVICE bool slot_per_token() const {
    return output_indices().present && output_indices().columns > 1;
  }

  /// Entry of final_state that takes the state after sequence n; -1: nobody wants it.
  GDN_HOST_DEVICE int64_t final_slot(int64_t n) const {
    if (!final_state.present()) return -1;
    return output_indices().present ? slots.named(output_indices().at(n)) : n;
  }

  /// With slot_per_token: slot that takes the state after token t of sequence n, or -1.
  GDN_HOST_DEVICE int64_t token_slot(int64_t n, int64_t t) const {
    return t < output_indices().columns ? slots.named(output_indices().at(n, t)) : -1;
  }

  /// Tokens of sequence n before this call, modulo `period`; 0 for a skipped sequence.
  GDN_HOST_DEVICE int64_t phase(int64_t n, int64_t period) const {
    if (!positions.present || initial_slot(n) < 0) return 0;
    const int64_t phase = positions.at(n) % period;
    return phase < 0 ? 0 : phase;
  }

  /// Checkpoints of a sequence of `length` tokens. The first follows after
  /// checkpoint_every - phase(n, checkpoint_every) tokens, the others checkpoint_every apart.
  GDN_HOST_DEVICE int64_t checkpoint_count(int64_t n, int64_t length) const {
    return (phase(n, checkpoint_every) + length) / checkpoint_every;
  }

  /// With checkpoint_indices: slot that takes checkpoint j of sequence n, or -1.
  GDN_HOST_DEVICE int64_t checkpoint_slot(int64_t n, int64_t j) const {
    return j < checkpoint_indices.columns ? slots.named(checkpoint_indices.at(n, j)) : -1;
  }
};

}  // namespace gdn

#endif  // GDN_CORE_DELTA_RULE_H_
