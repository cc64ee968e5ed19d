#ifndef GDN_CUDA_SM90_CHUNK_FWD_H_HELPER_WARPS_CUH_
#define GDN_CUDA_SM90_CHUNK_FWD_H_HELPER_WARPS_CUH_

#include "core/stages.h"
#include "cuda/device/sequences.cuh"
#include "cuda/sm90/device/operands.cuh"

// What the warps of the chain of states on Hopper share, and its three helpers: the load warp, the
// gate warp, the store warp.

namespace gdn::cuda::sm90::chunk_fwd_h {

constexpr int kTokens = 64;
constexpr int kDim = 128;
constexpr int kSlots = 3;
constexpr int kThreads = 384;  ///< Two warpgroups; a warp each: loads, gates, stores.
/// Registers a thread after the warpgroups have traded them; of the three together 512 at most.
constexpr int kStateRegisters = 208, kHelperRegisters = 88;
constexpr int kTileBytes = kTokens * kDim * 2;
constexpr int kHalfBox = kBoxRows * kHalf * 2;  ///< Bytes.

struct ChainShared {
  // Tiles in boxes.
  bf16 w[kSlots][kTokens * kDim];
  bf16 k[kSlots][kTokens * kDim];
  bf16 u[kSlots][kTokens * kDim];  ///< Then V'.
  bf16 h[2][kDim * kDim];          ///< [chunk % 2].
  float raw[kSlots][kTokens][4];   ///< c of four heads as loaded.
  float to_end[kSlots][kTokens];   ///< e^(c_last - c); 0 past the chunk's end.
  float decay[kSlots];             ///< e^c_last.
  uint64_t raw_full[kSlots];       ///< c has landed.
  uint64_t full[kSlots];           ///< w, k, u have landed, decays are there.
  uint64_t done[kSlots];           ///< The state has used the slot; h and V' are written.
  uint64_t u_empty[kSlots];        ///< V' has left.
  uint64_t h_empty[2];             ///< h has left.
  int first;                       ///< Row of h of the first chunk.
};

constexpr size_t kSharedBytes = sizeof(ChainShared) + 1024;  ///< With room to align.

/// What follows from shapes, strides and alignment; else ordinary accesses, the bits are the same.
struct ChainPlan {
  bool tma_in, tma_c, tma_v, tma_h;
};

struct ChainMaps {
  CUtensorMap w, k, u, v_new, h, c;
};

/// The block's sequence and head.
struct ChainPlace {
  int sequence, batch, begin, length, head, key_head;
  int chunks;

