#include "api/contents_check.h"
#include "api/operation.h"
#include "api/shapes.h"
#include "api/state_indices.h"
#include "api/state_slots_check.h"

namespace gdn::api {
namespace {

using Args = gdn_gated_delta_rule_args;

constexpr uint32_t kFlags = GDN_HAS_SCALE | GDN_USE_QK_L2NORM | GDN_USE_GATE |
                            GDN_USE_BETA_SIGMOID | GDN_ALLOW_NEG_EIGVAL | GDN_STATE_V_FIRST |
                            GDN_HAS_NULL_SLOT | GDN_PADDED;

bool has(const Args &a, uint32_t flag) { return (a.flags & flag) != 0; }

/// The same memory seen the same way.
bool same_tensor(const Tensor &a, const Tensor &b) {
  if (a.data != b.data || a.dtype != b.dtype) return false;
  for (int32_t d = 0; d < a.rank; ++d) {
    if (a.shape[d] != b.shape[d] || a.stride[d] != b.stride[d]) return false;
  }
  return true;
}

void read_operands(Call *call, const Args &a, Shapes *s, DeltaRule *p) {
  p->q = call->tensor("q", a.q, Types::floats(), {&s->B, &s->T, &s->HK, &s->DK}, Layout::unit_last);
  const Types as_q = Types::of(p->q, "q");
  p->k = call->tensor("k", a.k, as_q, {&s->B, &s->T, &s->HK, &s->DK}, Layout::unit_last);
  p->v = call->tensor("v", a.v, as_q, {&s->B, &s->T, &s->HV, &s->DV}, Layout::unit_last);
  p->heads = read_heads(call, a.head_map, *s);
  p->key_dim = s->DK.size;
  p->value_dim = s->DV.size;
  p->sequences = read_sequences(call, a.flags, a.cu_seqlens, s->B, s->T, &s->N);
}

void read_gates(Call *call, const Args &a, Shapes *s, DeltaRule *p) {
  p->gate = has(a, GDN_USE_GATE);
  p->beta_sigmoid = has(a, GDN_USE_BETA_SIGMOID);
  p->allow_neg_eigval = has(a, GDN_ALLOW_NEG_EIGVAL);
  if (p->gate) {
    call->require("g", a.g, "with GDN_USE_GATE");
    call->require("A_log", a.A_log, "with GDN_USE_GATE");
  } else {
    call->refuse("A_log", a.A_log, "without GDN_USE_GATE");
    call->refuse("dt_bias", a.dt_bias, "without GDN_USE_GATE");
  }
  if (p->beta_sigmoid) {
    call->require("beta", a.beta, "with GDN_USE_BETA_SIGMOID");
  } else if (p->allow_neg_eigval) {
    call->invalid("flags has GDN_ALLOW_NEG_EIGVAL, expected GDN_USE_BETA_SIGMOID with it.");
  }
  p->g = call->optional("g", a.g, Types::floats(), {&s->B, &s->T, &s->HV}, Layout::any);
  p->beta = call->optional("beta", a.beta, Types::floats(), {&s->B, &s->T, &s->HV}, Layout::any);
  p->A_log = call->optional("A_log", a.A_log, Types::floats(), {&s->HV}, Layout::any);
  p->dt_bias = call->optional("dt_bias", a.dt_bias, Types::floats(), {&s->HV}, Layout::any);
}

/// True if both tensors start at the same element.
bool share_start(const DLTensor *a, const DLTensor *b) {
  return a != nullptr && b != nullptr && a->data != nullptr &&
         reinterpret_cast<uintptr_t>(a->data) + a->byte_offset ==
             reinterpret_cast<uintptr_t>(b->data) + b->byte_offset;
}

/// A final_state that must be the initial_state seen the same way.
void read_alias(Call *call, const Args &a, Dim *rows, Shapes *s, DeltaRule *p, const char *why) {
  const Tensor final_state = read_state(call, "final_state", a.final_state, Types::floats(), rows,
                                        s, has(a, GDN_STATE_V_FIRST), Use::input);
  if (!call->ok()) return;
  call->forget_last();
  if (!same_tensor(p->initial_state, final_state)) {
    call->invalid("final_state is not the same tensor as initial_state, expected ", why, ".");
  }
}

/// Reads what says which entries of the states a call starts from and writes.
void read_indices(Call *call, const Args &a, Shapes *s, bool recurrent, DeltaRule *p) {
  read_state_indices(call, a, recurrent ? Indices::per_token : Indices::per_sequence, s, p);
  if (a.initial_state == nullptr && a.state_indices == nullptr) {
    call->refuse("has_initial_state", a.has_initial_state, "without initial_state");
  }
  p->has_initial_state = call->flags("has_initial_state", a.has_initial_state, &s->N);
}

void read_states(Call *call, const Args &a, Shapes *s, DeltaRule *p) {
  const bool v_first = has(a, GDN_STATE_V_FIRST);
  if (a.state_indices != nullptr) {
    Dim slots{"slots"};
    call->require("initial_state", a.initial_state, "with state_indices: it is the pool");
    p->initial_state = read_state(call, "initial_state", a.initial_state, Types::floats(), &slots,
                                  s, v_first, Use::output);
    if (a.final_state != nullptr) {
      read_alias(call, a, &slots, s, p, "NULL or the same memory, type and strides with a pool");
    }
    p->final_state = p->initial_state;
    p->slots.count = slots.size;
    return;
  }
  const bool in_place = share_start(a.initial_state, a.final_state);
  p->initial_state = read_state(call, "initial_state", a.initial_state, Types::floats(), &s->N, s,
                                v_first, in_place ? Use::output : Use::input);
  if (in_place) {
    read_alias(call, a, &s->N, s, p, "the same type and strides (in place), or memory of its own");
    p->final_state = p->initial_state;
  } else {
    p->final_state = read_state(call, "final_state", a.final_state, Types::floats(), &s->N, s,
                                v_first, Use::output);
  }
}

void check_checkpoint_rows(Call *call, const DeltaRule &p, int64_t expected) {
  check_rows(call, "checkpoints", p.checkpoints.shape[0], expected,
             p.positions.present
                 ? "the multiples of checkpoint_every that each sequence passes from its position"
                 : "floor(length / checkpoint_every) of each sequence");
}

void read_checkpoints(Call *call, const Args &a, Shapes *s, DeltaRule *p) {
  const int64_t every = a.checkpoint_every;
  p->positions = call->indices("positions", a.positions, {&s->N});
  if (a.checkpoints == nullptr && a.checkpoint_indices == nullptr) {
    if (every != 0) {
      call->invalid("checkpoint_every is ", every,
                    ", expected 0 when checkpoints and checkpoint_indices are NULL.");
    }
    return;
  }
  const char *const given = a.checkpoint_indices != nullptr ? "checkpoint_indices" : "checkpoints";
  if (every == 0) {
    call->invalid("checkpoint_every is missing, expected a positive multiple of ", GDN_CHUNK_SIZE,
                  " with ", given, ".");
  } else if (every < 0 || every % GDN_CHUNK_SIZE != 0) {
    call->invalid("checkpoint_every is ", every, ", expected a positive multiple of ",
                  GDN_CHUNK_SIZE, " with ", given, ".");
  }
  p->checkpoint_every = every;
  if (a.checkpoint_indices != nullptr) {
    if (a.state_indices == nullptr) {
      call->refuse("checkpoint_indices", a.checkpoint_indices, "without state_indices");
    }
    call->refuse("checkpoints", a.checkpoints, "with checkpoint_indices");
    Dim most{"K"};
    p->checkpoint_indices =
        call->indices("checkpoint_indices", a.checkpoint_indices, {&s->N, &most});
    return;
  }
  Dim rows{"the number of checkpoints"};
  p->checkpoints = read_state(call, "checkpoints", a.checkpoints, Types::floats(), &rows, s,
                              has(a, GDN_STATE_V_FIRST), Use::output);
  // Without these the rows are known without reading memory.
  if (call->ok() && !p->sequences.packed() && !p->positions.present) {
    check_checkpoint_rows(call, *p, measure(p->sequences, every, false).parts);
  }
}

void read_problem(Call *call, const Args &a, bool recurrent, DeltaRule *p) {
  Shapes s;
  call->check_flags(a.flags, recurrent ? kFlags | GDN_ROUND_STATES : kFlags);
  call->check_zero("reserved", a.reserved);
  read_operands(call, a, &s, p);
  read_gates(call, a, &s, p);
  read_indices(call, a, &s, recurrent, p);
  read_states(call, a, &s, p);
  p->round_states = has(a, GDN_ROUND_STATES);
  if (p->round_states && a.final_state == nullptr && a.state_indices == nullptr) {
    call->invalid("flags has GDN_ROUND_STATES, expected final_state or state_indices with it.");
  }
  p->qk_l2norm = has(a, GDN_USE_QK_L2NORM);
  p->scale = read_scale(call, a.flags, a.scale, s);
  p->o = call->tensor("o", a.o, Types::of(p->q, "q"), {&s.B, &s.T, &s.HV, &s.DV}, Layout::unit_last,
                      Use::output);
  if (recurrent) {
    call->check_zero("chunk_size", a.chunk_size);
    call->check_zero("checkpoint_every", a.checkpoint_every);
    call->refuse("checkpoints", a.checkpoints, "for the recurrent operation");
    call->refuse("checkpoint_indices", a.checkpoint_indices, "for the recurrent operation");
    call->refuse("positions", a.positions, "for the recurrent operation");
  } else {
    p->chunk_size = read_chunk_size(call, a.chunk_size);
    read_checkpoints(call, a, &s, p);
  }
}

void chunk_shapes(Call *call, const Args &a, DeltaRule *p) { read_problem(call, a, false, p); }
void recurrent_shapes(Call *call, const Args &a, DeltaRule *p) { read_problem(call, a, true, p); }

void check_contents(Call *call, const Target &target, const DeltaRule &p) {
  const HostSequences sequences(call, target, p.sequences);
  const HostIndices state_indices(call, target, p.state_indices);
  const HostIndices accepted(call, target, p.num_accepted_tokens);
  const HostIndices outputs(call, target, p.output_state_indices);
  const HostIndices checkpoints(call, target, p.checkpoint_indices);
  const HostIndices positions(call, target, p.positions);
  const HostFlags has_initial_state(call, target, p.has_initial_state);
  if (!call->ok()) return;
  DeltaRule host = p;
  host.sequences = sequences.get();
  host.state_indices = state_indices.array();
  host.num_accepted_tokens = accepted.array();
  host.output_state_indices = outputs.array();
  host.checkpoint_indices = checkpoints.array();
  host.positions = positions.array();
  host.has_initial_state = has_initial_state.array();
  check_positions(call, host);
  if (p.checkpoints.present() && call->ok()) {
    check_checkpoint_rows(call, p, count_checkpoints(host));
  }
  if (p.state_indices.present) check_state_slots(call, host);
}

}  // namespace

const Checks<op::chunk_gated_delta_rule, Args> checks::chunk_gated_delta_rule = {chunk_shapes,
                                                                                 check_contents};
const Checks<op::fused_recurrent_gated_delta_rule, Args> checks::fused_recurrent_gated_delta_rule =
    {recurrent_shapes, check_contents};

}  // namespace gdn::api
