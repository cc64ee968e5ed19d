#include "cuda/sm90/chunk_gated_delta_rule/kernel.h"

#include <algorithm>
#include <limits>

#include "cuda/launch.h"
#include "cuda/sm80/kernels.h"
#include "cuda/sm90/chunk_gated_delta_rule/gate_warp.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/load_warp.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/product_warps.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/solver_warps.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/state_warps.cuh"
#include "cuda/sm90/device/tensor_maps.h"

// The chunked forward on Hopper: bf16, DK = DV = 128, steps of 32 tokens. With S the state before a
// step, c the inclusive sum of its log decays, T = (I + A)^-1:
//
//     X  = V - e^c K S
//     V' = T diag(beta) X               T and P = tril(Q K^T e^{c_i - c_j}) in two parts of bf16
//     S' = e^{c_last} S + (diag(e^{c_last - c}) K)^T V'
//     O  = scale (e^c Q S + P V')
//
// T and P do not depend on S: other warps make them up to five steps ahead. The form with W =
// (diag(e^{c_last - c}) T diag(beta))^T K, which needs no V', has a product less on the chain from
// state to state and loses more on the warps that make W (docs/lab/hopper_step.md).
//
// One block a multiprocessor, four warpgroups: products; two solver warps, the gate warp, the load
// warp; two of the state with 64 value columns each. They meet at mbarriers alone. A block takes
// (sequence, value head) items round by round; what an item computes depends on nothing else.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {
namespace {

// Registers a thread after the warpgroups have traded them; their sum may not pass 512.
constexpr int kProductRegisters = 72, kHelperRegisters = 72, kStateRegisters = 184;

__global__ void __launch_bounds__(kThreads, 1)
    chunk_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Plan plan,
                 const __grid_constant__ Maps maps) {
  extern __shared__ unsigned char memory[];
  Shared &s =
      *reinterpret_cast<Shared *>(memory + ((1024 - (shared_address(memory) & 1023)) & 1023));
  // Through shuffles: ptxas rebuilds plain ones from special registers, slowly, in every loop.
  const int all_warps = __shfl_sync(kFullWarp, static_cast<int>(threadIdx.x) >> 5, 0);
  const int lane = __shfl_sync(kFullWarp, static_cast<int>(threadIdx.x) & 31, threadIdx.x & 31);
  const int group = all_warps >> 2, warp = all_warps & 3, thread = all_warps * 32 + lane;

  plan_work(p, plan, s, reinterpret_cast<int *>(s.kq), thread);
  if (thread == 0) init_barriers(s);
  for (int i = thread; i < static_cast<int>(sizeof(s.t) / 16); i += kThreads) {
    reinterpret_cast<uint4 *>(s.t)[i] = make_uint4(0, 0, 0, 0);
  }
  proxy_fence();
  __syncthreads();
  const int total = __shfl_sync(kFullWarp, s.total, 0);

  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kProductRegisters));
    ProductWarps{s, p.scale < 0.0F ? 0x80008000U : 0U, warp, lane}.run(total);
  } else if (group == 1) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kHelperRegisters));
    if (warp == 3) {
      LoadWarp{p, plan, maps, s, lane}.run();
    } else if (warp == 2) {
      gate_steps(p, plan, s, lane, total);
    } else {
      solve_steps(s, warp, lane, total);
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kStateRegisters));
    StateWarps{p, plan, s, group - 2, warp, lane}.run();
  }
}

/// Strides and alignment do not enter, since result bits must not depend on them.
bool applies(const DeltaRule &p) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max() / 2;
  return p.q.dtype == DType::bf16 && p.key_dim == kDim && p.value_dim == kDim &&
         p.sequences.tokens <= kMost && p.sequences.batch <= kMost &&
         p.sequences.count <= kMost / p.heads.value_heads;
}

}  // namespace

Status run(const DeltaRule &p, const Launch &l) {
  if (!applies(p)) return sm80::chunk_gated_delta_rule(p, l);
  const int64_t items = p.sequences.count * p.heads.value_heads;
  if (items == 0) return {};
  const int grid = static_cast<int>(std::min<int64_t>(items, l.device->multiprocessors));
  Plan plan;
  plan.items = static_cast<int>(items);
  plan.sorted = p.sequences.packed() && p.sequences.count <= kMaxSorted && items > grid;
  Maps maps = {};
  const bool q = make_row_map(&maps.q, p.q, 1), k = make_row_map(&maps.k, p.k, 1);
  plan.tma_qk = q && k;
  plan.tma_v = make_row_map(&maps.v, p.v, 2);
  plan.tma_o = make_row_map(&maps.o, p.o, 2);
  plan.tma_gates = make_gate_map(&maps.g, p.g) && make_gate_map(&maps.beta, p.beta);
  return launch<chunk_kernel>("chunk_gated_delta_rule", l, grid, kThreads, kSharedBytes, p, plan,
                              maps);
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
