#include "cases/decode_call.h"

#include "cases/drawn.h"
#include "cases/workspace.h"

namespace gdn::testing {
std::vector<std::optional<Array> *> DecodeCall::inputs() {
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

gdn_fused_gdn_decode_args DecodeCall::args() const {
  gdn_fused_gdn_decode_args c = {};
  c.struct_size = sizeof c;
  c.flags = flags;
  c.head_map = head_map;
  c.scale = scale;
  c.eps = eps;
  c.mixed_qkv = tensor_of(mixed_qkv);
  c.conv_weight = tensor_of(conv_weight);
  c.conv_bias = tensor_of(conv_bias);
  c.conv_state = tensor_of(conv_state);
  c.a = tensor_of(a);
  c.b = tensor_of(b);
  c.A_log = tensor_of(A_log);
  c.dt_bias = tensor_of(dt_bias);
  c.z = tensor_of(z);
  c.norm_weight = tensor_of(norm_weight);
  c.state = tensor_of(state);
  c.state_indices = tensor_of(state_indices);
  c.output_state_indices = tensor_of(output_state_indices);
  c.conv_state_indices = tensor_of(conv_state_indices);
  c.num_accepted_tokens = tensor_of(num_accepted_tokens);
  c.cu_seqlens = tensor_of(cu_seqlens);
  c.o = tensor_of(o);
  c.null_slot = null_slot;
  return c;
}

std::string DecodeCall::run(const Target &target, int threads, gdn_status *status) const {
  const gdn_fused_gdn_decode_args c = args();
  return run_with_workspace(
      exec_for(target, threads),
      [&](const gdn_exec &e, size_t *bytes) {
        return gdn_fused_gdn_decode_workspace_size(&c, &e, bytes);
      },
      [&](const gdn_exec &e) { return gdn_fused_gdn_decode(&c, &e); }, status);
}

void reset(DecodeCall &call) {
  call.o->poison();
  call.state->assign(call.state_values);
  call.conv_state->assign(call.conv_values);
}

DecodeCall decode_call(const DecodeShape &s, uint64_t seed) {
  DecodeCall c;
  const Shape heads = {s.batch, s.tokens, s.hv};
  const Shape rows = {s.batch, s.tokens, s.hv, s.dv};
  c.mixed_qkv = drawn(seed, s.type, {s.batch, s.tokens, s.channels()}, "mixed_qkv");
  c.conv_weight = drawn(seed, s.type, {s.channels(), s.width}, "conv_weight", 0.7F);
  c.a = drawn(seed, s.type, heads, "a");
  c.b = drawn(seed, s.type, heads, "b");
  c.A_log = drawn(seed, Element::f32, {s.hv}, "A_log");
  c.dt_bias = drawn(seed, Element::f32, {s.hv}, "dt_bias");
  c.z = drawn(seed, s.type, rows, "z");
  c.norm_weight = drawn(seed, s.type, {s.dv}, "norm_weight");
  c.o = Array(s.type, rows);
  c.state = drawn(seed, s.state, {s.slots, s.hv, s.dk, s.dv}, "state");
  c.conv_state = drawn(seed, s.conv_state, {s.slots, s.channels(), s.entries}, "conv_state");
  c.state_values = c.state->values();
  c.conv_values = c.conv_state->values();
  return c;
}

}  // namespace gdn::testing
