#include "bindings.h"

namespace gdn::python {

namespace {

struct Decode {
  Arg mixed_qkv, conv_state, conv_weight, conv_bias, a, b, A_log, dt_bias, z, norm_weight, state;
  Arg state_indices, output_state_indices, conv_state_indices, num_accepted_tokens, cu_seqlens, out;
  Arg scale, eps, head_map, gate_activation;
  Arg allow_neg_eigval, state_v_first, null_slot, padded, round_states;
};

nb::object fused_gdn_decode(const Decode &in) {
  Call call;
  gdn_fused_gdn_decode_args args{};
  args.struct_size = sizeof args;
  args.flags =
      GDN_HAS_EPS | set_scale(in.scale, &args.scale) | read_gate_activation(in.gate_activation) |
      set_null_slot(in.null_slot, &args.null_slot, {in.state_indices, in.conv_state_indices});
  const auto add = [&](const char *name, Arg value, gdn_flag flag) {
    if (read_switch(name, value)) args.flags |= static_cast<uint32_t>(flag);
  };
  add("allow_neg_eigval", in.allow_neg_eigval, GDN_ALLOW_NEG_EIGVAL);
  add("state_v_first", in.state_v_first, GDN_STATE_V_FIRST);
  add("padded", in.padded, GDN_PADDED);
  add("round_states", in.round_states, GDN_ROUND_STATES);
  args.eps = read_number("eps", in.eps, "a number");
  args.head_map = read_head_map(in.head_map);
  args.mixed_qkv = tensor(call.required("mixed_qkv", in.mixed_qkv, Strides::unit_last));
  args.conv_state = tensor(call.required_updated("conv_state", in.conv_state));
  args.conv_weight = tensor(call.required("conv_weight", in.conv_weight));
  args.conv_bias = tensor(call.input("conv_bias", in.conv_bias));
  args.a = tensor(call.required("a", in.a));
  args.b = tensor(call.required("b", in.b));
  args.A_log = tensor(call.required("A_log", in.A_log));
  args.dt_bias = tensor(call.input("dt_bias", in.dt_bias));
  View *z = call.required("z", in.z, Strides::unit_last);
  args.z = tensor(z);
  args.norm_weight = tensor(call.required("norm_weight", in.norm_weight));
  args.state = tensor(call.required_updated("state", in.state));
  args.state_indices = tensor(call.input("state_indices", in.state_indices));
  args.output_state_indices = tensor(call.input("output_state_indices", in.output_state_indices));
  args.conv_state_indices = tensor(call.input("conv_state_indices", in.conv_state_indices));
  args.num_accepted_tokens = tensor(call.input("num_accepted_tokens", in.num_accepted_tokens));
  args.cu_seqlens = tensor(call.input("cu_seqlens", in.cu_seqlens));
  View *o = call.output_like("out", "o", in.out, z);
  args.o = tensor(o);
  if (call.on_cpu()) {  // Which needs no workspace.
    call.run(&gdn_fused_gdn_decode, args);
  } else {
    call.run(&gdn_fused_gdn_decode, &gdn_fused_gdn_decode_workspace_size, args);
  }
  return call.array(o);
}

}  // namespace

void bind_decode(nb::module_ &m) { define<&fused_gdn_decode>(m, "fused_gdn_decode"); }

}  // namespace gdn::python
