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

/// Where a step lies.
struct StepPlace {
  int valid, token, head, batch, half;
  bool warm;
};

template <class F>
struct LoadWarp {
  const DeltaRule &p;
  const Plan &plan;
  const Maps &maps;
  Shared<F> &s;
  const int lane;
  Ring<F::kTiles> tile;
  int o_buffer = 0;
  Ring<F::kAhead> given;  ///< Step that is given room for O.

  static __device__ __forceinline__ StepPlace place_of(const Walk<F> &walk) {
    return {walk.valid(), walk.begin + walk.start(),        walk.head, walk.batch,
            walk.half,    F::kWarm && walk.step < walk.warm};
  }
  __device__ __forceinline__ StepPlace place_of(int gates) const {
    const StepGates &g = s.gates[gates];
    return {g.valid, g.token, g.head, g.batch, g.half, F::kWarm && g.warm != 0};
  }

  /// Tells the state that a step has room for its O, and what else this warp had to do for it is on
  /// its way. There are gives for steps past the last.
  __device__ __forceinline__ void give(bool stored) {
    const bool leader = elect();
    if (leader && stored) tma_store_wait_read();
    arrive_warp(leader, &s.ready[given.i]);
    given.next();
  }

  /// Stores O of a step.
  __device__ __forceinline__ void store_o(const StepPlace &at) {
    if (at.warm) {
      __syncwarp();  // Before the place of the step is written over.
      o_buffer ^= 1;
      return;
    }
    proxy_fence();  // The state warps wrote the tile by ordinary stores.
    const bool by_tma = F::kStraight || plan.tma_o;
    if (by_tma && at.valid == kStep) {
      if (elect()) {
        tma_store(&maps.o, at.token, at.half, at.head, at.batch, s.o[o_buffer]);
        tma_store_commit();
      }
    } else {
      bf16 *const to = p.o.at<bf16>(at.batch, at.token, at.head) + at.half * kHalf;
      if (by_tma) {
        for (int i = lane; i < at.valid * 8 * F::kGroups; i += 32) {
          const int r = i / (8 * F::kGroups), group = (i >> 3) % F::kGroups, c = i & 7;
          auto *const out =
              reinterpret_cast<uint4 *>(to + r * p.o.stride[1] + group * kHalf + c * 8);
          *out = *reinterpret_cast<const uint4 *>(
              &s.o[o_buffer][group][r * kHalf + (c ^ swizzle128(r) / 8) * 8]);
        }
      } else {
        store_rows<F::kGroups>(to, p.o.stride[1], s.o[o_buffer][0], at.valid, opaque(lane));
      }
    }
    __syncwarp();
    o_buffer ^= 1;
  }

  /// V of a step into a place of its ring; `full` waits for it where the copy engine brings it,
  /// else this warp's next arrival there covers it.
  __device__ __forceinline__ void load_v(const StepPlace &at, int place, uint64_t *full) {
    if (F::kStraight || plan.tma_v) {
      if (elect()) {
        expect(full, F::kGroups * kStep * 128);
        tma_load(s.v[place], &maps.v, at.token, at.half, at.head, at.batch, full);
      }
    } else {
      load_rows<F::kGroups>(s.v[place], kTileHalf,
                            p.v.at<const bf16>(at.batch, at.token, at.head) + at.half * kHalf,
                            p.v.stride[1], at.valid, opaque(lane));
    }
    __syncwarp();
  }

  /// Place and raw gates of a step.
  __device__ __forceinline__ void load_gates(const StepPlace &at, bool first) {
    StepGates &g = s.gates[tile.i];
    if (elect()) {
      g.valid = at.valid;
      g.token = at.token;
      g.head = at.head;
      g.batch = at.batch;
      g.half = at.half;
      g.first = first ? 1 : 0;
      if constexpr (F::kWarm) g.warm = at.warm ? 1 : 0;
      if (F::kStraight || plan.tma_gates) {
        uint64_t *const full = &s.raw_full[tile.i];
        arrive_expect(full, 2 * kStep * 16);
        tma_load_gates(s.raw[tile.i][0], &maps.g, at.head & ~3, at.token, at.batch, full);
        tma_load_gates(s.raw[tile.i][1], &maps.beta, at.head & ~3, at.token, at.batch, full);
      } else {
        arrive(&s.raw_full[tile.i]);
      }
    }
  }

