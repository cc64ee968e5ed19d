#ifndef GDN_CASES_DELTA_RULE_CALL_H_
#define GDN_CASES_DELTA_RULE_CALL_H_

#include <gdn/gdn.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cases/array.h"
#include "cases/cases.h"
#include "cases/target.h"

namespace gdn::testing {

/// The operation that a call is made with.
enum class Operation { chunk, recurrent };

/// All operands of one call of the gated delta rule.
struct DeltaRuleCall {
  uint32_t flags = 0;
  int32_t head_map = GDN_HEAD_MAP_BLOCK;
  double scale = 0.0;
  int32_t chunk_size = 0;
  int64_t checkpoint_every = 0;
  bool in_place = false;  ///< final_state is initial_state's memory (without a pool).
  std::vector<int64_t> lengths;

  std::optional<Array> q, k, v, g, beta, A_log, dt_bias, cu_seqlens;
  std::optional<Array> initial_state, final_state, state_indices, num_accepted_tokens;
  std::optional<Array> checkpoints, o;
  std::optional<Array> output_state_indices, has_initial_state, checkpoint_indices, positions;
  int64_t null_slot = 0;
  /// Elements of initial_state before any call.
  std::vector<float> initial_values;

  bool v_first() const { return (flags & GDN_STATE_V_FIRST) != 0; }
  /// A state is stored after each token.
  bool slot_per_token() const;
  /// Only the recurrent operation takes it: an index array has a column for each token, or states
  /// are rounded between tokens.
  bool recurrent_only() const;
  /// The array that holds the state after the call, or null.
  const Array *state_out() const;

  /// The C arguments; they point into this object.
  gdn_gated_delta_rule_args args() const;
  /// Poisons the outputs and restores an in-place state.
  void reset();
  /// Empty if no byte outside the operands' elements has changed, else a sentence.
  std::string damage() const;
  /// Hash of everything that a call may not modify.
  uint64_t input_hash() const;
  /// The same call with the same values, in compact float32.
  DeltaRuleCall widened() const;
  /// Tokens of all sequences together: less than T in a padded buffer.
  int64_t sequence_tokens() const;
  /// Whether an index names a slot.
  bool names_slot(int64_t index) const;
  /// Whether sequence n has no slot to start from.
  bool skips(size_t n) const;
  /// Checkpoints of sequence n.
  int64_t checkpoint_count(size_t n) const;
  /// For each entry of the state (N or slots) whether the call may write it.
  std::vector<bool> touched_slots() const;
};

/// Draws the operands of a case. q, k, v have type `type`; the outputs are poisoned.
DeltaRuleCall make_call(const Case &c, Element type, uint64_t seed = 0);

/// The C function of an operation.
gdn_status call_library(Operation operation, const gdn_gated_delta_rule_args &args,
                        const gdn_exec &exec);

/// What the workspace of a call must hold; 0 for the recurrent operation.
gdn_status workspace_size(Operation operation, const gdn_gated_delta_rule_args &args,
                          const gdn_exec &exec, size_t *bytes);

/// Runs a call; see run_with_workspace().
std::string run(Operation operation, const DeltaRuleCall &call, const Target &target,
                int threads = 0, uint32_t exec_flags = 0, gdn_status *status = nullptr);

}  // namespace gdn::testing

#endif  // GDN_CASES_DELTA_RULE_CALL_H_
