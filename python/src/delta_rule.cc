#include "bindings.h"
#include "fast_call.h"

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

Results chunk(DeltaRuleCall *c, bool output_final_state, int64_t checkpoint_every) {
  if (output_final_state) c->want_final_state();
  if (checkpoint_every != 0) c->want_checkpoints(checkpoint_every);
  c->call.run(&gdn_chunk_gated_delta_rule, &gdn_chunk_gated_delta_rule_workspace_size, c->args);
  return c->results();
}

Results fused_recurrent(DeltaRuleCall *c, Arg num_accepted_tokens, bool output_final_state) {
  c->args.num_accepted_tokens = tensor(c->call.input("num_accepted_tokens", num_accepted_tokens));
  if (output_final_state) c->want_final_state();
  c->call.run(&gdn_fused_recurrent_gated_delta_rule, c->args);
  return c->results();
}

// With options as the C header's integers.

nb::tuple chunk_gated_delta_rule(Arg q, Arg k, Arg v, Arg g, Arg beta, Arg A_log, Arg dt_bias,
                                 Arg cu_seqlens, Arg initial_state, Arg state_indices, Arg out,
                                 uint32_t flags, int32_t head_map, Arg scale,
                                 bool output_final_state, bool in_place, int32_t chunk_size,
                                 int64_t checkpoint_every) {
  DeltaRuleCall c({q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, state_indices, out},
                  flags, head_map, scale, in_place);
  c.args.chunk_size = chunk_size;
  const Results r = chunk(&c, output_final_state, checkpoint_every);
  return nb::make_tuple(r.o, r.final_state, r.checkpoints);
}

nb::tuple fused_recurrent_gated_delta_rule(Arg q, Arg k, Arg v, Arg g, Arg beta, Arg A_log,
                                           Arg dt_bias, Arg cu_seqlens, Arg initial_state,
                                           Arg state_indices, Arg out, uint32_t flags,
                                           int32_t head_map, Arg scale, bool output_final_state,
                                           bool in_place, Arg num_accepted_tokens) {
  DeltaRuleCall c({q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, state_indices, out},
                  flags, head_map, scale, in_place);
  const Results r = fused_recurrent(&c, num_accepted_tokens, output_final_state);
  return nb::make_tuple(r.o, r.final_state);
}

/// The options of the public functions in their plain forms: switches exactly True or False. What
/// is not plain, right or wrong, is for the package's Python code to say.
class PlainOptions {
 public:
  PlainOptions(Arg l2norm, Arg gate, Arg sigmoid, Arg allow_neg_eigval, Arg v_first, Arg transposed,
               Arg head_map, Arg final_state, Arg in_place) {
    static PyObject *block = PyUnicode_InternFromString("block");
    plain_ = head_map.object.ptr() == block;
    add(l2norm, GDN_USE_QK_L2NORM);
    add(gate, GDN_USE_GATE);
    add(sigmoid, GDN_USE_BETA_SIGMOID);
    add(allow_neg_eigval, GDN_ALLOW_NEG_EIGVAL);
    add(v_first, GDN_STATE_V_FIRST);
    output_final_state = is_on(final_state);
    inplace_final_state = is_on(in_place);
    const bool needs_sigmoid = (flags & GDN_ALLOW_NEG_EIGVAL) != 0;
    plain_ = plain_ && (!needs_sigmoid || (flags & GDN_USE_BETA_SIGMOID) != 0) &&
             transposed.object.is_none();
  }

  /// Everything is plain, and torch does not trace the call that has this first operand.
  bool serve(Arg first) const {
    return plain_ && !(kind_of(first) == Kind::torch && torch_traces());
  }

  uint32_t flags = 0;
  bool output_final_state = false;
  bool inplace_final_state = false;

 private:
  bool is_on(Arg value) {
    const bool on = value.object.ptr() == Py_True;
    plain_ = plain_ && (on || value.object.ptr() == Py_False);
    return on;
  }
  void add(Arg value, uint32_t flag) { flags |= is_on(value) ? flag : 0U; }

  bool plain_ = false;
};

// The public functions' own arguments, in their order; None where the options are not plain.

nb::object try_chunk(Arg q, Arg k, Arg v, Arg g, Arg beta, Arg scale, Arg initial_state,
                     Arg output_final_state, Arg l2norm, Arg sigmoid, Arg allow_neg_eigval,
                     Arg v_first, Arg cu_seqlens, Arg cu_seqlens_cpu, Arg chunk_indices,
                     Arg cp_context, Arg gate, Arg A_log, Arg dt_bias, Arg chunk_size,
                     Arg transposed, Arg out, Arg state_indices, Arg in_place, Arg checkpoint_every,
                     Arg head_map) {
  const PlainOptions options(l2norm, gate, sigmoid, allow_neg_eigval, v_first, transposed, head_map,
                             output_final_state, in_place);
  for (const Arg &absent :
       {cu_seqlens_cpu, chunk_indices, cp_context, chunk_size, checkpoint_every}) {
    if (!absent.object.is_none()) return nb::none();
  }
  if (!options.serve(q)) return nb::none();
  DeltaRuleCall c({q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, state_indices, out},
                  options.flags, GDN_HEAD_MAP_BLOCK, scale, options.inplace_final_state);
  const Results r = chunk(&c, options.output_final_state, 0);
  return nb::make_tuple(r.o, r.final_state);
}

nb::object try_fused_recurrent(Arg q, Arg k, Arg v, Arg g, Arg gk, Arg gv, Arg beta, Arg scale,
                               Arg initial_state, Arg output_final_state, Arg l2norm, Arg gate,
                               Arg A_log, Arg dt_bias, Arg sigmoid, Arg allow_neg_eigval,
                               Arg v_first, Arg cu_seqlens, Arg transposed, Arg out,
                               Arg state_indices, Arg in_place, Arg num_accepted_tokens,
                               Arg head_map) {
  const PlainOptions options(l2norm, gate, sigmoid, allow_neg_eigval, v_first, transposed, head_map,
                             output_final_state, in_place);
  if (!gk.object.is_none() || !gv.object.is_none() || !options.serve(q)) return nb::none();
  DeltaRuleCall c({q, k, v, g, beta, A_log, dt_bias, cu_seqlens, initial_state, state_indices, out},
                  options.flags, GDN_HEAD_MAP_BLOCK, scale, options.inplace_final_state);
  const Results r = fused_recurrent(&c, num_accepted_tokens, options.output_final_state);
  return nb::make_tuple(r.o, r.final_state);
}

}  // namespace

void bind_delta_rule(nb::module_ &m) {
  m.def("chunk_gated_delta_rule", &chunk_gated_delta_rule);
  m.def("fused_recurrent_gated_delta_rule", &fused_recurrent_gated_delta_rule);
  define_fast<&try_chunk>(m, "try_chunk_gated_delta_rule");
  define_fast<&try_fused_recurrent>(m, "try_fused_recurrent_gated_delta_rule");
}

}  // namespace gdn::python
