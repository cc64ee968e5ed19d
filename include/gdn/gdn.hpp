// Copyright the libgdn authors. Licensed under Apache-2.0.
#ifndef GDN_GDN_HPP_
#define GDN_GDN_HPP_

/**
 * @file gdn.hpp
 * @brief A C++20 layer over gdn.h: typed views, argument structs with defaults, exceptions.
 *
 *     std::vector<float> q(T * HK * DK), k(q.size()), v(T * HV * DV), o(v.size());
 *     std::vector<float> g(T * HV), beta(g.size());
 *     // .. fill q, k, v, g, beta ..
 *     gdn::chunk_gated_delta_rule({.q = {q.data(), {1, T, HK, DK}},
 *                                  .k = {k.data(), {1, T, HK, DK}},
 *                                  .v = {v.data(), {1, T, HV, DV}},
 *                                  .g = {g.data(), {1, T, HV}},
 *                                  .beta = {beta.data(), {1, T, HV}},
 *                                  .o = {o.data(), {1, T, HV, DV}}});
 *
 * What an argument means is said once, in gdn.h: a field here has the name of the field there. An
 * operand that is left out is absent. Every function throws gdn::Error if the call fails.
 */

#if __cplusplus < 202002L
#error "gdn.hpp needs C++20 (-std=c++20); gdn.h serves C and older C++"
#else

#include <gdn/gdn.h>
#include <gdn/args.hpp>
#include <gdn/element.hpp>
#include <gdn/view.hpp>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace gdn {

/// A failed call: its status, and gdn_last_error() as what().
class Error : public std::runtime_error {
 public:
  /// A status other than GDN_OK, and its message.
  Error(gdn_status status, const std::string &message)
      : std::runtime_error(message), status_(status) {}

  /// What the call returned.
  gdn_status status() const noexcept { return status_; }

 private:
  gdn_status status_;
};

/// Turns the argument structs above into those of gdn.h.
namespace detail {

inline void check(gdn_status status) {
  if (status != GDN_OK) throw Error(status, gdn_last_error());
}

inline gdn_exec exec_of(const ExecOptions &options) {
  gdn_exec e{};
  e.struct_size = sizeof e;
  e.stream = options.stream;
  e.threads = options.threads;
  if (options.check) e.flags |= GDN_EXEC_CHECK;
  if (options.no_split) e.flags |= GDN_EXEC_NO_SPLIT;
  e.backend = options.backend;
  e.isa = options.isa;
  e.threads_from = options.threads_from;
  e.parallel_for = options.parallel_for;
  e.parallel_for_context = options.parallel_for_context;
  if (options.workspace != nullptr) {
    e.workspace = options.workspace->data();
    e.workspace_size = options.workspace->size();
  }
  return e;
}

inline std::uint32_t bit(bool wanted, gdn_flag flag) {
  return wanted ? static_cast<std::uint32_t>(flag) : 0U;
}

/// Fields that most args structs have.
template <class C>
C begin(std::uint32_t flags = 0) {
  C c{};
  c.struct_size = sizeof c;
  c.flags = flags;
  return c;
}

template <class C, class Args>
C begin_stage(const Args &a, std::uint32_t flags = 0) {
  C c = begin<C>(flags | bit(a.padded, GDN_PADDED));
  c.chunk_size = a.chunk_size;
  if constexpr (requires { c.head_map; }) c.head_map = a.head_map;
  return c;
}

template <class C>
void call(gdn_status (*function)(const C *, const gdn_exec *), const C &c,
          const ExecOptions &options) {
  const gdn_exec e = exec_of(options);
  check(function(&c, &e));
}

/// What a workspace query says.
template <class C>
std::size_t workspace_size(gdn_status (*query)(const C *, const gdn_exec *, std::size_t *),
                           const C &c, const ExecOptions &options) {
  const gdn_exec e = exec_of(options);
  std::size_t bytes = 0;
  check(query(&c, &e, &bytes));
  return bytes;
}

/// Flags and null slot that both convolutions have.
template <class C, class Args>
C begin_conv(const Args &a) {
  C c = begin<C>(bit(a.silu, GDN_SILU) | bit(a.padded, GDN_PADDED) |
                 bit(a.null_slot.has_value(), GDN_HAS_NULL_SLOT));
  c.null_slot = a.null_slot.value_or(0);
  return c;
}

inline gdn_gated_delta_rule_args delta_rule(const GatedDeltaRuleArgs &a, Operands *t) {
  auto c = begin<gdn_gated_delta_rule_args>(
      bit(a.scale.has_value(), GDN_HAS_SCALE) | bit(a.use_qk_l2norm, GDN_USE_QK_L2NORM) |
      bit(a.use_gate, GDN_USE_GATE) | bit(a.use_beta_sigmoid, GDN_USE_BETA_SIGMOID) |
      bit(a.allow_neg_eigval, GDN_ALLOW_NEG_EIGVAL) | bit(a.state_v_first, GDN_STATE_V_FIRST) |
      bit(a.padded, GDN_PADDED) | bit(a.null_slot.has_value(), GDN_HAS_NULL_SLOT) |
      bit(a.round_states, GDN_ROUND_STATES));
  c.head_map = a.head_map;
  c.scale = a.scale.value_or(0.0);
  c.chunk_size = a.chunk_size;
  c.checkpoint_every = a.checkpoint_every;
  c.q = t->add(a.q);
  c.k = t->add(a.k);
  c.v = t->add(a.v);
  c.g = t->add(a.g);
  c.beta = t->add(a.beta);
  c.A_log = t->add(a.A_log);
  c.dt_bias = t->add(a.dt_bias);
  c.cu_seqlens = t->add(a.cu_seqlens);
  c.initial_state = t->add(a.initial_state);
  c.final_state = t->add(a.final_state);
  c.state_indices = t->add(a.state_indices);
  c.num_accepted_tokens = t->add(a.num_accepted_tokens);
  c.checkpoints = t->add(a.checkpoints);
  c.o = t->add(a.o);
  c.output_state_indices = t->add(a.output_state_indices);
  c.has_initial_state = t->add(a.has_initial_state);
  c.checkpoint_indices = t->add(a.checkpoint_indices);
  c.positions = t->add(a.positions);
  c.null_slot = a.null_slot.value_or(0);
  return c;
}

}  // namespace detail

