#include "bindings.h"

namespace gdn::python {

namespace {

/// x [.., C, T]: its output keeps channels fastest where x has them so, which lets q, k and v be
/// sliced out of it without a copy.
View *like_activations(Call *call, const View *x) {
  const int last = x->tensor.ndim - 1;
  const bool channels_last = last >= 1 && x->strides[last - 1] == 1 && x->strides[last] != 1;
  return call->output("", "", nb::none(), {x->shape, static_cast<size_t>(x->tensor.ndim)},
                      x->tensor.dtype, channels_last ? Order::swapped : Order::compact);
}

/// [total, C], tokens of all sequences, as [1, C, total].
void as_packed(View *view) {
  if (view->tensor.ndim != 2) return;
  std::swap(view->shape[0], view->shape[1]);
  std::swap(view->strides[0], view->strides[1]);
  add_dimension(view, true);
}

/// The options that both convolutions have.
template <class Args, class Given>
Args begin_conv(Call *call, const Given &a) {
  call->rename(a.names);
  Args args{};
  args.struct_size = sizeof args;
  args.flags = read_activation(a.activation) |
               set_null_slot(a.null_slot, &args.null_slot, {a.state_indices});
  if (read_switch("padded", a.padded)) args.flags |= GDN_PADDED;
  return args;
}

struct ConvFwd {
  Arg x, weight, bias, conv_state, state_indices, has_initial_state, cu_seqlens, out;
  Arg activation, null_slot, padded;
  Arg names;
};

nb::object causal_conv1d_fwd(const ConvFwd &a) {
  Call call;
  auto args = begin_conv<gdn_causal_conv1d_fwd_args>(&call, a);
  View *vx = call.required("x", a.x);
  args.x = tensor(vx);
  args.weight = tensor(call.required("weight", a.weight));
  args.bias = tensor(call.input("bias", a.bias));
  args.cu_seqlens = tensor(call.input("cu_seqlens", a.cu_seqlens));
  args.conv_state = tensor(call.updated("conv_state", a.conv_state));
  args.state_indices = tensor(call.input("state_indices", a.state_indices));
  args.has_initial_state = tensor(call.input("has_initial_state", a.has_initial_state));
  View *y = a.out.absent() ? like_activations(&call, vx)
                           : call.output("out", "y", a.out, {}, vx->tensor.dtype);
  if (vx->tensor.ndim == 2) {
    for (View *view : {vx, y}) add_dimension(view, true);
  }
  args.y = tensor(y);
  call.run(&gdn_causal_conv1d_fwd, args);
  return call.array(y);
}

struct ConvUpdate {
  Arg x, conv_state, weight, bias, state_indices, num_accepted_tokens, cu_seqlens, out;
  Arg activation, null_slot, padded;
  Arg names;
};

nb::object causal_conv1d_update(const ConvUpdate &a) {
  Call call;
  auto args = begin_conv<gdn_causal_conv1d_update_args>(&call, a);
  View *vx = call.required("x", a.x);
  const bool rows = vx->tensor.ndim == 2;  // Of one token, or packed ones.
  args.x = tensor(vx);
  args.weight = tensor(call.required("weight", a.weight));
  args.bias = tensor(call.input("bias", a.bias));
  args.conv_state = tensor(call.required_updated("conv_state", a.conv_state));
  args.state_indices = tensor(call.input("state_indices", a.state_indices));
  args.num_accepted_tokens = tensor(call.input("num_accepted_tokens", a.num_accepted_tokens));
  args.cu_seqlens = tensor(call.input("cu_seqlens", a.cu_seqlens));
  View *y = nullptr;
  if (!a.out.absent()) {
    y = call.output("out", "y", a.out, {}, vx->tensor.dtype);
  } else if (rows) {
    y = call.output_like("out", "y", a.out, vx);
  } else {
    y = like_activations(&call, vx);
  }
  for (View *view : {vx, y}) {
    if (args.cu_seqlens != nullptr) {
      as_packed(view);
    } else if (rows) {
      add_dimension(view, false);
    }
  }
  args.y = tensor(y);
  call.run(&gdn_causal_conv1d_update, args);
  return call.array(y);
}

nb::object fused_gdn_gating(Arg A_log, Arg a, Arg b, Arg dt_bias, Arg allow_neg_eigval,
                            Arg beta_dtype) {
  Call call;
  gdn_fused_gdn_gating_args args{};
  args.struct_size = sizeof args;
  if (read_switch("allow_neg_eigval", allow_neg_eigval)) args.flags = GDN_ALLOW_NEG_EIGVAL;
  args.A_log = tensor(call.required("A_log", A_log));
  View *va = call.required("a", a);
  View *vb = call.required("b", b);
  args.dt_bias = tensor(call.input("dt_bias", dt_bias));
  const bool packed = va->tensor.ndim == 2;
  const auto make = [&](const View *like, DLDataType dtype) {
    View *out = nullptr;
    if (dtype == like->tensor.dtype && like->tensor.ndim == (packed ? 2 : 3)) {
      out = call.output_like("", "", nb::none(), like);
    } else if (packed) {
      out = call.output({like->size(0), like->size(1)}, dtype);
    } else {
      out = call.output({like->size(0), like->size(1), like->size(2)}, dtype);
    }
    if (packed) add_dimension(out, true);
    return out;
  };
  View *g = make(va, kFloat32);
  View *beta =
      make(va, beta_dtype.absent() ? vb->tensor.dtype : read_dtype("beta_dtype", beta_dtype));
  if (packed) add_dimension(va, true);
  if (packed && vb->tensor.ndim == 2) add_dimension(vb, true);
  args.a = tensor(va);
  args.b = tensor(vb);
  args.g = tensor(g);
  args.beta = tensor(beta);
  call.run(&gdn_fused_gdn_gating, args);
  return nb::make_tuple(call.array(g), call.array(beta));
}

nb::object l2norm(Arg x, Arg eps, Arg out) {
  Call call;
  gdn_l2norm_args args{};
  args.struct_size = sizeof args;
  args.flags = GDN_HAS_EPS;
  args.eps = read_number("eps", eps, "a number");
  View *vx = call.required("x", x, Strides::unit_last);
  View *y = call.output_like("out", "y", out, vx);
  args.x = tensor(vx);
  args.y = tensor(y);
  call.run(&gdn_l2norm, args);
  return call.array(y);
}

nb::object rms_norm_gated(Arg x, Arg weight, Arg z, Arg eps, Arg out, Arg gate_activation) {
  Call call;
  gdn_rms_norm_gated_args args{};
  args.struct_size = sizeof args;
  args.flags = GDN_HAS_EPS | read_gate_activation(gate_activation);
  args.eps = read_number("eps", eps, "a number");
  View *vx = call.required("x", x, Strides::unit_last);
  args.weight = tensor(call.input("weight", weight, Strides::unit_last));
  args.z = tensor(call.input("z", z, Strides::unit_last));
  View *y = call.output_like("out", "y", out, vx);
  args.x = tensor(vx);
  args.y = tensor(y);
  call.run(&gdn_rms_norm_gated, args);
  return call.array(y);
}

}  // namespace

void bind_layer(nb::module_ &m) {
  define<&causal_conv1d_fwd>(m, "causal_conv1d_fwd");
  define<&causal_conv1d_update>(m, "causal_conv1d_update");
  define<&fused_gdn_gating>(m, "fused_gdn_gating");
  define<&l2norm>(m, "l2norm");
  define<&rms_norm_gated>(m, "rms_norm_gated");
}

}  // namespace gdn::python
