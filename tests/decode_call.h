#ifndef GDN_TESTS_DECODE_CALL_H_
#define GDN_TESTS_DECODE_CALL_H_

#include "layer_calls.h"

namespace gdn::testing {

/// A call of fused_gdn_decode.
struct DecodeCall {
  uint32_t flags = 0;
  gdn_head_map head_map = GDN_HEAD_MAP_BLOCK;
  double scale = 0.0;  ///< With GDN_HAS_SCALE.
  double eps = 0.0;    ///< With GDN_HAS_EPS.
  Operand mixed_qkv, conv_weight, conv_bias, a, b, A_log, dt_bias, z, norm_weight;
  Operand state_indices, output_state_indices, conv_state_indices, num_accepted_tokens, cu_seqlens;
  Operand o, state, conv_state;
  int64_t null_slot = 0;            ///< With GDN_HAS_NULL_SLOT.
  std::vector<float> state_values;  ///< Of state before any call.
  std::vector<float> conv_values;   ///< Of conv_state before any call.

  std::vector<Operand *> inputs();
  std::vector<Operand *> outputs() { return {&o, &state, &conv_state}; }
  std::string run(const Target &target, int threads = 0) const;
};

/// Also restores the states.
inline void reset(DecodeCall &call) {
  call.o->poison();
  call.state->assign(call.state_values);
  call.conv_state->assign(call.conv_values);
}

}  // namespace gdn::testing

#endif  // GDN_TESTS_DECODE_CALL_H_