/// Bytes of workspace that chunk_gated_delta_rule(args, options) needs.
inline std::size_t chunk_gated_delta_rule_workspace_size(const GatedDeltaRuleArgs &args,
                                                         const ExecOptions &options = {}) {
  detail::Operands t;
  return detail::workspace_size(gdn_chunk_gated_delta_rule_workspace_size,
                                detail::delta_rule(args, &t), options);
}

/// gdn_chunk_gated_delta_rule. Grows options.workspace to what it needs.
inline void chunk_gated_delta_rule(const GatedDeltaRuleArgs &args, ExecOptions options = {}) {
  Workspace own;
  if (options.workspace == nullptr && args.q.device().on_host()) options.workspace = &own;
  if (options.workspace != nullptr && args.q.device().on_host()) {
    options.workspace->reserve(chunk_gated_delta_rule_workspace_size(args, options));
  }
  detail::Operands t;
  detail::call(gdn_chunk_gated_delta_rule, detail::delta_rule(args, &t), options);
}

/// gdn_fused_recurrent_gated_delta_rule.
inline void fused_recurrent_gated_delta_rule(const GatedDeltaRuleArgs &args,
                                             const ExecOptions &options = {}) {
  detail::Operands t;
  detail::call(gdn_fused_recurrent_gated_delta_rule, detail::delta_rule(args, &t), options);
}

/// gdn_chunk_local_cumsum.
inline void chunk_local_cumsum(const ChunkLocalCumsumArgs &a, const ExecOptions &options = {}) {
  detail::Operands t;
  auto c = detail::begin_stage<gdn_chunk_local_cumsum_args>(a);
  c.g = t.add(a.g);
  c.cu_seqlens = t.add(a.cu_seqlens);
  c.g_cumsum = t.add(a.g_cumsum);
  detail::call(gdn_chunk_local_cumsum, c, options);
}

/// gdn_chunk_scaled_dot_kkt.
inline void chunk_scaled_dot_kkt(const ChunkScaledDotKktArgs &a, const ExecOptions &options = {}) {
  detail::Operands t;
  auto c = detail::begin_stage<gdn_chunk_scaled_dot_kkt_args>(a);
  c.k = t.add(a.k);
  c.beta = t.add(a.beta);
  c.g_cumsum = t.add(a.g_cumsum);
  c.cu_seqlens = t.add(a.cu_seqlens);
  c.A = t.add(a.A);
  detail::call(gdn_chunk_scaled_dot_kkt, c, options);
}

