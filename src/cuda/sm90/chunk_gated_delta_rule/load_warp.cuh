#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_LOAD_WARP_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_LOAD_WARP_CUH_

#include "cuda/sm90/chunk_gated_delta_rule/shared.cuh"

// The load warp: brings K, Q, V and raw gates in, and takes O out. TMA where strides and alignment
// allow it, ordinary accesses where not; shared memory holds the same bytes either way.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

struct Maps {
  CUtensorMap q, k, v, o, g, beta;
};

/// Rows of O out of a swizzled tile, by the whole warp.
template <int kHalves>
__device__ __forceinline__ void store_rows(bf16 *to, int64_t stride, const bf16 *tile, int valid,
                                           int lane) {
  for (int r = 0; r < valid; ++r) {
#pragma unroll
    for (int i = 0; i < 2 * kHalves; ++i) {
      const int d = i * 32 + lane, half = d >> 6, c = d & 63;
      bf16 *const out = &to[r * stride + d];
      *out = tile[half * kTileHalf + r * kHalf + (c ^ swizzle128(r))];
    }
  }
}

template <class F>
struct LoadWarp {
  const DeltaRule &p;
  const Plan &plan;
  const Maps &maps;
  Shared<F> &s;
  const int lane;
  Ring<F::kTiles> tile;
  int value = 0, value_gates = 0;        ///< Place and gates of the V that is loaded next.
  int o_buffer = 0, o_gates = 0;         ///< Of the step whose O is stored next.
  Ring<F::kAhead> given, v_ready;  ///< Steps that are given room for O, and V of the next one.

  /// Tells the state that a step has room for its O and that V of the next one is on its way. There
  /// are gives for steps past the last.
  __device__ __forceinline__ void give(bool stored) {
    const bool leader = elect();
    if (leader && stored) tma_store_wait_read();
    arrive_warp(leader, &s.ready[given.i]);
    given.next();
  }

  /// Stores O of a step.
  __device__ __forceinline__ void store_o() {
    proxy_fence();  // The state warps wrote the tile by ordinary stores.
    const StepGates &g = s.gates[o_gates];
    const int rows = g.valid, token = g.token, head = g.head, batch = g.batch, half = g.half;
    if (plan.tma_o && rows == kStep) {
      if (elect()) {
        tma_store(&maps.o, token, half, head, batch, s.o[o_buffer]);
        tma_store_commit();
      }
    } else {
      bf16 *const to = p.o.at<bf16>(batch, token, head) + half * kHalf;
      if (plan.tma_o) {
        for (int i = lane; i < rows * 8 * F::kGroups; i += 32) {
          const int r = i / (8 * F::kGroups), group = (i >> 3) % F::kGroups, c = i & 7;
          auto *const out =
              reinterpret_cast<uint4 *>(to + r * p.o.stride[1] + group * kHalf + c * 8);
          *out = *reinterpret_cast<const uint4 *>(
              &s.o[o_buffer][group][r * kHalf + (c ^ swizzle128(r) / 8) * 8]);
        }
      } else {
        store_rows<F::kGroups>(to, p.o.stride[1], s.o[o_buffer][0], rows, lane);
      }
    }
    __syncwarp();
    o_buffer ^= 1;
    if (++o_gates == F::kTiles) o_gates = 0;
  }

  /// V of step m belongs to what the step before it waits for, since the state asks for both at
  /// once; that of the very first, to its own.
  __device__ __forceinline__ void load_v(int m) {
    // V of a sequence's first step is read after the step before it is done.
    const int last = m - F::kInputs;
    if (last >= 0 && s.gates[last % F::kTiles].first != 0) wait_done(s, last);
    const StepGates &g = s.gates[value_gates];
    uint64_t *const full = &s.ready[v_ready.i];
    if (plan.tma_v) {
      if (elect()) {
        expect(full, F::kGroups * kStep * 128);
        tma_load(s.v[value], &maps.v, g.token, g.half, g.head, g.batch, full);
      }
    } else {
      // give() arrives for these stores too.
      load_rows<F::kGroups>(s.v[value], kTileHalf,
                            p.v.at<const bf16>(g.batch, g.token, g.head) + g.half * kHalf,
                            p.v.stride[1], g.valid, lane);
    }
    __syncwarp();
    if (++value == F::kInputs) value = 0;
    if (m > 0) v_ready.next();
    if (++value_gates == F::kTiles) value_gates = 0;
  }

