#include "cuda/sm90/chunk_gated_delta_rule/forms.h"
#include "cuda/sm90/chunk_gated_delta_rule/gate_warp.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/launch.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/state_warps.cuh"

// N and M of segments (segments.h): the chain from state to state without O. Segments whose action
// nobody asks for are skipped, the last of each sequence among them, so that all steps are whole;
// of N the steps that are forgotten, and M of a segment that forgets. T comes from
// segment_inverses.cu. Two state warpgroups, and one of which the gate warp and the load warp are
// used.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {
namespace {

using Form = SegmentTransfer;
constexpr int kTransferThreads = 384;
constexpr int kHelperRegisters = 88, kStateRegisters = 208;  // Their sum may not pass 504.

/// Brings K, V, T and raw gates in. All rings are of one depth, and a place is free once the state
/// has used its step.
struct TransferLoadWarp {
  const DeltaRule &p;
  const Plan &plan;
  const Maps &maps;
  Shared<Form> &s;
  const int lane;
  Ring<Form::kTiles> ring;

  /// T of step n belongs to what step n waits for, and so does V of the next, since the state asks
  /// for both at once; the first V to its own step.
  __device__ __forceinline__ void load_inputs(const Walk<Form> &walk, int n, int token) {
    uint64_t *const full = &s.ready[ring.i];
    uint64_t *const full_v = n == 0 ? full : &s.ready[(n - 1) % Form::kTiles];
    if (walk.has_value) {
      if (plan.tma_v) {
        if (elect()) {
          expect(full_v, 2 * kStep * 128);
          tma_load(s.v[ring.i], &maps.v, token, 0, walk.head, walk.batch, full_v);
        }
      } else {
        // The gate warp's arrival for the step before, which comes after this step's, covers them.
        load_rows<2>(s.v[ring.i], kTileHalf, p.v.at<const bf16>(walk.batch, token, walk.head),
                     p.v.stride[1], kStep, lane);
      }
    }
    __syncwarp();
    if (elect()) {
      arrive_expect(full, kInverseBytes);
      bulk_load(s.t[ring.i],
                inverse_at(plan.segments, static_cast<int>(p.heads.value_heads), walk.row,
                           walk.skipped + walk.step, walk.head),
                kInverseBytes, full);
    } else if (kEveryLaneArrives) {
      arrive(full);
    }
  }

  __device__ __forceinline__ void load_gates(const Walk<Form> &walk, int token) {
    StepGates &g = s.gates[ring.i];
    if (elect()) {
      g.valid = kStep;
      g.token = token;
      g.head = walk.head;
      g.batch = walk.batch;
      if (plan.tma_gates) {
        arrive_expect(&s.raw_full[ring.i], 2 * kStep * 16);
        tma_load_gates(s.raw[ring.i][0], &maps.g, walk.head & ~3, token, walk.batch,
                       &s.raw_full[ring.i]);
        tma_load_gates(s.raw[ring.i][1], &maps.beta, walk.head & ~3, token, walk.batch,
                       &s.raw_full[ring.i]);
      } else {
        arrive(&s.raw_full[ring.i]);
      }
    }
    __syncwarp();
  }

  __device__ __forceinline__ void load_keys(const Walk<Form> &walk, int token) {
    bf16 *const k = s.kq[ring.i];
    uint64_t *const full = &s.tile_full[ring.i];
    if (plan.tma_qk) {
      if (elect()) {
        arrive_expect(full, 2 * kStep * 128);
        tma_load(k, &maps.k, token, 0, walk.key_head, walk.batch, full);
        tma_load(k + Shared<Form>::kKqHalf, &maps.k, token, 1, walk.key_head, walk.batch, full);
      } else if (kEveryLaneArrives) {
        arrive(full);
      }
    } else {
      load_rows<2>(k, Shared<Form>::kKqHalf, p.k.at<const bf16>(walk.batch, token, walk.key_head),
                   p.k.stride[1], kStep, lane);
      proxy_fence();
      __syncwarp();
      if (kEveryLaneArrives || elect()) arrive(full);
    }
    __syncwarp();
  }

  __device__ __forceinline__ void run() {
    Walk<Form> walk;
    bool live = walk.open(p, plan, s);
    for (int n = 0; live; ++n) {
      const int token = walk.begin + walk.step * kStep;
      wait(&s.done[ring.i], ring.phase ^ 1);
      load_inputs(walk, n, token);
      load_gates(walk, token);
      load_keys(walk, token);
      ring.next();
      live = walk.next(p, plan, s);
    }
  }
};

__global__ void __launch_bounds__(kTransferThreads, 1)
    transfer_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Plan plan,
                    const __grid_constant__ Maps maps) {
  extern __shared__ unsigned char memory[];
  auto &s =
      *reinterpret_cast<Shared<Form> *>(memory + ((1024 - (shared_address(memory) & 1023)) & 1023));
  const int all_warps = __shfl_sync(kFullWarp, static_cast<int>(threadIdx.x) >> 5, 0);
  const int lane = __shfl_sync(kFullWarp, static_cast<int>(threadIdx.x) & 31, threadIdx.x & 31);
  const int group = all_warps >> 2, warp = all_warps & 3, thread = all_warps * 32 + lane;
  let_next_start();
  if (thread == 0) init_barriers(s);
  wait_for_previous();  // For T and what items there are.
  plan_work(p, plan, s, nullptr, thread);
  __syncthreads();
  const int total = __shfl_sync(kFullWarp, s.total, 0);
  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kHelperRegisters));
    if (warp == 0) {
      TransferLoadWarp{p, plan, maps, s, lane}.run();
    } else if (warp == 1) {
      gate_steps(p, plan, s, lane, total);
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kStateRegisters));
    StateWarps<Form>{p, plan, s, group - 1, 0, warp, lane}.run();
  }
}

}  // namespace

Status launch_segment_transfers(const DeltaRule &p, const Launch &l, const Segments &segments) {
  return launch_kernel<Form, transfer_kernel>(p, l, kTransferThreads,
                                              prepare<Form>(p, l, segments));
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
