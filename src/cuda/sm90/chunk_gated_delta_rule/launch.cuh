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
  constexpr const char *kName = "chunk_gated_delta_rule";
  Status s = allow_shared_memory<Kernel>(kName, l, shared_memory);
  if (!s.ok()) return s;
  cudaLaunchAttribute beside = {};
  beside.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  beside.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_memory;
  config.stream = l.stream;
  config.attrs = &beside;
  config.numAttrs = 1;
  return to_status(cudaLaunchKernelEx(&config, Kernel, args...), kName);
}

/// Launches a kernel of form F.
template <class F, auto Kernel>
Status launch_kernel(const DeltaRule &p, const Launch &l, int threads, const Segments &segments) {
  const int64_t each = p.heads.value_heads * (2 / F::kGroups);
  const int64_t parts = F::kSegments ? segments.count * (F::kOutput ? 1 : 2) : p.sequences.count;
  const int64_t items = parts * each;
  if (items == 0) return {};
  const int grid = static_cast<int>(std::min<int64_t>(items, l.device->multiprocessors));
  Plan plan;
  plan.items = static_cast<int>(items);
  plan.sorted =
      !F::kSegments && p.sequences.packed() && p.sequences.count <= F::kMaxSorted && items > grid;
  plan.segments = segments;
  Maps maps = {};
  const bool q = make_row_map(&maps.q, p.q, 1), k = make_row_map(&maps.k, p.k, 1);
  plan.tma_qk = q && k;
  plan.tma_v = make_row_map(&maps.v, p.v, F::kGroups);
  plan.tma_o = make_row_map(&maps.o, p.o, F::kGroups);
  plan.tma_gates = make_gate_map(&maps.g, p.g) && make_gate_map(&maps.beta, p.beta);
  if constexpr (F::kSegments) {
    return launch_beside_previous<Kernel>(l, grid, threads, kSharedBytes<F>, p, plan, maps);
  } else {
    return launch<Kernel>("chunk_gated_delta_rule", l, grid, threads, kSharedBytes<F>, p, plan,
                          maps);
  }
}

/// Launches form F of the chunk kernel.
template <class F>
Status launch_form(const DeltaRule &p, const Launch &l, const Segments &segments = {}) {
  return launch_kernel<F, chunk_kernel<F>>(p, l, kThreads, segments);
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_LAUNCH_CUH_
