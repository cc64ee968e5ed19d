#include "api/contents_check.h"
#include "api/operation.h"
#include "api/shapes.h"

namespace gdn::api {
namespace {

/// Checks the fields that all stages share, before their operands.
template <class Args>
void begin_stage(Call *call, const Args &a, uint32_t flags, StageShape *p) {
  call->check_flags(a.flags, flags);
  if constexpr (requires { a.reserved; }) call->check_zero("reserved", a.reserved);
  p->chunk_size = read_chunk_size(call, a.chunk_size);
}

/// Fills what follows from the extents, once the first operands are read.
template <class Args>
void fill_shape(Call *call, const Args &a, Shapes *s, StageShape *p) {
  p->sequences = read_sequences(call, a.flags, a.cu_seqlens, s->B, s->T, &s->N);
  if (s->DK.bound()) p->key_dim = s->DK.size;
  if (s->DV.bound()) p->value_dim = s->DV.size;
}

/// Stages without key heads.
HeadMap value_heads_only(const Shapes &s) {
  HeadMap out;
  out.key_heads = out.value_heads = s.HV.bound() ? s.HV.size : 1;
  return out;
}

/// C, the last extent of A and T.
Dim chunk_dim(const StageShape &p) {
  Dim out{"C"};
  out.bind(p.chunk_size, "chunk_size");
  return out;
}

Tensor read_cumsum(Call *call, const DLTensor *g_cumsum, Shapes *s) {
  return call->optional("g_cumsum", g_cumsum, Types::only_f32(), {&s->B, &s->T, &s->HV},
                        Layout::any);
}

template <class Problem>
void check_sequences(Call *call, const Target &target, const Problem &p) {
  const HostSequences sequences(call, target, p.sequences);
}

void check_h_rows(Call *call, const Tensor &h, const Sequences &sequences, int64_t chunk_size) {
  const int64_t chunks = measure(sequences, chunk_size, true).parts;
  // Who pads tokens cannot know how many chunks there will be.
  if (sequences.padded && h.shape[0] >= chunks) return;
  check_rows(call, "h", h.shape[0], chunks,
             sequences.padded ? "the number of chunks of all sequences, or more"
                              : "the number of chunks of all sequences");
}

/// Reads h [NT, HV, DK, DV].
Tensor read_h(Call *call, const DLTensor *t, const Tensor &k, Shapes *s, bool v_first, Use use,
              const StageShape &p) {
  call->require("h", t, "of shape [NT, HV, DK, DV]");
  Dim rows{"NT"};
  const Tensor h = read_state(call, "h", t, Types::f32_or(k, "k"), &rows, s, v_first, use);
  if (!call->ok()) return h;
  // Without cu_seqlens the rows are known without reading memory; with it, how many there are at
  // least: on CUDA that keeps chunks within h when nobody checks what cu_seqlens holds.
  const int64_t least = (p.sequences.tokens + p.chunk_size - 1) / p.chunk_size;
  if (!p.sequences.packed()) {
    check_h_rows(call, h, p.sequences, p.chunk_size);
  } else if (h.shape[0] < least) {
    call->invalid("h has ", h.shape[0], " rows, expected at least ", least, ": ",
                  p.sequences.tokens, " tokens in chunks of ", p.chunk_size, ".");
  }
  return h;
}

template <class Problem>
void check_sequences_and_h(Call *call, const Target &target, const Problem &p) {
  const HostSequences sequences(call, target, p.sequences);
  if (call->ok()) check_h_rows(call, p.h, sequences.get(), p.chunk_size);
}

void cumsum_shapes(Call *call, const gdn_chunk_local_cumsum_args &a, ChunkLocalCumsum *p) {
  Shapes s;
  begin_stage(call, a, GDN_PADDED, p);
  p->g = call->tensor("g", a.g, Types::floats(), {&s.B, &s.T, &s.HV}, Layout::any);
  fill_shape(call, a, &s, p);
  p->heads = value_heads_only(s);
  p->g_cumsum = call->tensor("g_cumsum", a.g_cumsum, Types::only_f32(), {&s.B, &s.T, &s.HV},
                             Layout::any, Use::output);
}

void kkt_shapes(Call *call, const gdn_chunk_scaled_dot_kkt_args &a, ChunkScaledDotKkt *p) {
  Shapes s;
  begin_stage(call, a, GDN_PADDED, p);
  p->k = call->tensor("k", a.k, Types::floats(), {&s.B, &s.T, &s.HK, &s.DK}, Layout::unit_last);
  p->beta = call->tensor("beta", a.beta, Types::floats(), {&s.B, &s.T, &s.HV}, Layout::any);
  p->heads = read_heads(call, a.head_map, s);
  fill_shape(call, a, &s, p);
  p->g_cumsum = read_cumsum(call, a.g_cumsum, &s);
  Dim chunk = chunk_dim(*p);
  p->A = call->tensor("A", a.A, Types::only_f32(), {&s.B, &s.T, &s.HV, &chunk}, Layout::unit_last,
                      Use::output);
}

void solve_shapes(Call *call, const gdn_solve_tril_args &a, SolveTril *p) {
  Shapes s;
  begin_stage(call, a, GDN_PADDED, p);
  Dim chunk = chunk_dim(*p);
  p->A = call->tensor("A", a.A, Types::only_f32(), {&s.B, &s.T, &s.HV, &chunk}, Layout::unit_last);
  fill_shape(call, a, &s, p);
  p->heads = value_heads_only(s);
  p->T = call->tensor("T", a.T, Types::floats(), {&s.B, &s.T, &s.HV, &chunk}, Layout::unit_last,
                      Use::output);
}

void w_u_shapes(Call *call, const gdn_recompute_w_u_args &a, RecomputeWU *p) {
  Shapes s;
  begin_stage(call, a, GDN_PADDED, p);
  p->k = call->tensor("k", a.k, Types::floats(), {&s.B, &s.T, &s.HK, &s.DK}, Layout::unit_last);
  const Types as_k = Types::of(p->k, "k");
  p->v = call->tensor("v", a.v, as_k, {&s.B, &s.T, &s.HV, &s.DV}, Layout::unit_last);
  p->heads = read_heads(call, a.head_map, s);
  fill_shape(call, a, &s, p);
  p->beta = call->tensor("beta", a.beta, Types::floats(), {&s.B, &s.T, &s.HV}, Layout::any);
  p->g_cumsum = read_cumsum(call, a.g_cumsum, &s);
  Dim chunk = chunk_dim(*p);
  p->T = call->tensor("T", a.T, Types::f32_or(p->k, "k"), {&s.B, &s.T, &s.HV, &chunk},
                      Layout::unit_last);
  p->w = call->tensor("w", a.w, as_k, {&s.B, &s.T, &s.HV, &s.DK}, Layout::unit_last, Use::output);
  p->u = call->tensor("u", a.u, as_k, {&s.B, &s.T, &s.HV, &s.DV}, Layout::unit_last, Use::output);
}

void fwd_h_shapes(Call *call, const gdn_chunk_fwd_h_args &a, ChunkFwdH *p) {
  Shapes s;
  begin_stage(call, a, GDN_STATE_V_FIRST | GDN_PADDED, p);
  const bool v_first = (a.flags & GDN_STATE_V_FIRST) != 0;
  p->k = call->tensor("k", a.k, Types::floats(), {&s.B, &s.T, &s.HK, &s.DK}, Layout::unit_last);
  const Types as_k = Types::of(p->k, "k");
  p->w = call->tensor("w", a.w, as_k, {&s.B, &s.T, &s.HV, &s.DK}, Layout::unit_last);
  p->u = call->tensor("u", a.u, as_k, {&s.B, &s.T, &s.HV, &s.DV}, Layout::unit_last);
  p->heads = read_heads(call, a.head_map, s);
  fill_shape(call, a, &s, p);
  p->g_cumsum = read_cumsum(call, a.g_cumsum, &s);
  p->initial_state = read_state(call, "initial_state", a.initial_state, Types::floats(), &s.N, &s,
                                v_first, Use::input);
  p->h = read_h(call, a.h, p->k, &s, v_first, Use::output, *p);
  p->v_new = call->tensor("v_new", a.v_new, as_k, {&s.B, &s.T, &s.HV, &s.DV}, Layout::unit_last,
                          Use::output);
  p->final_state = read_state(call, "final_state", a.final_state, Types::floats(), &s.N, &s,
                              v_first, Use::output);
}

void fwd_o_shapes(Call *call, const gdn_chunk_fwd_o_args &a, ChunkFwdO *p) {
  Shapes s;
  begin_stage(call, a, GDN_HAS_SCALE | GDN_STATE_V_FIRST | GDN_PADDED, p);
  p->q = call->tensor("q", a.q, Types::floats(), {&s.B, &s.T, &s.HK, &s.DK}, Layout::unit_last);
  const Types as_q = Types::of(p->q, "q");
  p->k = call->tensor("k", a.k, as_q, {&s.B, &s.T, &s.HK, &s.DK}, Layout::unit_last);
  p->v_new = call->tensor("v_new", a.v_new, as_q, {&s.B, &s.T, &s.HV, &s.DV}, Layout::unit_last);
  p->heads = read_heads(call, a.head_map, s);
  fill_shape(call, a, &s, p);
  p->scale = read_scale(call, a.flags, a.scale, s);
  p->h = read_h(call, a.h, p->k, &s, (a.flags & GDN_STATE_V_FIRST) != 0, Use::input, *p);
  p->g_cumsum = read_cumsum(call, a.g_cumsum, &s);
  p->o = call->tensor("o", a.o, as_q, {&s.B, &s.T, &s.HV, &s.DV}, Layout::unit_last, Use::output);
}

}  // namespace

const Checks<op::chunk_local_cumsum, gdn_chunk_local_cumsum_args> checks::chunk_local_cumsum = {
    cumsum_shapes, check_sequences};
const Checks<op::chunk_scaled_dot_kkt, gdn_chunk_scaled_dot_kkt_args> checks::chunk_scaled_dot_kkt =
    {kkt_shapes, check_sequences};
const Checks<op::solve_tril, gdn_solve_tril_args> checks::solve_tril = {solve_shapes,
                                                                        check_sequences};
const Checks<op::recompute_w_u, gdn_recompute_w_u_args> checks::recompute_w_u = {w_u_shapes,
                                                                                 check_sequences};
const Checks<op::chunk_fwd_h, gdn_chunk_fwd_h_args> checks::chunk_fwd_h = {fwd_h_shapes,
                                                                           check_sequences_and_h};
const Checks<op::chunk_fwd_o, gdn_chunk_fwd_o_args> checks::chunk_fwd_o = {fwd_o_shapes,
                                                                           check_sequences_and_h};

}  // namespace gdn::api
