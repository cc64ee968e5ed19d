#include "decode_call.h"

namespace gdn::testing {

std::vector<Operand *> DecodeCall::inputs() {
  return {&mixed_qkv,
          &conv_weight,
          &conv_bias,
          &a,
          &b,
          &A_log,
          &dt_bias,
          &z,
          &norm_weight,
          &state_indices,
          &output_state_indices,
          &conv_state_indices,
          &cu_seqlens,
          &num_accepted_tokens};
}

std::string DecodeCall::run(const Target &target, int threads) const {
  const auto of = [](const Operand &operand) { return operand ? operand->tensor() : nullptr; };
  gdn_fused_gdn_decode_args c = {};
  c.struct_size = sizeof c;
  c.flags = flags;
  c.head_map = head_map;
  c.scale = scale;
  c.eps = eps;
  c.mixed_qkv = of(mixed_qkv);
  c.conv_weight = of(conv_weight);
  c.conv_bias = of(conv_bias);
  c.conv_state = of(conv_state);
  c.a = of(a);
  c.b = of(b);
  c.A_log = of(A_log);
  c.dt_bias = of(dt_bias);
  c.z = of(z);
  c.norm_weight = of(norm_weight);
  c.state = of(state);
  c.state_indices = of(state_indices);
  c.output_state_indices = of(output_state_indices);
  c.conv_state_indices = of(conv_state_indices);
  c.num_accepted_tokens = of(num_accepted_tokens);
  c.cu_seqlens = of(cu_seqlens);
  c.o = of(o);
  c.null_slot = null_slot;
  const gdn_exec exec = exec_for(target, threads);
  return describe(gdn_fused_gdn_decode(&c, &exec));
}

}  // namespace gdn::testing
