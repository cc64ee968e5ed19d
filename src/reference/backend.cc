#include "reference/backend.h"

#include <cstring>

#include "reference/operations.h"
#include "reference/parallel.h"

namespace gdn::reference {
namespace {

constexpr Isa kIsas[] = {{"f64", true}};

class ReferenceBackend final : public Backend {
 public:
  const char *name() const override { return "reference"; }
  DeviceKind device() const override { return DeviceKind::cpu; }
  std::span<const Isa> isas() const override { return kIsas; }
  HeadDims head_dims() const override { return {1, INT64_MAX}; }

  Selection select(const Exec &exec) const override {
    return {0, "The reference has one code path, in float64.", thread_count(exec.threads)};
  }

  Status copy_to_host(void *host, const void *device, size_t bytes, const Exec &) const override {
    if (bytes > 0) std::memcpy(host, device, bytes);
    return {};
  }

  size_t chunk_gated_delta_rule_workspace(const DeltaRule &, const Exec &) const override {
    return 0;
  }

  Status chunk_gated_delta_rule(const DeltaRule &p, const Exec &exec) const override {
    gated_delta_rule(p, exec.threads);
    return {};
  }
  Status fused_recurrent_gated_delta_rule(const DeltaRule &p, const Exec &exec) const override {
    gated_delta_rule(p, exec.threads);
    return {};
  }

  Status chunk_local_cumsum(const ChunkLocalCumsum &p, const Exec &) const override {
    reference::chunk_local_cumsum(p);
    return {};
  }
  Status chunk_scaled_dot_kkt(const ChunkScaledDotKkt &p, const Exec &exec) const override {
    reference::chunk_scaled_dot_kkt(p, exec.threads);
    return {};
  }
  Status solve_tril(const SolveTril &p, const Exec &exec) const override {
    reference::solve_tril(p, exec.threads);
    return {};
  }
  Status recompute_w_u(const RecomputeWU &p, const Exec &exec) const override {
    reference::recompute_w_u(p, exec.threads);
    return {};
  }
  Status chunk_fwd_h(const ChunkFwdH &p, const Exec &exec) const override {
    reference::chunk_fwd_h(p, exec.threads);
    return {};
  }
  Status chunk_fwd_o(const ChunkFwdO &p, const Exec &exec) const override {
    reference::chunk_fwd_o(p, exec.threads);
    return {};
  }

  Status causal_conv1d_fwd(const CausalConv1dFwd &p, const Exec &) const override {
    reference::causal_conv1d_fwd(p);
    return {};
  }
  Status causal_conv1d_update(const CausalConv1dUpdate &p, const Exec &) const override {
    reference::causal_conv1d_update(p);
    return {};
  }
  Status fused_gdn_gating(const FusedGdnGating &p, const Exec &) const override {
    reference::fused_gdn_gating(p);
    return {};
  }
  Status l2norm(const L2Norm &p, const Exec &) const override {
    reference::l2norm(p);
    return {};
  }
  Status rms_norm_gated(const RmsNormGated &p, const Exec &) const override {
    reference::rms_norm_gated(p);
    return {};
  }
};

}  // namespace

const Backend &backend() {
  static const ReferenceBackend instance;
  return instance;
}

}  // namespace gdn::reference
