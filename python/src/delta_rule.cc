#include "bindings.h"

namespace gdn::python {

namespace {

/// The arguments of both forms, in the order in which the package passes them. A form gets None for
/// the options of the other.
struct DeltaRule {
  Arg q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, state_indices, out;
  Arg scale, head_map;
  Arg use_qk_l2norm_in_kernel, use_gate_in_kernel, use_beta_sigmoid_in_kernel, allow_neg_eigval;
  Arg state_v_first, output_final_state, inplace_final_state;
  Arg chunk_size, checkpoint_every, checkpoint_indices, positions;  // chunk
  Arg num_accepted_tokens;                                          // recurrent
  Arg output_state_indices, has_initial_state, null_slot, padded, state_dtype;
  Arg round_states;  // recurrent
};

uint32_t read_flags(const DeltaRule &in) {
  uint32_t flags = 0;
  const auto add = [&](const char *name, Arg value, gdn_flag flag) {
    if (read_switch(name, value)) flags |= static_cast<uint32_t>(flag);
  };
  add("use_qk_l2norm_in_kernel", in.use_qk_l2norm_in_kernel, GDN_USE_QK_L2NORM);
  add("use_gate_in_kernel", in.use_gate_in_kernel, GDN_USE_GATE);
  add("use_beta_sigmoid_in_kernel", in.use_beta_sigmoid_in_kernel, GDN_USE_BETA_SIGMOID);
  add("allow_neg_eigval", in.allow_neg_eigval, GDN_ALLOW_NEG_EIGVAL);
  add("state_v_first", in.state_v_first, GDN_STATE_V_FIRST);
  add("padded", in.padded, GDN_PADDED);
  if ((flags & GDN_ALLOW_NEG_EIGVAL) != 0 && (flags & GDN_USE_BETA_SIGMOID) == 0) {
    check("check_sigmoid", true, false);
  }
  return flags;
}

/// Reads what both forms share and makes the outputs.
class DeltaRuleCall {
 public:
  explicit DeltaRuleCall(const DeltaRule &in)
      : wants_state_(read_switch("output_final_state", in.output_final_state)),
        state_dtype_(read_state_dtype(in.state_dtype)) {
    args.struct_size = sizeof args;
    args.flags = read_flags(in) | set_scale(in.scale, &args.scale) |
                 set_null_slot(in.null_slot, &args.null_slot, {in.state_indices});
    args.head_map = read_head_map(in.head_map);
    const bool in_place = read_switch("inplace_final_state", in.inplace_final_state);
    q_ = call.required("q", in.q, Strides::unit_last);
    args.q = tensor(q_);
    args.k = tensor(call.required("k", in.k, Strides::unit_last));
    v_ = call.required("v", in.v, Strides::unit_last);
    args.v = tensor(v_);
    args.g = tensor(call.input("g", in.g));
    args.beta = tensor(call.input("beta", in.beta));
    args.A_log = tensor(call.input("A_log", in.A_log));
    args.dt_bias = tensor(call.input("dt_bias", in.dt_bias));
    cu_seqlens_ = call.input("cu_seqlens", in.cu_seqlens);
    args.cu_seqlens = tensor(cu_seqlens_);
    state_indices_ = call.input("state_indices", in.state_indices);
    args.state_indices = tensor(state_indices_);
    args.output_state_indices = tensor(call.input("output_state_indices", in.output_state_indices));
    args.has_initial_state = tensor(call.input("has_initial_state", in.has_initial_state));
    if (args.state_indices != nullptr || in_place) {
      if (in.initial_state.absent())
        check("check_pool", in.initial_state.object, in.state_indices.object, in_place);
      pool_ = call.updated("initial_state", in.initial_state);
      args.initial_state = tensor(pool_);
      if (args.state_indices == nullptr) args.final_state = tensor(pool_);
    } else {
      args.initial_state =
          tensor(call.input("initial_state", in.initial_state, Strides::unit_last));
    }
    o_ = call.output_like("out", "o", in.out, v_);
    args.o = tensor(o_);
  }

