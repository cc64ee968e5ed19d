#include "bindings.h"

namespace gdn::python {

namespace {

/// Operands that both forms of the gated delta rule share, in the order of the Python call.
struct Operands {
  Arg q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, state_indices, out;
};

/// What a call gives back besides its status.
struct Results {
  nb::object o, final_state, checkpoints;
};

/// Fills what both forms share and makes the outputs.
class DeltaRuleCall {
 public:
  DeltaRuleCall(const Operands &in, uint32_t flags, int32_t head_map, Arg scale, bool in_place) {
    args.struct_size = sizeof args;
    args.flags = flags | set_scale(scale, &args.scale);
    args.head_map = head_map;
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
    args.state_indices = tensor(call.input("state_indices", in.state_indices));
    if (args.state_indices != nullptr || in_place) {
      if (in.initial_state.object.is_none()) {
        throw nb::value_error(
            args.state_indices != nullptr
                ? "initial_state: state_indices needs a pool of states here, found None."
                : "initial_state: inplace_final_state needs states to update, found None.");
      }
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

  void want_final_state() {
    if (pool_ == nullptr) {
      final_state_ = make_states(Sequences(&call, q_, cu_seqlens_).count());
      args.final_state = tensor(final_state_);
    }
  }

  void want_checkpoints(int64_t every) {
    args.checkpoint_every = every;
    checkpoints_ = make_states(Sequences(&call, q_, cu_seqlens_).pieces(every, false));
    // A sequence that state_indices skips has no states: its checkpoints are left alone.
    if (args.state_indices != nullptr) call.clear(checkpoints_);
    args.checkpoints = tensor(checkpoints_);
  }

  Results results() const {
    return {call.array(o_), call.array(pool_ != nullptr ? pool_ : final_state_),
            call.array(checkpoints_)};
  }

  Call call;
  gdn_gated_delta_rule_args args{};

 private:
  View *make_states(int64_t count) {
    const int64_t dk = q_->size(3);
    const int64_t dv = v_->size(3);
    const bool v_first = (args.flags & GDN_STATE_V_FIRST) != 0;
    return call.output({count, v_->size(2), v_first ? dv : dk, v_first ? dk : dv}, kFloat32);
  }

  View *q_ = nullptr;
  View *v_ = nullptr;
  View *o_ = nullptr;
  View *cu_seqlens_ = nullptr;
  View *pool_ = nullptr;
  View *final_state_ = nullptr;
  View *checkpoints_ = nullptr;
};

nb::tuple chunk_gated_delta_rule(Arg q, Arg k, Arg v, Arg g, Arg beta, Arg A_log, Arg dt_bias,
                                 Arg cu_seqlens, Arg initial_state, Arg state_indices, Arg out,
                                 uint32_t flags, int32_t head_map, Arg scale,
                                 bool output_final_state, bool in_place, int32_t chunk_size,
                                 int64_t checkpoint_every) {
  DeltaRuleCall c({q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, state_indices, out},
                  flags, head_map, scale, in_place);
  c.args.chunk_size = chunk_size;
  if (output_final_state) c.want_final_state();
  if (checkpoint_every != 0) c.want_checkpoints(checkpoint_every);
  c.call.run(&gdn_chunk_gated_delta_rule, &gdn_chunk_gated_delta_rule_workspace_size, c.args);
  Results r = c.results();
  return nb::make_tuple(r.o, r.final_state, r.checkpoints);
}

nb::tuple fused_recurrent_gated_delta_rule(Arg q, Arg k, Arg v, Arg g, Arg beta, Arg A_log,
                                           Arg dt_bias, Arg cu_seqlens, Arg initial_state,
                                           Arg state_indices, Arg out, uint32_t flags,
                                           int32_t head_map, Arg scale, bool output_final_state,
                                           bool in_place, Arg num_accepted_tokens) {
  DeltaRuleCall c({q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, state_indices, out},
                  flags, head_map, scale, in_place);
  c.args.num_accepted_tokens = tensor(c.call.input("num_accepted_tokens", num_accepted_tokens));
  if (output_final_state) c.want_final_state();
  c.call.run(&gdn_fused_recurrent_gated_delta_rule, c.args);
  Results r = c.results();
  return nb::make_tuple(r.o, r.final_state);
}

}  // namespace

void bind_delta_rule(nb::module_ &m) {
  m.def("chunk_gated_delta_rule", &chunk_gated_delta_rule);
  m.def("fused_recurrent_gated_delta_rule", &fused_recurrent_gated_delta_rule);
}

}  // namespace gdn::python
