#include "api/contents_check.h"
#include "api/conv_checks.h"
#include "api/operation.h"
#include "api/shapes.h"

namespace gdn::api {
namespace {

/// What both convolutions share: extents and the operands [C, W], [C], [slots, C, L].
struct ConvShapes {
  Dim rows;  ///< B or N.
  Dim C{"C", 1};
  Dim T{"T"};
  Dim W{"W"};
  Dim slots{"slots"};
  Dim L{"L"};
};

template <class Args, class Problem>
void read_filter(Call *call, const Args &a, ConvShapes *s, Problem *p) {
  call->check_flags(a.flags, GDN_SILU | GDN_HAS_NULL_SLOT | GDN_PADDED);
  call->check_zero("reserved", a.reserved);
  p->silu = (a.flags & GDN_SILU) != 0;
  p->slots = read_null_slot(a);
  p->x = call->tensor("x", a.x, Types::floats(), {&s->rows, &s->C, &s->T}, Layout::any);
  const Types as_x = Types::f32_or(p->x, "x");
  p->weight = call->tensor("weight", a.weight, as_x, {&s->C, &s->W}, Layout::any);
  check_width(call, "weight", p->weight);
  p->bias = call->optional("bias", a.bias, as_x, {&s->C}, Layout::any);
}

/// Reads conv_state; its L is at least `least`, which `why` explains.
template <class Args, class Problem>
void read_conv_state(Call *call, const Args &a, int64_t least, const char *why, ConvShapes *s,
                     Problem *p) {
  p->conv_state = call->optional("conv_state", a.conv_state, Types::floats(),
                                 {&s->slots, &s->C, &s->L}, Layout::any, Use::output);
  if (!call->ok() || !p->conv_state.present()) return;
  p->slots.count = s->slots.size;
  check_entries(call, p->conv_state, least, why);
}

/// Reads state_indices; without them sequence n uses slot n.
template <class Problem>
void read_slots(Call *call, const DLTensor *indices, const ConvShapes &s, Dim *N, Problem *p) {
  p->state_indices = call->indices("state_indices", indices, {N});
  if (!p->state_indices.present && s.slots.bound()) {
    check_slot_count(call, "conv_state", s.slots.size, *N, "state_indices");
  }
}

void fwd_shapes(Call *call, const gdn_causal_conv1d_fwd_args &a, CausalConv1dFwd *p) {
  ConvShapes s{.rows = {"B"}};
  read_filter(call, a, &s, p);
  Dim N{"N"};
  p->sequences = read_sequences(call, a.flags, a.cu_seqlens, s.rows, s.T, &N);
  read_conv_state(call, a, s.W.size - 1, "W - 1", &s, p);
  if (a.conv_state == nullptr) {
    call->refuse("state_indices", a.state_indices, "without conv_state");
    call->refuse("has_initial_state", a.has_initial_state, "without conv_state");
  }
  read_slots(call, a.state_indices, s, &N, p);
  p->has_initial_state = call->flags("has_initial_state", a.has_initial_state, &N);
  p->y =
      call->tensor("y", a.y, Types::of(p->x, "x"), {&s.rows, &s.C, &s.T}, Layout::any, Use::output);
}

void update_shapes(Call *call, const gdn_causal_conv1d_update_args &a, CausalConv1dUpdate *p) {
  const bool packed = a.cu_seqlens != nullptr;
  ConvShapes s{.rows = {packed ? "B" : "N"}};
  read_filter(call, a, &s, p);
  Dim N{"N"};
  p->sequences = read_sequences(call, a.flags, a.cu_seqlens, s.rows, s.T, &N);
  // The lengths of packed sequences are contents.
  const bool verify = a.num_accepted_tokens != nullptr && !packed;
  call->require("conv_state", a.conv_state, "of shape [slots, C, L]");
  int64_t least = s.W.size - 1;
  // After a failure the extents may be of any size.
  if (verify && call->ok()) least += s.T.size - 1;
  read_conv_state(call, a, least, verify ? "W - 2 + T, with num_accepted_tokens" : "W - 1", &s, p);
  read_slots(call, a.state_indices, s, &N, p);
  p->num_accepted_tokens = call->indices("num_accepted_tokens", a.num_accepted_tokens, {&N});
  p->y =
      call->tensor("y", a.y, Types::of(p->x, "x"), {&s.rows, &s.C, &s.T}, Layout::any, Use::output);
}

void fwd_contents(Call *call, const Target &target, const CausalConv1dFwd &p) {
  const HostSequences sequences(call, target, p.sequences);
  const HostIndices indices(call, target, p.state_indices);
  check_slots(call, "state_indices", indices.array(), p.slots);
}

void update_contents(Call *call, const Target &target, const CausalConv1dUpdate &p) {
  const HostSequences sequences(call, target, p.sequences);
  const HostIndices indices(call, target, p.state_indices);
  const HostIndices accepted(call, target, p.num_accepted_tokens);
  check_slots(call, "state_indices", indices.array(), p.slots);
  CausalConv1dUpdate host = p;
  host.sequences = sequences.get();
  host.state_indices = indices.array();
  host.num_accepted_tokens = accepted.array();
  check_accepted(call, host);
}

}  // namespace

const Checks<op::causal_conv1d_fwd, gdn_causal_conv1d_fwd_args> checks::causal_conv1d_fwd = {
    fwd_shapes, fwd_contents};
const Checks<op::causal_conv1d_update, gdn_causal_conv1d_update_args> checks::causal_conv1d_update =
    {update_shapes, update_contents};

}  // namespace gdn::api
