#include "cases/layer_call.h"

namespace gdn::testing {
namespace {

template <class Args>
Args zeroed(uint32_t flags) {
  Args args = {};
  args.struct_size = sizeof(args);
  args.flags = flags;
  return args;
}

std::string outcome(gdn_status found, gdn_status *status) {
  if (status != nullptr) *status = found;
  return describe(found);
}

}  // namespace

std::vector<Operand *> ConvCall::inputs() {
  return {
      &x, &weight, &bias, &cu_seqlens, &state_indices, &has_initial_state, &num_accepted_tokens};
}

std::string ConvCall::run(const Target &target, int threads, gdn_status *status) const {
  const gdn_exec exec = exec_for(target, threads);
  const auto fill = [&](auto a) {  // What both have.
    a.x = tensor_of(x);
    a.weight = tensor_of(weight);
    a.bias = tensor_of(bias);
    a.conv_state = tensor_of(conv_state);
    a.state_indices = tensor_of(state_indices);
    a.cu_seqlens = tensor_of(cu_seqlens);
    a.y = tensor_of(y);
    a.null_slot = null_slot;
    return a;
  };
  if (update) {
    auto a = fill(zeroed<gdn_causal_conv1d_update_args>(flags));
    a.num_accepted_tokens = tensor_of(num_accepted_tokens);
    return outcome(gdn_causal_conv1d_update(&a, &exec), status);
  }
  auto a = fill(zeroed<gdn_causal_conv1d_fwd_args>(flags));
  a.has_initial_state = tensor_of(has_initial_state);
  return outcome(gdn_causal_conv1d_fwd(&a, &exec), status);
}

std::string GatingCall::run(const Target &target, int threads, gdn_status *status) const {
  const gdn_exec exec = exec_for(target, threads);
  auto args = zeroed<gdn_fused_gdn_gating_args>(flags);
  args.A_log = tensor_of(A_log);
  args.a = tensor_of(a);
  args.b = tensor_of(b);
  args.dt_bias = tensor_of(dt_bias);
  args.g = tensor_of(g);
  args.beta = tensor_of(beta);
  return outcome(gdn_fused_gdn_gating(&args, &exec), status);
}

std::string NormCall::run(const Target &target, int threads, gdn_status *status) const {
  const gdn_exec exec = exec_for(target, threads);
  if (rms) {
    auto a = zeroed<gdn_rms_norm_gated_args>(flags);
    a.eps = eps;
    a.x = tensor_of(x);
    a.z = tensor_of(z);
    a.weight = tensor_of(weight);
    a.y = tensor_of(y);
    return outcome(gdn_rms_norm_gated(&a, &exec), status);
  }
  auto a = zeroed<gdn_l2norm_args>(flags);
  a.eps = eps;
  a.x = tensor_of(x);
  a.y = tensor_of(y);
  return outcome(gdn_l2norm(&a, &exec), status);
}

}  // namespace gdn::testing
