#ifndef GDN_CASES_LAYER_CALL_H_
#define GDN_CASES_LAYER_CALL_H_

#include <gdn/gdn.h>

#include <optional>
#include <string>
#include <vector>

#include "cases/array.h"
#include "cases/target.h"

namespace gdn::testing {

using Operand = std::optional<Array>;

/// A call of causal_conv1d_fwd or causal_conv1d_update.
struct ConvCall {
  bool update = false;
  uint32_t flags = 0;
  Operand x, weight, bias, cu_seqlens, conv_state, state_indices, has_initial_state;
  Operand num_accepted_tokens, y;
  int64_t null_slot = 0;            ///< With GDN_HAS_NULL_SLOT.
  std::vector<float> state_values;  ///< Of conv_state before any call.

  std::vector<Operand *> inputs();
  std::vector<Operand *> outputs() { return {&y, &conv_state}; }
  /// Empty, or a sentence with the status, which is also left in `status`.
  std::string run(const Target &target, int threads = 0, gdn_status *status = nullptr) const;
};

/// A call of fused_gdn_gating.
struct GatingCall {
  uint32_t flags = 0;
  Operand A_log, a, b, dt_bias, g, beta;

  std::vector<Operand *> inputs() { return {&A_log, &a, &b, &dt_bias}; }
  std::vector<Operand *> outputs() { return {&g, &beta}; }
  std::string run(const Target &target, int threads = 0, gdn_status *status = nullptr) const;
};

/// A call of l2norm or rms_norm_gated.
struct NormCall {
  bool rms = false;
  uint32_t flags = 0;
  double eps = 0.0;
  Operand x, z, weight, y;

  std::vector<Operand *> inputs() { return {&x, &z, &weight}; }
  std::vector<Operand *> outputs() { return {&y}; }
  std::string run(const Target &target, int threads = 0, gdn_status *status = nullptr) const;
};

/// The same call with the same values in compact float32, its outputs poisoned.
template <class Call>
Call widened(const Call &call) {
  Call wide = call;
  for (Operand *operand : wide.inputs()) {
    if (*operand) *operand = (*operand)->widened();
  }
  for (Operand *operand : wide.outputs()) {
    if (*operand) *operand = Array(Element::f32, (*operand)->shape());
  }
  reset(wide);
  return wide;
}

/// Poisons the outputs.
template <class Call>
void reset(Call &call) {
  for (Operand *operand : call.outputs()) {
    if (*operand) (*operand)->poison();
  }
}

/// Also restores the state.
inline void reset(ConvCall &call) {
  call.y->poison();
  if (call.conv_state) call.conv_state->assign(call.state_values);
}

/// Empty if no byte outside the operands' elements has changed.
template <class Call>
std::string damage(Call &call) {
  std::string all;
  for (const std::vector<Operand *> &operands : {call.inputs(), call.outputs()}) {
    for (const Operand *operand : operands) {
      if (*operand) all += (*operand)->damage();
    }
  }
  return all;
}

/// All input bytes, to see whether a call has written any.
template <class Call>
std::vector<unsigned char> input_bytes(Call &call) {
  std::vector<unsigned char> all;
  for (const Operand *operand : call.inputs()) {
    if (!*operand) continue;
    const std::vector<unsigned char> bytes = (*operand)->bytes();
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  return all;
}

}  // namespace gdn::testing

#endif  // GDN_CASES_LAYER_CALL_H_