/// gdn_solve_tril.
inline void solve_tril(const SolveTrilArgs &a, const ExecOptions &options = {}) {
  detail::Operands t;
  auto c = detail::begin_stage<gdn_solve_tril_args>(a);
  c.A = t.add(a.A);
  c.cu_seqlens = t.add(a.cu_seqlens);
  c.T = t.add(a.T);
  detail::call(gdn_solve_tril, c, options);
}

/// gdn_recompute_w_u.
inline void recompute_w_u(const RecomputeWUArgs &a, const ExecOptions &options = {}) {
  detail::Operands t;
  auto c = detail::begin_stage<gdn_recompute_w_u_args>(a);
  c.k = t.add(a.k);
  c.v = t.add(a.v);
  c.beta = t.add(a.beta);
  c.g_cumsum = t.add(a.g_cumsum);
  c.T = t.add(a.T);
  c.cu_seqlens = t.add(a.cu_seqlens);
  c.w = t.add(a.w);
  c.u = t.add(a.u);
  detail::call(gdn_recompute_w_u, c, options);
}

/// gdn_chunk_fwd_h.
inline void chunk_fwd_h(const ChunkFwdHArgs &a, const ExecOptions &options = {}) {
  detail::Operands t;
  auto c =
      detail::begin_stage<gdn_chunk_fwd_h_args>(a, detail::bit(a.state_v_first, GDN_STATE_V_FIRST));
  c.k = t.add(a.k);
  c.w = t.add(a.w);
  c.u = t.add(a.u);
  c.g_cumsum = t.add(a.g_cumsum);
  c.cu_seqlens = t.add(a.cu_seqlens);
  c.initial_state = t.add(a.initial_state);
  c.h = t.add(a.h);
  c.v_new = t.add(a.v_new);
  c.final_state = t.add(a.final_state);
  detail::call(gdn_chunk_fwd_h, c, options);
}

/// gdn_chunk_fwd_o.
inline void chunk_fwd_o(const ChunkFwdOArgs &a, const ExecOptions &options = {}) {
  detail::Operands t;
  auto c = detail::begin_stage<gdn_chunk_fwd_o_args>(
      a, detail::bit(a.state_v_first, GDN_STATE_V_FIRST) |
             detail::bit(a.scale.has_value(), GDN_HAS_SCALE));
  c.scale = a.scale.value_or(0.0);
  c.q = t.add(a.q);
  c.k = t.add(a.k);
  c.v_new = t.add(a.v_new);
  c.h = t.add(a.h);
  c.g_cumsum = t.add(a.g_cumsum);
  c.cu_seqlens = t.add(a.cu_seqlens);
  c.o = t.add(a.o);
  detail::call(gdn_chunk_fwd_o, c, options);
}

/// gdn_causal_conv1d_fwd.
inline void causal_conv1d_fwd(const CausalConv1dFwdArgs &a, const ExecOptions &options = {}) {
  detail::Operands t;
  auto c = detail::begin_conv<gdn_causal_conv1d_fwd_args>(a);
  c.x = t.add(a.x);
  c.weight = t.add(a.weight);
  c.bias = t.add(a.bias);
  c.cu_seqlens = t.add(a.cu_seqlens);
  c.conv_state = t.add(a.conv_state);
  c.state_indices = t.add(a.state_indices);
  c.has_initial_state = t.add(a.has_initial_state);
  c.y = t.add(a.y);
  detail::call(gdn_causal_conv1d_fwd, c, options);
}

/// gdn_causal_conv1d_update.
inline void causal_conv1d_update(const CausalConv1dUpdateArgs &a, const ExecOptions &options = {}) {
  detail::Operands t;
  auto c = detail::begin_conv<gdn_causal_conv1d_update_args>(a);
  c.x = t.add(a.x);
  c.weight = t.add(a.weight);
  c.bias = t.add(a.bias);
  c.conv_state = t.add(a.conv_state);
  c.state_indices = t.add(a.state_indices);
  c.num_accepted_tokens = t.add(a.num_accepted_tokens);
  c.y = t.add(a.y);
  c.cu_seqlens = t.add(a.cu_seqlens);
  detail::call(gdn_causal_conv1d_update, c, options);
}

