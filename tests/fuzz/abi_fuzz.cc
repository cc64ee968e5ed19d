// libFuzzer on the C interface: bytes become the arguments of a call, valid or slightly broken. The
// library must return a status, touch nothing that it should not, and never crash.

#include <gdn/gdn.h>

#include "fuzz/bytes.h"
#include "fuzz/draw.h"
#include "fuzz/operands.h"
#include "fuzz/run.h"

namespace gdn::fuzz {
namespace {

void delta_rule(Draw *d, bool recurrent) {
  gdn_gated_delta_rule_args a{};
  const bool gate = d->in.rarely();
  const bool sigmoid = d->in.rarely();
  a.flags = d->flags | (gate ? GDN_USE_GATE : 0U) | (sigmoid ? GDN_USE_BETA_SIGMOID : 0U) |
            (d->v_first ? GDN_STATE_V_FIRST : 0U) | (d->in.rarely() ? GDN_HAS_SCALE : 0U) |
            (d->in.rarely() ? GDN_USE_QK_L2NORM : 0U) |
            (recurrent && d->in.rarely() ? GDN_ROUND_STATES : 0U);
  a.head_map = d->head_map;
  a.scale = d->number();
  a.chunk_size = recurrent ? 0 : d->chunk_size;
  a.reserved = d->reserved;
  a.q = d->q_like();
  a.k = d->q_like();
  a.v = d->v_like(false);
  a.g = d->gate(d->any_float());
  a.beta = d->gate(d->any_float());
  if (gate) a.A_log = d->operands.tensor(d->any_float(), {d->HV}, false);
  if (gate) a.dt_bias = d->operands.optional(d->any_float(), {d->HV}, false);
  a.cu_seqlens = d->cu_seqlens();
  const DLDataType state = d->any_float();
  a.flags |= (d->in.rarely() ? GDN_HAS_NULL_SLOT : 0U) | (d->padded ? GDN_PADDED : 0U);
  a.null_slot = d->in.rarely() ? d->in.odd_number() : 0;
  if (d->in.rarely()) a.has_initial_state = d->sequence_flags();
  if (!recurrent && d->in.rarely()) a.positions = d->positions();
  if (d->in.often()) {
    a.initial_state = d->maybe_state(state, d->N, false);
    a.final_state = d->maybe_state(d->any_float(), d->N, true);
  } else {
    const int64_t slots = d->N * 4 + 1;
    const int64_t columns = recurrent && d->in.often() ? 1 + d->in.below(9) : 1;
    a.initial_state = d->state(state, slots, true);
    a.state_indices = d->slots(slots, columns);
    if (columns > 1 && d->in.often()) a.num_accepted_tokens = d->accepted(columns);
    if (d->in.rarely()) a.output_state_indices = d->slots(slots, d->in.often() ? columns : 1);
    if (d->in.rarely()) a.final_state = a.initial_state;
    if (!recurrent && d->in.rarely()) {
      a.checkpoint_every = 64;
      a.checkpoint_indices = d->slots(slots, 1 + d->in.below(7));
    }
  }
  if (!recurrent && d->in.rarely()) {
    a.checkpoint_every = d->in.rarely() ? d->in.odd_number() : 64;
    a.checkpoints = d->state(d->any_float(), d->parts(64, false), true);
  }
  a.o = d->v_like(true);
  if (recurrent) {
    run(d, gdn_fused_recurrent_gated_delta_rule, a);
  } else {
    run(d, gdn_chunk_gated_delta_rule, a, gdn_chunk_gated_delta_rule_workspace_size);
  }
}

/// Sets what all stages have.
template <class Args>
Args stage(Draw *d) {
  Args a{};
  a.flags = d->flags | (d->padded ? GDN_PADDED : 0U);
  a.chunk_size = d->chunk_size;
  if constexpr (requires { a.head_map; }) a.head_map = d->head_map;
  if constexpr (requires { a.reserved; }) a.reserved = d->reserved;
  a.cu_seqlens = d->cu_seqlens();
  return a;
}

void stages(Draw *d, int64_t which) {
  if (which == 0) {
    auto a = stage<gdn_chunk_local_cumsum_args>(d);
    a.g = d->operands.tensor(d->type, {d->B, d->T, d->HV}, false);
    a.g_cumsum = d->operands.tensor(kF32, {d->B, d->T, d->HV}, true);
    run(d, gdn_chunk_local_cumsum, a);
  } else if (which == 1) {
    auto a = stage<gdn_chunk_scaled_dot_kkt_args>(d);
    a.k = d->q_like();
    a.beta = d->operands.tensor(d->any_float(), {d->B, d->T, d->HV}, false);
    a.g_cumsum = d->gate(kF32);
    a.A = d->triangle(kF32, true);
    run(d, gdn_chunk_scaled_dot_kkt, a);
  } else if (which == 2) {
    auto a = stage<gdn_solve_tril_args>(d);
    a.A = d->triangle(kF32, false);
    a.T = d->triangle(d->type, true);
    run(d, gdn_solve_tril, a);
  } else if (which == 3) {
    auto a = stage<gdn_recompute_w_u_args>(d);
    a.k = d->q_like();
    a.v = d->v_like(false);
    a.beta = d->operands.tensor(d->any_float(), {d->B, d->T, d->HV}, false);
    a.g_cumsum = d->gate(kF32);
    a.T = d->triangle(d->operands.f32_or(d->type), false);
    a.w = d->operands.tensor(d->type, {d->B, d->T, d->HV, d->DK}, true);
    a.u = d->v_like(true);
    run(d, gdn_recompute_w_u, a);
  } else if (which == 4) {
    auto a = stage<gdn_chunk_fwd_h_args>(d);
    a.flags |= d->v_first ? GDN_STATE_V_FIRST : 0U;
    a.k = d->q_like();
    a.w = d->operands.tensor(d->type, {d->B, d->T, d->HV, d->DK}, false);
    a.u = d->v_like(false);
    a.g_cumsum = d->gate(kF32);
    a.initial_state = d->maybe_state(d->any_float(), d->N, false);
    a.h = d->state(d->operands.f32_or(d->type), d->chunks(), true);
    a.v_new = d->v_like(true);
    a.final_state = d->maybe_state(d->any_float(), d->N, true);
    run(d, gdn_chunk_fwd_h, a);
  } else {
    auto a = stage<gdn_chunk_fwd_o_args>(d);
    a.flags |= d->v_first ? GDN_STATE_V_FIRST : 0U;
    a.scale = d->number();
    a.q = d->q_like();
    a.k = d->q_like();
    a.v_new = d->v_like(false);
    a.h = d->state(d->operands.f32_or(d->type), d->chunks(), false);
    a.g_cumsum = d->gate(kF32);
    a.o = d->v_like(true);
    run(d, gdn_chunk_fwd_o, a);
  }
}

void convolution(Draw *d, bool update) {
  const int64_t C = 1 + d->in.below(40);
  const int64_t W = 2 + d->in.below(3);
  const int64_t slots = d->N + d->in.below(4);
  const uint32_t flags = d->flags | (d->in.often() ? GDN_SILU : 0U) |
                         (d->in.rarely() ? GDN_HAS_NULL_SLOT : 0U) |
                         (d->padded || d->in.rarely() ? GDN_PADDED : 0U);
  const int64_t null_slot = d->in.rarely() ? d->in.odd_number() : d->in.below(slots + 2) - 1;
  const DLDataType state = d->in.rarely() ? d->in.pick<DLDataType>({kF32, kBf16, kF16}) : d->type;
  if (update) {
    gdn_causal_conv1d_update_args a{};
    const bool packed = d->packed && d->in.often();
    const int64_t B = packed ? 1 : d->N;
    const int64_t T = packed ? d->T : d->in.below(5);
    const bool verify = d->in.rarely();
    const int64_t L = (verify ? W - 2 + T : W - 1) + d->in.below(3);
    a.flags = flags;
    a.reserved = d->reserved;
    a.x = d->operands.tensor(d->type, {B, C, T}, false);
    a.weight = d->operands.tensor(d->operands.f32_or(d->type), {C, W}, false);
    a.bias = d->operands.optional(d->operands.f32_or(d->type), {C}, false);
    a.conv_state = d->operands.tensor(state, {slots, C, L}, true);
    if (d->in.often()) a.state_indices = d->slots(slots > 0 ? slots : 1, 1);
    if (verify) a.num_accepted_tokens = d->accepted(T);
    a.y = d->operands.tensor(d->type, {B, C, T}, true);
    if (packed) a.cu_seqlens = d->cu_seqlens();
    a.null_slot = null_slot;
    run(d, gdn_causal_conv1d_update, a);
    return;
  }
  gdn_causal_conv1d_fwd_args a{};
  a.flags = flags;
  a.reserved = d->reserved;
  a.x = d->operands.tensor(d->type, {d->B, C, d->T}, false);
  a.weight = d->operands.tensor(d->operands.f32_or(d->type), {C, W}, false);
  a.bias = d->operands.optional(d->operands.f32_or(d->type), {C}, false);
  a.cu_seqlens = d->cu_seqlens();
  a.conv_state = d->operands.optional(state, {slots, C, W - 1 + d->in.below(3)}, true);
  if (a.conv_state != nullptr && d->in.often()) {
    a.state_indices = d->slots(slots > 0 ? slots : 1, 1);
    a.has_initial_state = d->operands.optional(kU8, {d->N}, false);
  }
  a.y = d->operands.tensor(d->type, {d->B, C, d->T}, true);
  a.null_slot = null_slot;
  run(d, gdn_causal_conv1d_fwd, a);
}

void decode(Draw *d) {
  gdn_fused_gdn_decode_args a{};
  const int64_t C = 2 * d->HK * d->DK + d->HV * d->DV + (d->in.rarely() ? 1 : 0);
  const int64_t W = 2 + d->in.below(3);
  const int64_t slots = d->N * 4 + 1;
  const bool packed = d->packed && d->in.often();
  const int64_t columns = d->in.often() ? 1 + d->in.below(9) : 1;
  a.flags = d->flags | (d->v_first ? GDN_STATE_V_FIRST : 0U) | (d->padded ? GDN_PADDED : 0U) |
            (d->in.rarely() ? GDN_HAS_SCALE : 0U) | (d->in.rarely() ? GDN_HAS_EPS : 0U) |
            (d->in.rarely() ? GDN_HAS_NULL_SLOT : 0U) | (d->in.often() ? GDN_ROUND_STATES : 0U) |
            (d->in.rarely() ? GDN_SIGMOID_GATE : 0U) | (d->in.rarely() ? GDN_ALLOW_NEG_EIGVAL : 0U);
  a.head_map = d->head_map;
  a.scale = d->number();
  a.eps = d->number();
  a.null_slot = d->in.rarely() ? d->in.odd_number() : d->in.below(slots + 2) - 1;
  const DLDataType kept = d->in.rarely() ? d->any_float() : d->type;
  a.mixed_qkv = d->operands.tensor(d->type, {d->B, d->T, C}, false);
  a.conv_weight = d->operands.tensor(d->operands.f32_or(d->type), {C, W}, false);
  a.conv_bias = d->operands.optional(d->operands.f32_or(d->type), {C}, false);
  a.conv_state = d->operands.tensor(kept, {slots, C, W - 1 + d->in.below(9)}, true);
  a.a = d->operands.tensor(d->any_float(), {d->B, d->T, d->HV}, false);
  a.b = d->operands.tensor(d->any_float(), {d->B, d->T, d->HV}, false);
  a.A_log = d->operands.tensor(d->any_float(), {d->HV}, false);
  a.dt_bias = d->operands.optional(d->any_float(), {d->HV}, false);
  a.z = d->v_like(false);
  a.norm_weight = d->operands.tensor(d->operands.f32_or(d->type), {d->DV}, false);
  a.state = d->state(d->any_float(), slots, true);
  if (d->in.often()) {
    a.state_indices = d->slots(slots, columns);
    if (columns > 1 && d->in.often()) a.num_accepted_tokens = d->accepted(columns);
    if (d->in.rarely()) a.output_state_indices = d->slots(slots, d->in.often() ? columns : 1);
    if (d->in.rarely()) a.conv_state_indices = d->slots(slots, 1);
  }
  if (packed) a.cu_seqlens = d->cu_seqlens();
  a.o = d->v_like(true);
  run(d, gdn_fused_gdn_decode, a, gdn_fused_gdn_decode_workspace_size);
}

void rest(Draw *d, int64_t which) {
  if (which == 0) {
    gdn_fused_gdn_gating_args a{};
    a.flags = d->flags;
    a.reserved = d->reserved;
    a.A_log = d->operands.tensor(d->operands.f32_or(d->type), {d->HV}, false);
    a.a = d->operands.tensor(d->type, {d->B, d->T, d->HV}, false);
    a.b = d->operands.tensor(d->type, {d->B, d->T, d->HV}, false);
    a.dt_bias = d->operands.optional(kF32, {d->HV}, false);
    a.g = d->operands.tensor(kF32, {d->B, d->T, d->HV}, true);
    a.beta = d->operands.tensor(d->operands.f32_or(d->type), {d->B, d->T, d->HV}, true);
    run(d, gdn_fused_gdn_gating, a);
    return;
  }
  const int64_t D = 1 + d->in.below(70);
  const auto eps = d->number();
  if (which == 1) {
    gdn_l2norm_args a{};
    a.flags = d->flags;
    a.eps = eps;
    a.x = d->operands.tensor(d->type, {d->B, d->T, D}, false);
    a.y = d->operands.tensor(d->type, {d->B, d->T, D}, true);
    run(d, gdn_l2norm, a);
    return;
  }
  gdn_rms_norm_gated_args a{};
  a.flags = d->flags | (d->in.rarely() ? GDN_SIGMOID_GATE : 0U);
  a.eps = eps;
  a.x = d->operands.tensor(d->type, {d->T, D}, false);
  a.z = d->operands.optional(d->type, {d->T, D}, false);
  a.weight = d->operands.optional(d->operands.f32_or(d->type), {D}, false);
  a.y = d->operands.tensor(d->type, {d->T, D}, true);
  run(d, gdn_rms_norm_gated, a);
}

}  // namespace
}  // namespace gdn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  gdn::fuzz::Bytes in(data, size);
  const int64_t operation = in.below(14);
  gdn::fuzz::Draw draw(&in);
  if (operation < 2) {
    gdn::fuzz::delta_rule(&draw, operation == 1);
  } else if (operation < 8) {
    gdn::fuzz::stages(&draw, operation - 2);
  } else if (operation < 10) {
    gdn::fuzz::convolution(&draw, operation == 9);
  } else if (operation < 13) {
    gdn::fuzz::rest(&draw, operation - 10);
  } else {
    gdn::fuzz::decode(&draw);
  }
  return 0;
}