  __device__ __forceinline__ void load_kq(int batch, int token, int key_head, int valid) {
    bf16 *const kq = s.kq[tile.i];
    // Under l2norm the gate warp wants the tile before the products do.
    uint64_t *const full = p.qk_l2norm ? &s.tile_full[tile.i] : &s.kq_full[tile.i];
    if (plan.tma_qk) {
      if (elect()) {
        arrive_expect(full, 4 * kStep * 128);
        tma_load(kq, &maps.k, token, 0, key_head, batch, full);
        tma_load(kq + Shared<F>::kKqHalf, &maps.k, token, 1, key_head, batch, full);
        tma_load(kq + kTileHalf, &maps.q, token, 0, key_head, batch, full);
        tma_load(kq + Shared<F>::kKqHalf + kTileHalf, &maps.q, token, 1, key_head, batch, full);
        if (p.qk_l2norm) arrive(&s.kq_full[tile.i]);
      } else if (kEveryLaneArrives) {
        arrive(full);
        if (p.qk_l2norm) arrive(&s.kq_full[tile.i]);
      }
    } else {
      load_rows<2>(kq, Shared<F>::kKqHalf, p.k.at<const bf16>(batch, token, key_head),
                   p.k.stride[1], valid, lane);
      load_rows<2>(kq + kTileHalf, Shared<F>::kKqHalf, p.q.at<const bf16>(batch, token, key_head),
                   p.q.stride[1], valid, lane);
      proxy_fence();
      __syncwarp();
      if (kEveryLaneArrives || elect()) {
        arrive(full);
        if (p.qk_l2norm) arrive(&s.kq_full[tile.i]);
      }
    }
    __syncwarp();
  }

  __device__ __forceinline__ void run() {
    // V follows K and Q by kBehind steps, so that its place is that of a step whose O has been
    // stored. The room for O of a step is that of the step two before.
    constexpr int kTiles = F::kTiles;
    constexpr int kBehind = kTiles - F::kInputs - 1, kRoom = kTiles - 2;
    Walk<F> walk;
    bool live = walk.open(p, plan, s);
    int n = 0;
    while (live) {
      const int token = walk.begin + walk.start(), batch = walk.batch, head = walk.head;
      const bool first = walk.step == 0;
      const int key_head = walk.key_head, half = walk.half;
      const int valid = walk.valid();
      live = walk.next(p, plan, s);
      wait(&s.done[tile.i], tile.phase ^ 1);
      if (n >= kTiles) store_o();
      StepGates &g = s.gates[tile.i];
      if (elect()) {
        g.valid = valid;
        g.token = token;
        g.head = head;
        g.batch = batch;
        g.half = half;
        g.first = first ? 1 : 0;
        if (plan.tma_gates) {
          arrive_expect(&s.raw_full[tile.i], 2 * kStep * 16);
          tma_load_gates(s.raw[tile.i][0], &maps.g, head & ~3, token, batch, &s.raw_full[tile.i]);
          tma_load_gates(s.raw[tile.i][1], &maps.beta, head & ~3, token, batch,
                         &s.raw_full[tile.i]);
        } else {
          arrive(&s.raw_full[tile.i]);
        }
      }
      load_kq(batch, token, key_head, valid);
      tile.next();
      ++n;
      if (n > kBehind) load_v(n - kBehind - 1);
      if (n > kRoom) give(n > kTiles);
    }
    for (int i = n; i < n + kTiles; ++i) {
      if (i >= kTiles) {
        wait(&s.done[o_gates], ((i - kTiles) / kTiles) & 1);
        store_o();
      }
      if (i >= kBehind && i - kBehind < n) load_v(i - kBehind);
      if (i >= kRoom) give(i >= kTiles);
    }
    if (elect()) tma_store_wait();
  }
};

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_LOAD_WARP_CUH_
