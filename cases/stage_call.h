#ifndef GDN_CASES_STAGE_CALL_H_
#define GDN_CASES_STAGE_CALL_H_

#include <string>

#include "cases/delta_rule_call.h"

namespace gdn::testing {

/// The stages in the order of the chain.
enum class Stage { cumsum, kkt, solve, w_u, fwd_h, fwd_o };

constexpr Stage kStages[] = {Stage::cumsum, Stage::kkt,   Stage::solve,
                             Stage::w_u,    Stage::fwd_h, Stage::fwd_o};

/// The operation's name.
const char *name_of(Stage stage);

/// Types of what the stages leave to each other.
struct StageTypes {
  Element T = Element::f32;
  Element h = Element::f32;
};

/// All arrays of the chain of stages over the sequences of a call, whose q, k, v, g, beta,
/// cu_seqlens and initial_state it reads. A stage's inputs are the outputs of those before it.
struct StageCall {
  const DeltaRuleCall *call;
  int32_t chunk_size;
  Array g_cumsum, A, T, w, u, h, v_new, final_state, o;

  StageCall(const DeltaRuleCall &of, int32_t chunk_size, StageTypes types = {});

  /// A stage's outputs.
  std::vector<Array *> outputs(Stage stage);
  /// Runs one stage. Returns "" or the status and message.
  std::string run(Stage stage, const Target &target, int threads = 0) const;
  /// Sets all arrays to the values of another, rounded to the own types.
  void copy_values(const StageCall &from);
  /// Empty if no byte outside the elements has changed, else a sentence.
  std::string damage() const;
};

}  // namespace gdn::testing

#endif  // GDN_CASES_STAGE_CALL_H_
