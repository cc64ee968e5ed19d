#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_KERNEL_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_KERNEL_CUH_

#include "cuda/sm90/chunk_gated_delta_rule/gate_warp.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/load_warp.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/product_warps.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/solver_warps.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/state_warps.cuh"

// The chunked forward on Hopper: bf16, DK = DV = 128, steps of 32 tokens. With S the state before a
// step, c the inclusive sum of its log decays, T = (I + A)^-1:
//
//     X  = V - e^c K S
//     V' = T diag(beta) X               T and P = tril(Q K^T e^{c_i - c_j}) in two parts of bf16
//     S' = e^{c_last} S + (diag(e^{c_last - c}) K)^T V'
//     O  = scale (e^c Q S + P V')
//
// T and P do not depend on S: other warps make them up to kAhead steps ahead. The form with W =
// (diag(e^{c_last - c}) T diag(beta))^T K, which needs no V', has a product less on the chain from
// state to state and loses more on the warps that make W (docs/lab/hopper_step.md).
//
// One block a multiprocessor, four warpgroups, which meet at mbarriers alone. A block takes items
// round by round; what an item computes depends on nothing else. WholeHead: products; two solver
// warps, the gate warp, the load warp; two of the state with 64 value columns each. HalfHead:
// products; four solver warps; the state; the gate warp and three that load and store.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

/// Registers a thread after the warpgroups have traded them, by state warpgroups; their sum may not
/// pass 512.
template <int kGroups>
struct Registers {
  static constexpr int kProduct = 72, kHelpers = 72, kState = 184;
};
template <>
struct Registers<1> {
  static constexpr int kProduct = 96, kSolvers = 112, kHelpers = 88, kState = 216;
};

/// Gives each warp of the block its role.
template <class F>
__device__ __forceinline__ void run_block(const DeltaRule &p, const Plan &plan, const Maps &maps,
                                          Shared<F> &s) {
  constexpr bool kWhole = F::kGroups == 2;
  using R = Registers<F::kGroups>;
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
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(R::kProduct));
    ProductWarps<F>{s, p.scale < 0.0F ? 0x80008000U : 0U, warp, lane}.run(total);
  } else if (group == (kWhole ? 1 : 3)) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(R::kHelpers));
    LoadWarp<F> load = {p, plan, maps, s, lane};
    if (warp == 3) {
      if constexpr (kWhole) {
        load.run();
      } else {
        load.run_tiles();
      }
    } else if (warp == 2) {
      gate_steps(p, plan, s, lane, total);
    } else if constexpr (kWhole) {
      solve_steps(s, warp, lane, total);
    } else if (warp == 1) {
      load.run_values();
    } else {
      load.run_stores();
    }
  } else if (kWhole || group == 2) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(R::kState));
    if constexpr (F::kSegments) wait_for_previous();  // For the states.
    StateWarps<F>{p, plan, s, kWhole ? group - 2 : 0, 0, warp, lane}.run();
  } else if constexpr (!kWhole) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(R::kSolvers));
    solve_steps(s, warp, lane, total);
  }
}

template <class F>
__global__ void __launch_bounds__(kThreads, 1)
    chunk_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Plan plan,
                 const __grid_constant__ Maps maps) {
  extern __shared__ unsigned char memory[];
  run_block(
      p, plan, maps,
      *reinterpret_cast<Shared<F> *>(memory + ((1024 - (shared_address(memory) & 1023)) & 1023)));
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_KERNEL_CUH_