/// gdn_fused_gdn_gating.
inline void fused_gdn_gating(const FusedGdnGatingArgs &a, const ExecOptions &options = {}) {
  detail::Operands t;
  auto c = detail::begin<gdn_fused_gdn_gating_args>(
      detail::bit(a.allow_neg_eigval, GDN_ALLOW_NEG_EIGVAL));
  c.A_log = t.add(a.A_log);
  c.a = t.add(a.a);
  c.b = t.add(a.b);
  c.dt_bias = t.add(a.dt_bias);
  c.g = t.add(a.g);
  c.beta = t.add(a.beta);
  detail::call(gdn_fused_gdn_gating, c, options);
}

/// gdn_l2norm.
inline void l2norm(const L2NormArgs &a, const ExecOptions &options = {}) {
  detail::Operands t;
  auto c = detail::begin<gdn_l2norm_args>(detail::bit(a.eps.has_value(), GDN_HAS_EPS));
  c.eps = a.eps.value_or(0.0);
  c.x = t.add(a.x);
  c.y = t.add(a.y);
  detail::call(gdn_l2norm, c, options);
}

/// gdn_rms_norm_gated.
inline void rms_norm_gated(const RmsNormGatedArgs &a, const ExecOptions &options = {}) {
  detail::Operands t;
  auto c = detail::begin<gdn_rms_norm_gated_args>(detail::bit(a.eps.has_value(), GDN_HAS_EPS) |
                                                  detail::bit(a.sigmoid_gate, GDN_SIGMOID_GATE));
  c.eps = a.eps.value_or(0.0);
  c.x = t.add(a.x);
  c.z = t.add(a.z);
  c.weight = t.add(a.weight);
  c.y = t.add(a.y);
  detail::call(gdn_rms_norm_gated, c, options);
}

namespace detail {

inline gdn_fused_gdn_decode_args fused_decode(const FusedGdnDecodeArgs &a, Operands *operands) {
  Operands &t = *operands;
  auto c = begin<gdn_fused_gdn_decode_args>(
      bit(a.scale.has_value(), GDN_HAS_SCALE) | bit(a.eps.has_value(), GDN_HAS_EPS) |
      bit(a.sigmoid_gate, GDN_SIGMOID_GATE) | bit(a.allow_neg_eigval, GDN_ALLOW_NEG_EIGVAL) |
      bit(a.state_v_first, GDN_STATE_V_FIRST) | bit(a.padded, GDN_PADDED) |
      bit(a.round_states, GDN_ROUND_STATES) | bit(a.null_slot.has_value(), GDN_HAS_NULL_SLOT));
  c.head_map = a.head_map;
  c.scale = a.scale.value_or(0.0);
  c.eps = a.eps.value_or(0.0);
  c.mixed_qkv = t.add(a.mixed_qkv);
  c.conv_weight = t.add(a.conv_weight);
  c.conv_bias = t.add(a.conv_bias);
  c.conv_state = t.add(a.conv_state);
  c.a = t.add(a.a);
  c.b = t.add(a.b);
  c.A_log = t.add(a.A_log);
  c.dt_bias = t.add(a.dt_bias);
  c.z = t.add(a.z);
  c.norm_weight = t.add(a.norm_weight);
  c.state = t.add(a.state);
  c.state_indices = t.add(a.state_indices);
  c.output_state_indices = t.add(a.output_state_indices);
  c.conv_state_indices = t.add(a.conv_state_indices);
  c.num_accepted_tokens = t.add(a.num_accepted_tokens);
  c.cu_seqlens = t.add(a.cu_seqlens);
  c.o = t.add(a.o);
  c.null_slot = a.null_slot.value_or(0);
  return c;
}

}  // namespace detail

/// Bytes of workspace that fused_gdn_decode(args, options) needs.
inline std::size_t fused_gdn_decode_workspace_size(const FusedGdnDecodeArgs &args,
                                                   const ExecOptions &options = {}) {
  detail::Operands t;
  return detail::workspace_size(gdn_fused_gdn_decode_workspace_size, detail::fused_decode(args, &t),
                                options);
}

/// gdn_fused_gdn_decode. On a GPU a call that needs a workspace gets it in options.workspace.
inline void fused_gdn_decode(const FusedGdnDecodeArgs &args, const ExecOptions &options = {}) {
  detail::Operands t;
  detail::call(gdn_fused_gdn_decode, detail::fused_decode(args, &t), options);
}

/// gdn_select: what a call with these options would run on.
inline gdn_selection select(const ExecOptions &options = {}) {
  const gdn_exec e = detail::exec_of(options);
  gdn_selection out{};
  detail::check(gdn_select(&e, &out));
  return out;
}

}  // namespace gdn

#endif  // C++20

#endif  // GDN_GDN_HPP_
