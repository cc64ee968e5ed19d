#include "cpu/backend.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/float_environment.h"
#include "cpu/isa.h"
#include "cpu/kernel_table.h"
#include "cpu/openmp.h"
#include "cpu/parallel.h"

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

/// Items of chunks, the stages' and those that need scratch, take tens of microseconds; those of
/// the others few, and decode calls them often.
template <class Op>
constexpr Wake kWake =
    std::is_base_of_v<StageShape, typename Op::Problem> || Op::kWorkspace ? Wake::at_once
                                                                          : Wake::if_worth_it;

template <class Op>
const Kernel<Op> &kernel_of(const Exec &exec) {
  return *kernels(chosen_isa(exec)).template at<Op>().kernel;
}

template <class Op>
size_t scratch_bytes(const Kernel<Op> &kernel, const typename Op::Problem &p, int32_t threads) {
  return kernel.scratch != nullptr ? kernel.scratch(p, threads) : 0;
}

/// Bytes that a problem needs before the threads' scratch: the table of checkpoint offsets.
template <class Problem>
size_t table_bytes(const Problem &p) {
  if constexpr (requires { p.checkpoints; }) {
    if (p.checkpoints.present()) {
      return align_up(static_cast<size_t>(p.sequences.count) * sizeof(int64_t));
    }
  }
  return 0;
}

/// Writes where the checkpoints of each sequence begin to `table`, and points the problem there.
void add_checkpoint_offsets(DeltaRule *p, void *table) {
  auto *offsets = static_cast<int64_t *>(table);
  int64_t next = 0;
  for (int64_t n = 0; n < p->sequences.count; ++n) {
    offsets[n] = next;
    next += p->checkpoint_count(n, p->sequences.span(n).length);
  }
  p->checkpoint_offsets = offsets;
}

/// Runs the kernel over all of its items. The workspace holds the problem's table, then a slice of
/// scratch for each thread.
template <class Op>
void drive(const typename Op::Problem &p, const Exec &exec) {
  const Kernel<Op> &kernel = kernel_of<Op>(exec);
  const Team team = team_of(exec);
  const int32_t threads = Op::kWorkspace ? most_threads(exec) : team.threads;
  auto *const scratch = static_cast<std::byte *>(exec.workspace) + table_bytes(p);
  const size_t slice = scratch_bytes(kernel, p, threads);
  auto work = [&](int32_t thread, int64_t first, int64_t last) {
    const FloatEnvironment environment(Denormals::zero);
    kernel.run(p, threads, first, last, scratch + static_cast<size_t>(thread) * slice);
  };
  parallel_for(exec, team, kernel.items(p, threads), kWake<Op>, work);
}

template <class Op>
Status run(const typename Op::Problem &p, const Exec &exec) {
  if constexpr (requires { p.checkpoints; }) {
    if (p.checkpoints.present()) {
      DeltaRule problem = p;
      add_checkpoint_offsets(&problem, exec.workspace);
      drive<Op>(problem, exec);
      return {};
    }
  }
  drive<Op>(p, exec);
  return {};
}

template <class Op>
size_t workspace(const typename Op::Problem &p, const Exec &exec) {
  const Kernel<Op> &kernel = kernel_of<Op>(exec);
  if (kernel.scratch == nullptr) return table_bytes(p);
  const int32_t threads = most_threads(exec);
  return table_bytes(p) + static_cast<size_t>(threads) * scratch_bytes(kernel, p, threads);
}

constexpr HeadDims kHeadDims = {256, 1024, 1};

class CpuBackend final : public Backend {
 public:
  const char *name() const override { return "cpu"; }
  Device device() const override { return {kDLCPU, 0}; }
  bool serves(const Device &operands) const override { return operands.host(); }
  std::span<const Isa> isas() const override { return cpu::isas(); }
  bool has_threads(ThreadsFrom from) const override {
    return from != ThreadsFrom::openmp || openmp_threads() > 0;
  }

  Selection select(const Exec &exec) const override {
    const IsaChoice choice = choose_isa();
    const Team team = team_of(exec);
    return {chosen_isa(exec), choice.reason, team.threads, team.from};
  }

  Status copy_to_host(void *host, const void *device, size_t bytes, const Exec &) const override {
    if (bytes > 0) std::memcpy(host, device, bytes);
    return {};
  }

  const OperationTable<Service> &operations() const override {
    static const OperationTable<Service> table = Operations::table<Service>([]<class Op>(Op) {
      return Service<Op>{run<Op>, workspace<Op>, kHeadDims};
    });
    return table;
  }
};

}  // namespace

const Backend &backend() {
  static const CpuBackend instance;
  return instance;
}

}  // namespace gdn::cpu
