#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_LAUNCH_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_LAUNCH_CUH_

#include <algorithm>

#include "cuda/launch.h"
#include "cuda/sm90/chunk_gated_delta_rule/kernel.cuh"
#include "cuda/sm90/device/tensor_maps.h"

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

/// launch() for a kernel that may start before the one before it on the stream has ended, and waits
/// for that one itself (wait_for_previous) before it touches what that one reads or writes.
template <auto Kernel, class... Args>
Status launch_beside_previous(const Launch &l, int64_t blocks, int threads, size_t shared_memory,
                              const Args &...args) {
  return launch_as<Kernel>({.beside = true}, "chunk_gated_delta_rule", l, blocks, threads,
                           shared_memory, args...);
}

/// What a kernel of form F is launched with.
struct Prepared {
  Plan plan = {};
  Maps maps = {};
  int grid = 0;
};

template <class F>
Prepared prepare(const DeltaRule &p, const Launch &l, const Segments &segments) {
  const int64_t each = p.heads.value_heads * (2 / F::kGroups);
  const int64_t parts = F::kSegments ? segments.count : p.sequences.count;
  const int64_t items = parts * each;
  Prepared made;
  made.grid = static_cast<int>(std::min<int64_t>(items, l.device->multiprocessors));
  Plan &plan = made.plan;
  Maps &maps = made.maps;
  plan.items = static_cast<int>(items);
  plan.sorted = !F::kSegments && p.sequences.packed() && p.sequences.count <= F::kMaxSorted &&
                items > made.grid;
  plan.segments = segments;
  const bool q = make_row_map(&maps.q, p.q, 1), k = make_row_map(&maps.k, p.k, 1);
  plan.tma_qk = q && k;
  plan.tma_v = make_row_map(&maps.v, p.v, F::kGroups);
  plan.tma_o = make_row_map(&maps.o, p.o, F::kGroups);
  plan.tma_gates = make_gate_map(&maps.g, p.g) && make_gate_map(&maps.beta, p.beta);
  return made;
}

template <class F, auto Kernel>
Status launch_kernel(const DeltaRule &p, const Launch &l, int threads, const Prepared &made) {
  if (made.plan.items == 0) return {};
  if constexpr (F::kSegments) {
    return launch_beside_previous<Kernel>(l, made.grid, threads, kSharedBytes<F>, p, made.plan,
                                          made.maps);
  } else {
    return launch<Kernel>("chunk_gated_delta_rule", l, made.grid, threads, kSharedBytes<F>, p,
                          made.plan, made.maps);
  }
}

/// Whether the Straight form of a kernel serves the call. The bits are the same.
inline bool is_straight(const DeltaRule &p, const Plan &plan) {
  const auto plain = [](const Tensor &t) { return !t.present() || t.dtype == DType::f32; };
  return plan.tma_qk && plan.tma_v && plan.tma_o && plan.tma_gates && plain(p.initial_state) &&
         plain(p.final_state) && p.checkpoint_every == 0 && !p.positions.present;
}

/// Launches form F of the chunk kernel.
template <class F>
Status launch_form(const DeltaRule &p, const Launch &l, const Segments &segments = {}) {
  const Prepared made = prepare<F>(p, l, segments);
  using S = Straight<F>;
  return is_straight(p, made.plan) ? launch_kernel<S, chunk_kernel<S>>(p, l, kThreads, made)
                                   : launch_kernel<F, chunk_kernel<F>>(p, l, kThreads, made);
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_LAUNCH_CUH_