  __device__ __forceinline__ void load_kq(const StepPlace &at, int key_head) {
    bf16 *const kq = s.kq[tile.i];
    // Under l2norm the gate warp wants the tile before the products do.
    uint64_t *const full = p.qk_l2norm ? &s.tile_full[tile.i] : &s.kq_full[tile.i];
    if (F::kStraight || plan.tma_qk) {
      if (elect()) {
        arrive_expect(full, 4 * kStep * 128);
        tma_load(kq, &maps.k, at.token, 0, key_head, at.batch, full);
        tma_load(kq + Shared<F>::kKqHalf, &maps.k, at.token, 1, key_head, at.batch, full);
        tma_load(kq + kTileHalf, &maps.q, at.token, 0, key_head, at.batch, full);
        tma_load(kq + Shared<F>::kKqHalf + kTileHalf, &maps.q, at.token, 1, key_head, at.batch,
                 full);
        if (p.qk_l2norm) arrive(&s.kq_full[tile.i]);
      } else if (kEveryLaneArrives) {
        arrive(full);
        if (p.qk_l2norm) arrive(&s.kq_full[tile.i]);
      }
    } else {
      load_rows<2>(kq, Shared<F>::kKqHalf, p.k.at<const bf16>(at.batch, at.token, key_head),
                   p.k.stride[1], at.valid, opaque(lane));
      load_rows<2>(kq + kTileHalf, Shared<F>::kKqHalf,
                   p.q.at<const bf16>(at.batch, at.token, key_head), p.q.stride[1], at.valid,
                   opaque(lane));
      proxy_fence();
      __syncwarp();
      if (kEveryLaneArrives || elect()) {
        arrive(full);
        if (p.qk_l2norm) arrive(&s.kq_full[tile.i]);
      }
    }
    __syncwarp();
  }

  /// The work of one warp.
  __device__ __forceinline__ void run() {
    // V follows K and Q by kBehind steps, so that its place is that of a step whose O has been
    // stored. The room for O of a step is that of the step two before.
    constexpr int kTiles = F::kTiles;
    constexpr int kBehind = kTiles - F::kInputs - 1, kRoom = kTiles - 2;
    int value = 0, value_gates = 0, o_gates = 0;
    Ring<F::kAhead> v_ready;
    const auto store = [&] {
      store_o(place_of(o_gates));
      if (++o_gates == kTiles) o_gates = 0;
    };
    // V of step m belongs to what the step before it waits for, since the state asks for both at
    // once; that of the very first, to its own.
    const auto bring_v = [&](int m) {
      // V of a sequence's first step is read after the step before it is done.
      const int last = m - F::kInputs;
      if (last >= 0 && s.gates[last % kTiles].first != 0) wait_done(s, last);
      load_v(place_of(value_gates), value, &s.ready[v_ready.i]);
      if (++value == F::kInputs) value = 0;
      if (m > 0) v_ready.next();
      if (++value_gates == kTiles) value_gates = 0;
    };
    Walk<F> walk;
    bool live = walk.open(p, plan, s);
    int n = 0;
    while (live) {
      const StepPlace at = place_of(walk);
      const int key_head = walk.key_head;
      const bool first = walk.step == 0;
      live = walk.next(p, plan, s);
      wait(&s.done[tile.i], tile.phase ^ 1);
      if (n >= kTiles) store();
      load_gates(at, first);
      load_kq(at, key_head);
      tile.next();
      ++n;
      if (n > kBehind) bring_v(n - kBehind - 1);
      if (n > kRoom) give(n > kTiles);
    }
    for (int i = n; i < n + kTiles; ++i) {
      if (i >= kTiles) {
        wait(&s.done[o_gates], ((i - kTiles) / kTiles) & 1);
        store();
      }
      if (i >= kBehind && i - kBehind < n) bring_v(i - kBehind);
      if (i >= kRoom) give(i >= kTiles);
    }
    if (elect()) tma_store_wait();
  }

  // The same by three warps, where a step is shorter than the work of one.

  __device__ __forceinline__ void run_tiles() {
    Walk<F> walk;
    for (bool live = walk.open(p, plan, s); live; live = walk.next(p, plan, s)) {
      const StepPlace at = place_of(walk);
      wait(&s.done[tile.i], tile.phase ^ 1);
      load_gates(at, walk.step == 0);
      load_kq(at, walk.key_head);
      tile.next();
    }
  }

  /// V of a step belongs to what the step before it waits for, that of the very first to its own.
  __device__ __forceinline__ void run_values() {
    static_assert(F::kAhead + 1 >= F::kInputs);  // What V's place was waited for is over.
    int place = 0, n = 0;
    Ring<F::kAhead> ready;
    Walk<F> walk;
    for (bool live = walk.open(p, plan, s); live; live = walk.next(p, plan, s), ++n) {
      if (n >= F::kInputs) {
        wait(&s.done[tile.i], tile.phase);
        tile.next();
      }
      load_v(place_of(walk), place, &s.ready[ready.i]);
      if (n > 0) {
        arrive_warp(elect(), &s.ready[ready.i]);
        ready.next();
      }
      if (++place == F::kInputs) place = 0;
    }
    if (n > 0) arrive_warp(elect(), &s.ready[ready.i]);
  }

  __device__ __forceinline__ void run_stores() {
    Walk<F> walk;
    give(false);
    give(false);
    for (bool live = walk.open(p, plan, s); live; live = walk.next(p, plan, s)) {
      const StepPlace at = place_of(walk);
      wait(&s.done[tile.i], tile.phase);
      store_o(at);
      give(true);
      tile.next();
    }
    if (elect()) tma_store_wait();
  }
};

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_LOAD_WARP_CUH_