  /// Makes the final states where they are asked for and not those that are updated in place.
  void make_final_state() {
    if (wants_state_ && pool_ == nullptr) {
      final_state_ = make_states(sequences().count());
      args.final_state = tensor(final_state_);
    }
  }

  /// `positions` and `slots` (what checkpoint_indices is) may be null.
  void make_checkpoints(int64_t every, View *positions, View *slots) {
    args.positions = tensor(positions);
    args.checkpoint_every = every;
    args.checkpoint_indices = tensor(slots);
    if (every == 0 || slots != nullptr) return;
    checkpoints_ =
        make_states(positions == nullptr ? sequences().pieces(every, false)
                                         : sequences().checkpoints(every, positions, state_indices_,
                                                                   args.flags, args.null_slot));
    // A sequence that state_indices skips has no states: its checkpoints are left alone.
    if (args.state_indices != nullptr) call.clear(checkpoints_);
    args.checkpoints = tensor(checkpoints_);
  }

  /// Refuses a type for states that are updated and not made.
  void check_state_dtype(const DeltaRule &in) const {
    if (pool_ == nullptr || checkpoints_ != nullptr || in.state_dtype.absent()) return;
    check("check_state_dtype", in.state_dtype.object, in.initial_state.object);
  }

  /// (o, final_state), or (o, final_state, checkpoints) where those were asked for.
  nb::object results() const {
    nb::object o = call.array(o_);
    nb::object final_state = call.array(pool_ != nullptr ? pool_ : final_state_);
    if (checkpoints_ == nullptr) return nb::make_tuple(o, final_state);
    return nb::make_tuple(o, final_state, call.array(checkpoints_));
  }

  Call call;
  gdn_gated_delta_rule_args args{};

 private:
  Sequences sequences() { return {&call, q_, cu_seqlens_, (args.flags & GDN_PADDED) != 0}; }

  View *make_states(int64_t count) {
    const int64_t dk = q_->size(3);
    const int64_t dv = v_->size(3);
    const bool v_first = (args.flags & GDN_STATE_V_FIRST) != 0;
    return call.output({count, v_->size(2), v_first ? dv : dk, v_first ? dk : dv}, state_dtype_);
  }

  bool wants_state_;
  DLDataType state_dtype_;
  View *q_ = nullptr;
  View *v_ = nullptr;
  View *o_ = nullptr;
  View *cu_seqlens_ = nullptr;
  View *state_indices_ = nullptr;
  View *pool_ = nullptr;
  View *final_state_ = nullptr;
  View *checkpoints_ = nullptr;
};

nb::object chunk_gated_delta_rule(const DeltaRule &in) {
  DeltaRuleCall c(in);
  c.args.chunk_size = read_chunk_size(in.chunk_size, 0);
  const int64_t every = read_token_count("checkpoint_every", in.checkpoint_every);
  c.make_final_state();
  c.make_checkpoints(every, c.call.input("positions", in.positions),
                     c.call.input("checkpoint_indices", in.checkpoint_indices));
  c.check_state_dtype(in);
  c.call.run(&gdn_chunk_gated_delta_rule, &gdn_chunk_gated_delta_rule_workspace_size, c.args);
  return c.results();
}

nb::object fused_recurrent_gated_delta_rule(const DeltaRule &in) {
  DeltaRuleCall c(in);
  c.args.num_accepted_tokens = tensor(c.call.input("num_accepted_tokens", in.num_accepted_tokens));
  c.make_final_state();
  c.check_state_dtype(in);
  if (read_switch("round_states", in.round_states)) {
    c.args.flags |= GDN_ROUND_STATES;
    const bool stored = c.args.state_indices != nullptr || c.args.final_state != nullptr;
    if (!stored) check("check_rounding", true, false);
  }
  c.call.run(&gdn_fused_recurrent_gated_delta_rule, c.args);
  return c.results();
}

}  // namespace

void bind_delta_rule(nb::module_ &m) {
  define<&chunk_gated_delta_rule>(m, "chunk_gated_delta_rule");
  define<&fused_recurrent_gated_delta_rule>(m, "fused_recurrent_gated_delta_rule");
}

}  // namespace gdn::python
