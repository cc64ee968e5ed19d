#include "cpu/backend.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/float_environment.h"
#include "cpu/isa.h"
#include "cpu/kernel_table.h"
#include "cpu/pool.h"
#include "cpu/thread_count.h"

namespace gdn::cpu {
namespace {

constexpr size_t kAlignment = 256;

constexpr size_t align_up(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

int32_t chosen_isa(const Exec &exec) {
  static const IsaChoice choice = choose_isa();
  return exec.isa >= 0 ? exec.isa : choice.isa;
}

int32_t thread_count(const Exec &exec) {
  return std::min(exec.threads > 0 ? exec.threads : usable_cpus(), kMaxThreads);
}

/// Runs one kernel over all of its items; `scratch` holds a slice for each thread.
template <class P>
void drive(const Kernel<P> &kernel, const P &p, int32_t threads, Wake wake, void *scratch) {
  const size_t slice = kernel.scratch(p, threads);
  auto work = [&](int32_t thread, int64_t first, int64_t last) {
    const FloatEnvironment environment(Denormals::zero);
    kernel.run(p, threads, first, last,
               static_cast<std::byte *>(scratch) + static_cast<size_t>(thread) * slice);
  };
  parallel_for(threads, kernel.items(p, threads), wake, work);
}

/// Items of chunks take tens of microseconds; those of the others few, and decode calls them often.
template <class P>
constexpr Wake wake_for(const P &) {
  return std::is_base_of_v<StageShape, P> ? Wake::at_once : Wake::if_worth_it;
}

/// A kernel that needs no workspace.
template <class P>
Status launch(const Kernel<P> *KernelTable::*kernel, const P &p, const Exec &exec) {
  drive(*(kernels(chosen_isa(exec)).*kernel), p, thread_count(exec), wake_for(p), nullptr);
  return {};
}

/// Bytes of the table of checkpoint offsets, which stands before the scratch slices.
size_t checkpoint_table(const DeltaRule &p) {
  const bool wanted = p.checkpoint_every > 0;
  return wanted ? align_up(static_cast<size_t>(p.sequences.count) * sizeof(int64_t)) : 0;
}

class CpuBackend final : public Backend {
 public:
  const char *name() const override { return "cpu"; }
  DeviceKind device() const override { return DeviceKind::cpu; }
  std::span<const Isa> isas() const override { return cpu::isas(); }

  Selection select(const Exec &exec) const override {
    Selection s{exec.isa, "The instruction set was asked for by name.", thread_count(exec)};
    if (exec.isa < 0) {
      const IsaChoice choice = choose_isa();
      s.isa = choice.isa;
      s.reason = choice.reason;
    }
    return s;
  }

  Status copy_to_host(void *host, const void *device, size_t bytes, const Exec &) const override {
    if (bytes > 0) std::memcpy(host, device, bytes);
    return {};
  }

  size_t chunk_gated_delta_rule_workspace(const DeltaRule &p, const Exec &exec) const override {
    const int32_t threads = thread_count(exec);
    const Kernel<DeltaRule> &kernel = *kernels(chosen_isa(exec)).chunk_gated_delta_rule;
    return checkpoint_table(p) + static_cast<size_t>(threads) * kernel.scratch(p, threads);
  }

  Status chunk_gated_delta_rule(const DeltaRule &p, const Exec &exec) const override {
    const int32_t threads = thread_count(exec);
    DeltaRule problem = p;
    auto *workspace = static_cast<std::byte *>(exec.workspace);
    if (problem.checkpoint_every > 0) {
      auto *offsets = reinterpret_cast<int64_t *>(workspace);
      int64_t next = 0;
      for (int64_t n = 0; n < p.sequences.count; ++n) {
        offsets[n] = next;
        next += p.sequences.span(n).length / p.checkpoint_every;
      }
      problem.checkpoint_offsets = offsets;
    }
    drive(*kernels(chosen_isa(exec)).chunk_gated_delta_rule, problem, threads, Wake::at_once,
          workspace + checkpoint_table(p));
    return {};
  }

  Status fused_recurrent_gated_delta_rule(const DeltaRule &p, const Exec &exec) const override {
    return launch(&KernelTable::fused_recurrent_gated_delta_rule, p, exec);
  }

  Status chunk_local_cumsum(const ChunkLocalCumsum &p, const Exec &exec) const override {
    return launch(&KernelTable::chunk_local_cumsum, p, exec);
  }
  Status chunk_scaled_dot_kkt(const ChunkScaledDotKkt &p, const Exec &exec) const override {
    return launch(&KernelTable::chunk_scaled_dot_kkt, p, exec);
  }
  Status solve_tril(const SolveTril &p, const Exec &exec) const override {
    return launch(&KernelTable::solve_tril, p, exec);
  }
  Status recompute_w_u(const RecomputeWU &p, const Exec &exec) const override {
    return launch(&KernelTable::recompute_w_u, p, exec);
  }
  Status chunk_fwd_h(const ChunkFwdH &p, const Exec &exec) const override {
    return launch(&KernelTable::chunk_fwd_h, p, exec);
  }
  Status chunk_fwd_o(const ChunkFwdO &p, const Exec &exec) const override {
    return launch(&KernelTable::chunk_fwd_o, p, exec);
  }

  Status causal_conv1d_fwd(const CausalConv1dFwd &p, const Exec &exec) const override {
    return launch(&KernelTable::causal_conv1d_fwd, p, exec);
  }
  Status causal_conv1d_update(const CausalConv1dUpdate &p, const Exec &exec) const override {
    return launch(&KernelTable::causal_conv1d_update, p, exec);
  }
  Status fused_gdn_gating(const FusedGdnGating &p, const Exec &exec) const override {
    return launch(&KernelTable::fused_gdn_gating, p, exec);
  }
  Status l2norm(const L2Norm &p, const Exec &exec) const override {
    return launch(&KernelTable::l2norm, p, exec);
  }
  Status rms_norm_gated(const RmsNormGated &p, const Exec &exec) const override {
    return launch(&KernelTable::rms_norm_gated, p, exec);
  }
};

}  // namespace

const Backend &backend() {
  static const CpuBackend instance;
  return instance;
}

}  // namespace gdn::cpu