  __device__ __forceinline__ int valid(int chunk) const {
    return min(kTokens, length - chunk * kTokens);
  }
  __device__ __forceinline__ int token(int chunk) const { return begin + chunk * kTokens; }
};

/// For a whole warp: positions go through shuffles, which tells ptxas that they are uniform.
__device__ __forceinline__ ChainPlace chain_place(const ChunkFwdH &p) {
  const int heads = static_cast<int>(p.heads.value_heads), item = static_cast<int>(blockIdx.x);
  ChainPlace at;
  at.sequence = item / heads;
  at.head = item - at.sequence * heads;
  at.key_head = static_cast<int>(p.heads.key_head(at.head));
  const SequenceSpan span = clamped_span(p.sequences, at.sequence);
  at.batch = __shfl_sync(kFullWarp, static_cast<int>(span.batch), 0);
  at.begin = __shfl_sync(kFullWarp, static_cast<int>(span.begin), 0);
  at.length = __shfl_sync(kFullWarp, static_cast<int>(span.length), 0);
  at.chunks = (at.length + kTokens - 1) / kTokens;
  return at;
}

/// The load warp.
__device__ __forceinline__ void load_chunks(const ChunkFwdH &p, const ChainPlan &plan,
                                            const ChainMaps &maps, ChainShared &s,
                                            const ChainPlace &at, int lane) {
  Ring<kSlots> slot;
  for (int i = 0; i < at.chunks; ++i, slot.next()) {
    const int token = at.token(i);
    uint64_t *const full = &s.full[slot.i], *const raw_full = &s.raw_full[slot.i];
    wait(&s.done[slot.i], slot.phase ^ 1);
    if (elect()) {
      if (plan.tma_c) {
        arrive_expect(raw_full, kTokens * 16);
        tma_load_gates(s.raw[slot.i][0], &maps.c, at.head & ~3, token, at.batch, raw_full);
        tma_load_gates(s.raw[slot.i][32], &maps.c, at.head & ~3, token + 32, at.batch, raw_full);
      } else {
        arrive(raw_full);
      }
      if (plan.tma_in) {
        arrive_expect(full, 3 * kTileBytes);
#pragma unroll
        for (int r = 0; r < kTokens; r += kBoxRows) {
          tma_load(box_at(s.w[slot.i], r), &maps.w, token + r, 0, at.head, at.batch, full);
        }
#pragma unroll
        for (int r = 0; r < kTokens; r += kBoxRows) {
          tma_load(box_at(s.k[slot.i], r), &maps.k, token + r, 0, at.key_head, at.batch, full);
        }
      }
    } else if (kEveryLaneArrives && plan.tma_in) {
      arrive(full);
    }
    __syncwarp();
    wait(&s.u_empty[slot.i], slot.phase ^ 1);
    if (plan.tma_in) {
      if (elect()) {
#pragma unroll
        for (int r = 0; r < kTokens; r += kBoxRows) {
          tma_load(box_at(s.u[slot.i], r), &maps.u, token + r, 0, at.head, at.batch, full);
        }
      }
    } else {
      const int valid = at.valid(i);
      load_boxes(s.w[slot.i], p.w.at<const bf16>(at.batch, token, at.head), p.w.stride[1], valid,
                 lane);
      load_boxes(s.k[slot.i], p.k.at<const bf16>(at.batch, token, at.key_head), p.k.stride[1],
                 valid, lane);
      load_boxes(s.u[slot.i], p.u.at<const bf16>(at.batch, token, at.head), p.u.stride[1], valid,
                 lane);
      proxy_fence();
      __syncwarp();
      arrive_warp(lane == 0, full);
    }
    __syncwarp();
  }
}

/// The gate warp.
__device__ __forceinline__ void form_decays(const ChunkFwdH &p, const ChainPlan &plan,
                                            ChainShared &s, const ChainPlace &at, int lane) {
  Ring<kSlots> slot;
  for (int i = 0; i < at.chunks; ++i, slot.next()) {
    const int valid = at.valid(i);
    wait(&s.raw_full[slot.i], slot.phase);
    float c[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int t = half * 32 + lane;
      c[half] = 0.0F;
      if (t < valid && p.g_cumsum.present()) {
        c[half] = plan.tma_c ? s.raw[slot.i][t][at.head & 3]
                             : *p.g_cumsum.at<const float>(at.batch, at.token(i) + t, at.head);
      }
    }
    const float last = __shfl_sync(kFullWarp, valid > 32 ? c[1] : c[0], (valid - 1) & 31);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int t = half * 32 + lane;
      s.to_end[slot.i][t] = t < valid ? decay_of(last - c[half]) : 0.0F;
    }
    if (lane == 0) s.decay[slot.i] = decay_of(last);
    __syncwarp();
    arrive_warp(lane == 0, &s.full[slot.i]);
  }
}

/// The store warp. Partial chunks of V' and what TMA cannot take are the state warps' business.
__device__ __forceinline__ void store_chunks(const ChainPlan &plan, const ChainMaps &maps,
                                             ChainShared &s, const ChainPlace &at) {
  const int first = __shfl_sync(kFullWarp, s.first, 0);
  Ring<kSlots> slot;
  for (int i = 0; i < at.chunks; ++i, slot.next()) {
    wait(&s.done[slot.i], slot.phase);
    if (elect()) {
      proxy_fence();  // The state warps wrote the tiles by ordinary stores.
      if (plan.tma_h) {
#pragma unroll
        for (int r = 0; r < kDim; r += kBoxRows) {
          tma_store(&maps.h, r, 0, at.head, first + i, box_at(s.h[i & 1], r));
        }
      }
      if (plan.tma_v && at.valid(i) == kTokens) {
#pragma unroll
        for (int r = 0; r < kTokens; r += kBoxRows) {
          tma_store(&maps.v_new, at.token(i) + r, 0, at.head, at.batch, box_at(s.u[slot.i], r));
        }
      }
      tma_store_commit();
      tma_store_wait_read();
      arrive(&s.h_empty[i & 1]);
      arrive(&s.u_empty[slot.i]);
    }
    __syncwarp();
  }
  if (elect()) tma_store_wait();
}

}  // namespace gdn::cuda::sm90::chunk_fwd_h

#endif  // GDN_CUDA_SM90_CHUNK_FWD_H_HELPER_WARPS_CUH_
