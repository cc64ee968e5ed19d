#include "cuda/sm90/chunk_gated_delta_rule/forms.h"
#include "cuda/sm90/chunk_gated_delta_rule/gate_warp.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/launch.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/transfer_state_warps.cuh"

// N and M of segments (segments.h): the chain from state to state without O, 64 tokens at a time.
// Segments whose action nobody asks for are skipped, the last of each sequence among them, so that
// all chunks are whole; of N the chunks that are forgotten, and M of a segment that forgets. T and
// A come from segment_inverses.cu. Two state warpgroups, and one of which the gate warp and the
// load warp are used.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {
namespace {

constexpr int kTransferThreads = 384;
constexpr int kHelperRegisters = 88, kStateRegisters = 208;  // Their sum may not pass 504.

/// Brings K, V, T and raw gates in.
struct TransferLoadWarp {
  const DeltaRule &p;
  const Plan &plan;
  const Maps &maps;
  TransferShared &s;
  const int lane;
  Ring<kStages> stage;

  /// One chunk: its batch row, first token, heads, and where T lies.
  struct Place {
    int batch, token, head, key_head;
    bool has_value;
    int64_t index;  ///< Of the chunk among all.
  };

  __device__ __forceinline__ void load_values(const Place &at) {
    uint64_t *const full = &s.full[stage.i];
    if (at.has_value && !plan.tma_v) {
      load_rows<2>(s.v[stage.i], kTileOfChunk, p.v.at<const bf16>(at.batch, at.token, at.head),
                   p.v.stride[1], kChunk, lane);
    }
    __syncwarp();
    if (elect()) {
      if (at.has_value && plan.tma_v) {
        expect(full, 2 * kTileOfChunk * 2);
        tma_load(s.v[stage.i], &maps.v, at.token, 0, at.head, at.batch, full);
      }
      const Segments &all = plan.segments;
      arrive_expect(full, kInverseBytes + kRepeatBytes);
      bulk_load(s.t[stage.i], all.inverses + at.index * kInverseBytes, kInverseBytes, full);
      bulk_load(&s.repeats[stage.i], all.repeats + at.index * kRepeatBytes, kRepeatBytes, full);
    } else if (kEveryLaneArrives) {
      arrive(full);
    }
  }

  __device__ __forceinline__ void load_gates(const Place &at) {
    if (elect()) {
      ChunkGates &g = s.gates[stage.i];
      uint64_t *const full = &s.raw_full[stage.i];
      g.token = at.token;
      g.head = at.head;
      g.batch = at.batch;
      if (plan.tma_gates) {
        arrive_expect(full, 2 * kChunk * 16);
        tma_load_gates(s.raw[stage.i][0], &maps.g, at.head & ~3, at.token, at.batch, full);
        tma_load_gates(s.raw[stage.i][1], &maps.beta, at.head & ~3, at.token, at.batch, full);
      } else {
        arrive(full);
      }
    }
    __syncwarp();
  }

  __device__ __forceinline__ void load_keys(const Place &at) {
    uint64_t *const full = &s.key_full[stage.i];
    if (plan.tma_qk) {
      if (elect()) {
        arrive_expect(full, 2 * kTileOfChunk * 2);
        tma_load(s.k[stage.i], &maps.k, at.token, 0, at.key_head, at.batch, full);
      } else if (kEveryLaneArrives) {
        arrive(full);
      }
    } else {
      load_rows<2>(s.k[stage.i], kTileOfChunk, p.k.at<const bf16>(at.batch, at.token, at.key_head),
                   p.k.stride[1], kChunk, lane);
      proxy_fence();
      __syncwarp();
      if (kEveryLaneArrives || elect()) arrive(full);
    }
    __syncwarp();
  }

