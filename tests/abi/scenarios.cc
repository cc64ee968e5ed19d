// The valid calls that the bad-input tests break.

#include "abi/scenario.h"

namespace gdn::testing {
namespace {

constexpr int64_t kT = 130;
constexpr int64_t kN = 3;
constexpr int64_t kHK = 2;
constexpr int64_t kHV = 4;
constexpr int64_t kDK = 16;
constexpr int64_t kDV = 8;
constexpr int64_t kSlots = 8;
constexpr int64_t kChunks = 3;  // Of sequences of 0, 70 and 60 tokens.
constexpr unsigned kTensor = kRequired | kUnitLast;

const std::vector<int64_t> kCuSeqlens = {0, 0, 70, 130};

using Args = gdn_gated_delta_rule_args;

/// q, k, v, g, beta and o of `tokens` packed tokens.
void add_tokens(DeltaRuleScenario *s, int64_t tokens) {
  s->add(&Args::q, "q", Element::bf16, {1, tokens, kHK, kDK}, kTensor);
  s->add(&Args::k, "k", Element::bf16, {1, tokens, kHK, kDK}, kTensor);
  s->add(&Args::v, "v", Element::bf16, {1, tokens, kHV, kDV}, kTensor);
  s->add(&Args::g, "g", Element::f32, {1, tokens, kHV}, 0);
  s->add(&Args::beta, "beta", Element::bf16, {1, tokens, kHV}, 0);
  s->add(&Args::o, "o", Element::bf16, {1, tokens, kHV, kDV}, kTensor | kOutput);
}

void add_pool(DeltaRuleScenario *s, Element type, std::vector<int64_t> slots, Shape shape) {
  s->add(&Args::initial_state, "initial_state", type, {kSlots, kHV, kDK, kDV}, kTensor | kInOut);
  s->add(&Args::state_indices, "state_indices", Element::i32, std::move(shape), kIndex)
      .fill(std::move(slots));
}

std::unique_ptr<Scenario> recurrent_scenario() {
  auto s = std::make_unique<DeltaRuleScenario>("recurrent", "gdn_fused_recurrent_gated_delta_rule",
                                               gdn_fused_recurrent_gated_delta_rule);
  add_tokens(s.get(), kT);
  s->valid().flags = GDN_STATE_V_FIRST | GDN_USE_QK_L2NORM;
  s->add(&Args::cu_seqlens, "cu_seqlens", Element::i32, {kN + 1}, kIndex).fill(kCuSeqlens);
  s->add(&Args::initial_state, "initial_state", Element::f32, {kN, kHV, kDV, kDK}, kUnitLast);
  s->add(&Args::final_state, "final_state", Element::f32, {kN, kHV, kDV, kDK}, kUnitLast | kOutput);
  s->finish();
  return s;
}

template <class A>
std::unique_ptr<TypedScenario<A>> stage(const char *name, const char *operation,
                                        gdn_status (*function)(const A *, const gdn_exec *)) {
  auto s = std::make_unique<TypedScenario<A>>(name, operation, function);
  s->add(&A::cu_seqlens, "cu_seqlens", Element::i64, {kN + 1}, kIndex).fill(kCuSeqlens);
  return s;
}

std::unique_ptr<Scenario> cumsum_scenario() {
  using A = gdn_chunk_local_cumsum_args;
  auto s = stage<A>("cumsum", "gdn_chunk_local_cumsum", gdn_chunk_local_cumsum);
  s->add(&A::g, "g", Element::bf16, {1, kT, kHV}, kRequired);
  s->add(&A::g_cumsum, "g_cumsum", Element::f32, {1, kT, kHV}, kRequired | kOutput);
  s->finish();
  return s;
}

std::unique_ptr<Scenario> kkt_scenario() {
  using A = gdn_chunk_scaled_dot_kkt_args;
  auto s = stage<A>("kkt", "gdn_chunk_scaled_dot_kkt", gdn_chunk_scaled_dot_kkt);
  s->add(&A::k, "k", Element::f16, {1, kT, kHK, kDK}, kTensor);
  s->add(&A::beta, "beta", Element::f32, {1, kT, kHV}, kRequired);
  s->add(&A::g_cumsum, "g_cumsum", Element::f32, {1, kT, kHV}, 0);
  s->add(&A::A, "A", Element::f32, {1, kT, kHV, 64}, kTensor | kOutput);
  s->finish();
  return s;
}

std::unique_ptr<Scenario> solve_scenario() {
  using A = gdn_solve_tril_args;
  auto s = stage<A>("solve", "gdn_solve_tril", gdn_solve_tril);
  s->valid().chunk_size = 16;
  s->add(&A::A, "A", Element::f32, {1, kT, kHV, 16}, kTensor);
  s->add(&A::T, "T", Element::f32, {1, kT, kHV, 16}, kTensor | kOutput);
  s->finish();
  return s;
}

std::unique_ptr<Scenario> w_u_scenario() {
  using A = gdn_recompute_w_u_args;
  auto s = stage<A>("w_u", "gdn_recompute_w_u", gdn_recompute_w_u);
  s->add(&A::k, "k", Element::f32, {1, kT, kHK, kDK}, kTensor);
  s->add(&A::v, "v", Element::f32, {1, kT, kHV, kDV}, kTensor);
  s->add(&A::beta, "beta", Element::f32, {1, kT, kHV}, kRequired);
  s->add(&A::g_cumsum, "g_cumsum", Element::f32, {1, kT, kHV}, 0);
  s->add(&A::T, "T", Element::f32, {1, kT, kHV, 64}, kTensor);
  s->add(&A::w, "w", Element::f32, {1, kT, kHV, kDK}, kTensor | kOutput);
  s->add(&A::u, "u", Element::f32, {1, kT, kHV, kDV}, kTensor | kOutput);
  s->finish();
  return s;
}

std::unique_ptr<Scenario> fwd_h_scenario() {
  using A = gdn_chunk_fwd_h_args;
  auto s = stage<A>("fwd_h", "gdn_chunk_fwd_h", gdn_chunk_fwd_h);
  s->add(&A::k, "k", Element::bf16, {1, kT, kHK, kDK}, kTensor);
  s->add(&A::w, "w", Element::bf16, {1, kT, kHV, kDK}, kTensor);
  s->add(&A::u, "u", Element::bf16, {1, kT, kHV, kDV}, kTensor);
  s->add(&A::g_cumsum, "g_cumsum", Element::f32, {1, kT, kHV}, 0);
  s->add(&A::initial_state, "initial_state", Element::bf16, {kN, kHV, kDK, kDV}, kUnitLast);
  s->add(&A::h, "h", Element::f32, {kChunks, kHV, kDK, kDV}, kTensor | kOutput);
  s->add(&A::v_new, "v_new", Element::bf16, {1, kT, kHV, kDV}, kTensor | kOutput);
  s->add(&A::final_state, "final_state", Element::f32, {kN, kHV, kDK, kDV}, kUnitLast | kOutput);
  s->finish();
  return s;
}

std::unique_ptr<Scenario> fwd_o_scenario() {
  using A = gdn_chunk_fwd_o_args;
  auto s = stage<A>("fwd_o", "gdn_chunk_fwd_o", gdn_chunk_fwd_o);
  s->add(&A::q, "q", Element::bf16, {1, kT, kHK, kDK}, kTensor);
  s->add(&A::k, "k", Element::bf16, {1, kT, kHK, kDK}, kTensor);
  s->add(&A::v_new, "v_new", Element::bf16, {1, kT, kHV, kDV}, kTensor);
  s->add(&A::h, "h", Element::bf16, {kChunks, kHV, kDK, kDV}, kTensor);
  s->add(&A::g_cumsum, "g_cumsum", Element::f32, {1, kT, kHV}, 0);
  s->add(&A::o, "o", Element::bf16, {1, kT, kHV, kDV}, kTensor | kOutput);
  s->finish();
  return s;
}

std::unique_ptr<Scenario> gating_scenario() {
  using A = gdn_fused_gdn_gating_args;
  auto s =
      std::make_unique<TypedScenario<A>>("gating", "gdn_fused_gdn_gating", gdn_fused_gdn_gating);
  s->add(&A::A_log, "A_log", Element::f32, {kHV}, kRequired);
  s->add(&A::a, "a", Element::bf16, {2, 5, kHV}, kRequired);
  s->add(&A::b, "b", Element::bf16, {2, 5, kHV}, kRequired);
  s->add(&A::dt_bias, "dt_bias", Element::f16, {kHV}, 0);
  s->add(&A::g, "g", Element::f32, {2, 5, kHV}, kRequired | kOutput);
  s->add(&A::beta, "beta", Element::bf16, {2, 5, kHV}, kRequired | kOutput);
  s->finish();
  return s;
}

std::unique_ptr<Scenario> l2norm_scenario() {
  using A = gdn_l2norm_args;
  auto s = std::make_unique<TypedScenario<A>>("l2norm", "gdn_l2norm", gdn_l2norm);
  s->add(&A::x, "x", Element::f16, {3, 4, 24}, kTensor);
  s->add(&A::y, "y", Element::f16, {3, 4, 24}, kTensor | kOutput);
  s->finish();
  return s;
}

std::unique_ptr<Scenario> rms_norm_scenario() {
  using A = gdn_rms_norm_gated_args;
  auto s = std::make_unique<TypedScenario<A>>("rms_norm", "gdn_rms_norm_gated", gdn_rms_norm_gated);
  s->add(&A::x, "x", Element::bf16, {3, 4, 24}, kTensor);
  s->add(&A::z, "z", Element::bf16, {3, 4, 24}, kUnitLast);
  s->add(&A::weight, "weight", Element::f32, {24}, 0);
  s->add(&A::y, "y", Element::bf16, {3, 4, 24}, kTensor | kOutput);
  s->finish();
  return s;
}

}  // namespace

std::unique_ptr<DeltaRuleScenario> chunk_scenario() {
  auto s = std::make_unique<DeltaRuleScenario>("chunk", "gdn_chunk_gated_delta_rule",
                                               gdn_chunk_gated_delta_rule);
  add_tokens(s.get(), kT);
  s->valid().checkpoint_every = 64;
  s->add(&Args::cu_seqlens, "cu_seqlens", Element::i32, {kN + 1}, kIndex).fill(kCuSeqlens);
  s->add(&Args::initial_state, "initial_state", Element::bf16, {kN, kHV, kDK, kDV}, kUnitLast);
  s->add(&Args::final_state, "final_state", Element::f32, {kN, kHV, kDK, kDV}, kUnitLast | kOutput);
  s->add(&Args::checkpoints, "checkpoints", Element::f32, {1, kHV, kDK, kDV}, kUnitLast | kOutput);
  s->finish(gdn_chunk_gated_delta_rule_workspace_size);
  return s;
}

std::unique_ptr<DeltaRuleScenario> chunk_pool_scenario() {
  auto s = std::make_unique<DeltaRuleScenario>("chunk_pool", "gdn_chunk_gated_delta_rule",
                                               gdn_chunk_gated_delta_rule);
  add_tokens(s.get(), kT);
  s->valid().flags = GDN_USE_GATE | GDN_USE_BETA_SIGMOID | GDN_ALLOW_NEG_EIGVAL;
  s->add(&Args::A_log, "A_log", Element::f32, {kHV}, kRequired);
  s->add(&Args::dt_bias, "dt_bias", Element::bf16, {kHV}, 0);
  s->add(&Args::cu_seqlens, "cu_seqlens", Element::i64, {kN + 1}, kIndex).fill(kCuSeqlens);
  add_pool(s.get(), Element::bf16, {5, -1, 2}, {kN});
  s->finish(gdn_chunk_gated_delta_rule_workspace_size);
  return s;
}

std::unique_ptr<DeltaRuleScenario> recurrent_pool_scenario() {
  auto s =
      std::make_unique<DeltaRuleScenario>("recurrent_pool", "gdn_fused_recurrent_gated_delta_rule",
                                          gdn_fused_recurrent_gated_delta_rule);
  add_tokens(s.get(), kN);
  s->add(&Args::cu_seqlens, "cu_seqlens", Element::i32, {kN + 1}, kIndex).fill({0, 1, 2, 3});
  add_pool(s.get(), Element::f32, {7, 0, -3}, {kN});
  s->finish();
  return s;
}

std::unique_ptr<DeltaRuleScenario> verify_scenario() {
  auto s = std::make_unique<DeltaRuleScenario>("verify", "gdn_fused_recurrent_gated_delta_rule",
                                               gdn_fused_recurrent_gated_delta_rule);
  add_tokens(s.get(), 6);
  s->add(&Args::cu_seqlens, "cu_seqlens", Element::i32, {kN + 1}, kIndex).fill({0, 2, 5, 6});
  // Sequence 0 starts from slot 4, sequence 1 from slot 6, sequence 2 is skipped.
  add_pool(s.get(), Element::f32, {1, -1, 4, 0, 6, 2, 99, -1, 99}, {kN, 3});
  s->add(&Args::num_accepted_tokens, "num_accepted_tokens", Element::i64, {kN}, kIndex)
      .fill({3, 2, 2});
  s->finish();
  return s;
}

std::unique_ptr<DeltaRuleScenario> chunk_cache_scenario() {
  auto s = std::make_unique<DeltaRuleScenario>("chunk_cache", "gdn_chunk_gated_delta_rule",
                                               gdn_chunk_gated_delta_rule);
  add_tokens(s.get(), kT);
  s->valid().flags = GDN_HAS_NULL_SLOT | GDN_PADDED;
  s->valid().null_slot = 6;
  s->valid().checkpoint_every = 64;
  s->add(&Args::cu_seqlens, "cu_seqlens", Element::i32, {kN + 1}, kIndex | kRequired)
      .fill({0, 0, 70, 120});
  // Sequence 0 is skipped, sequence 1 passes two checkpoints, of which one is not wanted.
  add_pool(s.get(), Element::f16, {6, 5, 2}, {kN});
  s->add(&Args::output_state_indices, "output_state_indices", Element::i64, {kN}, kIndex)
      .fill({99, 4, 2});
  s->add(&Args::has_initial_state, "has_initial_state", Element::boolean, {kN}, kIndex)
      .fill({1, 0, 1});
  s->add(&Args::checkpoint_indices, "checkpoint_indices", Element::i32, {kN, 2}, kIndex)
      .fill({99, 99, 0, -1, 99, 99});
  s->add(&Args::positions, "positions", Element::i32, {kN}, kIndex).fill({-1, 60, 64});
  s->finish(gdn_chunk_gated_delta_rule_workspace_size);
  return s;
}

std::unique_ptr<TypedScenario<gdn_causal_conv1d_fwd_args>> conv_fwd_scenario() {
  using A = gdn_causal_conv1d_fwd_args;
  auto s = std::make_unique<TypedScenario<A>>("conv_fwd", "gdn_causal_conv1d_fwd",
                                              gdn_causal_conv1d_fwd);
  s->valid().flags = GDN_SILU;
  s->add(&A::x, "x", Element::bf16, {1, 12, kT}, kRequired);
  s->add(&A::weight, "weight", Element::f32, {12, 4}, kRequired);
  s->add(&A::bias, "bias", Element::bf16, {12}, 0);
  s->add(&A::cu_seqlens, "cu_seqlens", Element::i32, {kN + 1}, kIndex).fill(kCuSeqlens);
  s->add(&A::conv_state, "conv_state", Element::bf16, {kSlots, 12, 4}, kInOut);
  s->add(&A::state_indices, "state_indices", Element::i64, {kN}, kIndex).fill({3, 6, -1});
  s->add(&A::has_initial_state, "has_initial_state", Element::boolean, {kN}, kIndex)
      .fill({1, 0, 1});
  s->add(&A::y, "y", Element::bf16, {1, 12, kT}, kRequired | kOutput);
  s->finish();
  return s;
}

std::unique_ptr<TypedScenario<gdn_causal_conv1d_update_args>> conv_update_scenario() {
  using A = gdn_causal_conv1d_update_args;
  auto s = std::make_unique<TypedScenario<A>>("conv_update", "gdn_causal_conv1d_update",
                                              gdn_causal_conv1d_update);
  s->add(&A::x, "x", Element::f32, {kN, 12, 3}, kRequired);
  s->add(&A::weight, "weight", Element::f32, {12, 3}, kRequired);
  s->add(&A::bias, "bias", Element::f32, {12}, 0);
  s->add(&A::conv_state, "conv_state", Element::f32, {kSlots, 12, 4}, kRequired | kInOut);
  s->add(&A::state_indices, "state_indices", Element::i32, {kN}, kIndex).fill({3, -1, 0});
  s->add(&A::num_accepted_tokens, "num_accepted_tokens", Element::i32, {kN}, kIndex)
      .fill({3, 0, 1});
  s->add(&A::y, "y", Element::f32, {kN, 12, 3}, kRequired | kOutput);
  s->finish();
  return s;
}

std::unique_ptr<TypedScenario<gdn_causal_conv1d_update_args>> conv_verify_scenario() {
  using A = gdn_causal_conv1d_update_args;
  auto s = std::make_unique<TypedScenario<A>>("conv_verify", "gdn_causal_conv1d_update",
                                              gdn_causal_conv1d_update);
  s->valid().flags = GDN_SILU | GDN_HAS_NULL_SLOT | GDN_PADDED;
  s->valid().null_slot = 99;
  s->add(&A::x, "x", Element::f16, {1, 12, 8}, kRequired);
  s->add(&A::weight, "weight", Element::f16, {12, 4}, kRequired);
  s->add(&A::conv_state, "conv_state", Element::bf16, {kSlots, 12, 5}, kRequired | kInOut);
  s->add(&A::state_indices, "state_indices", Element::i32, {kN}, kIndex).fill({3, 0, 99});
  s->add(&A::num_accepted_tokens, "num_accepted_tokens", Element::i64, {kN}, kIndex)
      .fill({2, 0, 0});
  s->add(&A::y, "y", Element::f16, {1, 12, 8}, kRequired | kOutput);
  s->add(&A::cu_seqlens, "cu_seqlens", Element::i64, {kN + 1}, kIndex | kRequired)
      .fill({0, 3, 3, 5});
  s->finish();
  return s;
}

namespace {

/// Operands of `tokens` tokens in each of `batch` rows.
void add_decode(DecodeScenario *s, int64_t batch, int64_t tokens, int64_t entries) {
  using A = gdn_fused_gdn_decode_args;
  const int64_t channels = 2 * kHK * kDK + kHV * kDV;
  s->add(&A::mixed_qkv, "mixed_qkv", Element::bf16, {batch, tokens, channels}, kTensor);
  s->add(&A::conv_weight, "conv_weight", Element::bf16, {channels, 4}, kRequired);
  s->add(&A::conv_bias, "conv_bias", Element::f32, {channels}, 0);
  s->add(&A::conv_state, "conv_state", Element::bf16, {kSlots, channels, entries},
         kRequired | kInOut);
  s->add(&A::a, "a", Element::bf16, {batch, tokens, kHV}, kRequired);
  s->add(&A::b, "b", Element::f16, {batch, tokens, kHV}, kRequired);
  s->add(&A::A_log, "A_log", Element::f32, {kHV}, kRequired);
  s->add(&A::dt_bias, "dt_bias", Element::bf16, {kHV}, 0);
  s->add(&A::z, "z", Element::bf16, {batch, tokens, kHV, kDV}, kTensor);
  s->add(&A::norm_weight, "norm_weight", Element::f32, {kDV}, kRequired);
  s->add(&A::o, "o", Element::bf16, {batch, tokens, kHV, kDV}, kTensor | kOutput);
}

}  // namespace

std::unique_ptr<DecodeScenario> fused_decode_scenario() {
  using A = gdn_fused_gdn_decode_args;
  auto s = std::make_unique<DecodeScenario>("fused_decode", "gdn_fused_gdn_decode",
                                            gdn_fused_gdn_decode);
  add_decode(s.get(), kN, 1, 4);
  s->add(&A::state, "state", Element::f32, {kSlots, kHV, kDK, kDV}, kTensor | kInOut);
  s->add(&A::state_indices, "state_indices", Element::i32, {kN}, kIndex).fill({3, -1, 0});
  s->finish(gdn_fused_gdn_decode_workspace_size);
  return s;
}

std::unique_ptr<DecodeScenario> fused_verify_scenario() {
  using A = gdn_fused_gdn_decode_args;
  auto s = std::make_unique<DecodeScenario>("fused_verify", "gdn_fused_gdn_decode",
                                            gdn_fused_gdn_decode);
  s->valid().flags = GDN_HAS_NULL_SLOT | GDN_PADDED | GDN_STATE_V_FIRST | GDN_ROUND_STATES;
  s->valid().null_slot = 99;
  add_decode(s.get(), 1, 8, 6);
  s->add(&A::state, "state", Element::bf16, {kSlots, kHV, kDV, kDK}, kTensor | kInOut);
  // Sequence 0 starts from slot 4, sequence 1 has no tokens, sequence 2 is skipped.
  s->add(&A::state_indices, "state_indices", Element::i32, {kN, 4}, kIndex)
      .fill({1, 2, 4, 88, 0, 88, 88, 88, 99, 88, 88, 88});
  s->add(&A::conv_state_indices, "conv_state_indices", Element::i64, {kN}, kIndex).fill({3, 0, 7});
  s->add(&A::num_accepted_tokens, "num_accepted_tokens", Element::i32, {kN}, kIndex)
      .fill({3, 1, 77});
  s->add(&A::cu_seqlens, "cu_seqlens", Element::i64, {kN + 1}, kIndex | kRequired)
      .fill({0, 3, 3, 5});
  s->finish(gdn_fused_gdn_decode_workspace_size);
  return s;
}

const std::vector<ScenarioMaker> &scenario_makers() {
  static const std::vector<ScenarioMaker> makers = {
      {"chunk", chunk_scenario},
      {"chunk_pool", chunk_pool_scenario},
      {"chunk_cache", chunk_cache_scenario},
      {"recurrent", recurrent_scenario},
      {"recurrent_pool", recurrent_pool_scenario},
      {"verify", verify_scenario},
      {"cumsum", cumsum_scenario},
      {"kkt", kkt_scenario},
      {"solve", solve_scenario},
      {"w_u", w_u_scenario},
      {"fwd_h", fwd_h_scenario},
      {"fwd_o", fwd_o_scenario},
      {"conv_fwd", conv_fwd_scenario},
      {"conv_update", conv_update_scenario},
      {"conv_verify", conv_verify_scenario},
      {"gating", gating_scenario},
      {"l2norm", l2norm_scenario},
      {"rms_norm", rms_norm_scenario},
      {"fused_decode", fused_decode_scenario},
      {"fused_verify", fused_verify_scenario},
  };
  return makers;
}

}  // namespace gdn::testing