  __device__ __forceinline__ void run() {
    const int heads = static_cast<int>(p.heads.value_heads);
    for (int round = 0; item_index(round) < plan.items; ++round) {
      const Item item = transfer_item(p, plan, item_index(round));
      const int chunks = __shfl_sync(kFullWarp, chunks_of(item), 0);
      Place at;
      at.batch = __shfl_sync(kFullWarp, item.batch, 0);
      at.token = __shfl_sync(kFullWarp, item.begin, 0);
      at.head = __shfl_sync(kFullWarp, item.head, 0);
      at.key_head = __shfl_sync(kFullWarp, item.key_head, 0);
      at.has_value = !item.identity;
      for (int i = 0; i < chunks; ++i, at.token += kChunk) {
        at.index = chunk_index(plan.segments, heads, item.segment.row, item.skipped / kSteps + i,
                               item.head);
        wait(&s.done[stage.i], stage.phase ^ 1);
        load_gates(at);
        load_keys(at);
        load_values(at);
        stage.next();
      }
    }
  }
};

/// The gate warp: a lane has two tokens, 32 apart.
__device__ __forceinline__ void gate_chunks(const DeltaRule &p, const Plan &plan, TransferShared &s,
                                            int lane) {
  Ring<kStages> stage;
  int chunks = 0;
  for (int round = lane; item_index(round) < plan.items; round += 32) {
    chunks += chunks_of(transfer_item(p, plan, item_index(round)));
  }
#pragma unroll
  for (int i = 16; i > 0; i >>= 1) chunks += __shfl_xor_sync(kFullWarp, chunks, i);
  for (; chunks > 0; --chunks) {
    wait(&s.raw_full[stage.i], stage.phase);
    ChunkGates &g = s.gates[stage.i];
    float c[kSteps], norm[kSteps] = {1.0F, 1.0F};
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const int token = i * kStep + lane;
      if (plan.tma_gates) {
        c[i] = s.raw[stage.i][0][token][g.head & 3];
        if (p.gate) {
          c[i] = decay_of_gate(
              c[i], load_any(p.A_log, p.A_log.offset(g.head)),
              p.dt_bias.present() ? load_any(p.dt_bias, p.dt_bias.offset(g.head)) : 0.0F);
        }
        c[i] = bounded_decay(c[i]);
      } else {
        c[i] = token_decay(p, g.batch, g.token + token, g.head);
      }
      c[i] = warp_scan(c[i] * kLog2E, lane);
    }
    wait(&s.key_full[stage.i], stage.phase);
    if (p.qk_l2norm) {
      // The tile is as large as one of K over Q.
#pragma unroll
      for (int i = 0; i < kSteps; ++i)
        norm[i] = row_norm<WholeHead>(s.k[stage.i], i * kStep + lane);
    }
    const float last1 = __shfl_sync(kFullWarp, c[0], 31), last2 = __shfl_sync(kFullWarp, c[1], 31);
    g.key_decay[lane] = exp2_fast(c[0]) * norm[0];
    g.key_decay[kStep + lane] = exp2_fast(last1 + c[1]) * norm[1];
    g.end[lane] = exp2_fast(last1 - c[0] + last2) * norm[0];
    g.end[kStep + lane] = exp2_fast(last2 - c[1]) * norm[1];
    if (lane == 0) g.decay = exp2_fast(last1 + last2);
    __syncwarp();
    arrive_warp(elect(), &s.full[stage.i]);
    stage.next();
  }
}

__global__ void __launch_bounds__(kTransferThreads, 1)
    transfer_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Plan plan,
                    const __grid_constant__ Maps maps) {
  extern __shared__ unsigned char memory[];
  auto &s = *reinterpret_cast<TransferShared *>(memory +
                                                ((1024 - (shared_address(memory) & 1023)) & 1023));
  const int all_warps = __shfl_sync(kFullWarp, static_cast<int>(threadIdx.x) >> 5, 0);
  const int lane = __shfl_sync(kFullWarp, static_cast<int>(threadIdx.x) & 31, threadIdx.x & 31);
  const int group = all_warps >> 2, warp = all_warps & 3;
  let_next_start();
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      barrier_init_warps(&s.key_full[i], 1);
      barrier_init(&s.raw_full[i], 1);
      barrier_init_warps(&s.full[i], 2);  // The loader and the gates.
      barrier_init_warps(&s.done[i], 8);  // The warps of the state.
    }
    barrier_init_fence();
  }
  wait_for_previous();  // For T and what items there are.
  __syncthreads();
  if (group == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kHelperRegisters));
    if (warp == 0) {
      TransferLoadWarp{p, plan, maps, s, lane}.run();
    } else if (warp == 1) {
      gate_chunks(p, plan, s, lane);
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kStateRegisters));
    TransferStateWarps{p, plan, s, group - 1, warp, lane}.run();
  }
}

}  // namespace

Status launch_segment_transfers(const DeltaRule &p, const Launch &l, const Segments &segments) {
  Plan plan = {};
  Maps maps = {};
  plan.segments = segments;
  plan.items = static_cast<int>(2 * segments.count * p.heads.value_heads);
  plan.tma_qk = make_row_map(&maps.k, p.k, 2, kChunk);
  plan.tma_v = make_row_map(&maps.v, p.v, 2, kChunk);
  plan.tma_gates = make_gate_map(&maps.g, p.g, kChunk) && make_gate_map(&maps.beta, p.beta, kChunk);
  const int grid = std::min(plan.items, l.device->multiprocessors);
  return launch_beside_previous<transfer_kernel>(l, grid, kTransferThreads, kTransferBytes, p, plan,
                                                 maps);
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
