#include "cuda/sm80/chunk_fwd_h_c64.h"
#include "cuda/sm80/device/gain.cuh"
#include "cuda/sm80/device/stage.cuh"
#include "cuda/sm80/device/state.cuh"
#include "cuda/sm80/kernels.h"

// The chain of states. A block owns a sequence, a value head and up to 128 value columns; each warp
// keeps S^T for 16 columns in registers, as in the fused kernel. A chunk takes two passes over
// tiles of 32 tokens: V' = u - w S for all of them (kept where u was), then S <- e^{c_last} S + K^T
// V'. The tiles of w and k go through one ring of three, filled two tiles ahead.

namespace gdn::cuda::sm80 {
namespace {

constexpr int kTile = 32;
constexpr int kRing = 3;

struct StatePlan {
  int warps;
  int column_blocks;
  int piece_k, piece_w, piece_u, piece_v;  ///< Bytes that rows move in.
};

template <class E>
size_t shared_bytes(int key_dim, int columns, int chunk) {
  const int rows = chunk < kTile ? kTile : chunk;
  return static_cast<size_t>(kRing * kTile * padded<E>(whole_tiles(key_dim)) +
                             2 * rows * padded<E>(columns)) *
             sizeof(E) +
         2 * kMaxChunk * sizeof(float);
}

/// Walks the tiles of a sequence: per chunk its tiles of w, then its tiles of k.
struct TileWalk {
  int64_t length;
  int chunk, step;
  int64_t chunk_begin = 0;  ///< Of the current chunk, from the sequence's begin.
  int tile = 0;
  bool second = false;

  __device__ __forceinline__ int chunk_length() const {
    return static_cast<int>(min(static_cast<int64_t>(chunk), length - chunk_begin));
  }
  __device__ __forceinline__ bool done() const { return chunk_begin >= length; }
  __device__ __forceinline__ int valid() const { return min(step, chunk_length() - tile * step); }
  __device__ __forceinline__ int64_t token() const { return chunk_begin + tile * step; }
  __device__ __forceinline__ bool last_of_chunk() const {
    return second && (tile + 1) * step >= chunk_length();
  }
  __device__ __forceinline__ void next() {
    if ((tile + 1) * step < chunk_length()) {
      ++tile;
    } else {
      tile = 0;
      if (second) chunk_begin += chunk;
      second = !second;
    }
  }
};

/// kWhole: DK and DV are multiples of 16, and every row starts on 16 bytes. All else takes more
/// registers.
template <class E, int kKeyDim, bool kWhole>
__global__ void __launch_bounds__(kStageThreads, kWhole &&kKeyDim == 128 && sizeof(E) == 2 ? 2 : 1)
    state_kernel(const __grid_constant__ ChunkFwdH p, const __grid_constant__ StatePlan plan) {
  extern __shared__ __align__(16) unsigned char memory[];
  const int warp = threadIdx.x >> 5, threads = plan.warps * 32;
  const int key_dim = static_cast<int>(p.key_dim), chunk = static_cast<int>(p.chunk_size);
  auto [column, columns, n, h, hk, span, index] =
      chain_item(p, plan.warps, plan.column_blocks, chunk, fresh_lane());

  const int ld = padded<E>(whole_tiles(key_dim)), ldv = padded<E>(plan.warps * 16);
  const int rows = max(chunk, kTile);
  E *const ring = reinterpret_cast<E *>(memory);
  E *const values = ring + kRing * kTile * ld;
  float *const decays = reinterpret_cast<float *>(values + 2 * rows * ldv);

  const bool is_state = warp * 16 < columns;
  const int own_column = column + warp * 16;
  constexpr int kFragments = kKeyDim / 8;
  float state[kFragments][4];
#pragma unroll
  for (int j = 0; j < kFragments; ++j) state[j][0] = state[j][1] = state[j][2] = state[j][3] = 0.0F;
  if (is_state && p.initial_state.present()) {
    load_state<kWhole>(state, p.initial_state, n, h, key_dim, own_column, fresh_lane());
  }

  TileWalk ahead{span.length, chunk, min(chunk, kTile)};
  int filled = 0, fill_chunk = 0;
  const auto fill = [&]() {
    if (!ahead.done()) {
      const int thread = sizeof(E) == 2 ? fresh_thread() : threadIdx.x;  // Fewest registers.
      const int64_t t = span.begin + ahead.token();
      const int valid = ahead.valid();
      const Tensor &operand = ahead.second ? p.k : p.w;
      load_tile<kWhole>(ring + filled * kTile * ld, ld,
                        operand.at<const E>(span.batch, t, ahead.second ? hk : h),
                        operand.stride[1], kTile, valid, key_dim,
                        ahead.second ? plan.piece_k : plan.piece_w, thread, threads);
      if (!ahead.second) {
        E *const u = values + ((fill_chunk & 1) * rows + ahead.tile * kTile) * ldv;
        load_tile<kWhole>(u, ldv, p.u.at<const E>(span.batch, t, h, column), p.u.stride[1], kTile,
                          valid, columns, plan.piece_u, thread, threads);
        if (ahead.tile == 0) {
          const ChunkPlace place = {n, span.batch, t, ahead.chunk_length()};
          load_cumsum(decays + (fill_chunk & 1) * kMaxChunk, p.g_cumsum, place, h, chunk, thread,
                      threads);
        }
      }
      if (ahead.last_of_chunk()) ++fill_chunk;
      ahead.next();
    }
    copy_commit();
    filled = filled + 1 == kRing ? 0 : filled + 1;
  };

  TileWalk walk = ahead;
  for (int i = 0; i + 1 < kRing; ++i) fill();
  int used = 0, at_chunk = 0;
  while (!walk.done()) {
    copy_wait<kRing - 2>();
    __syncthreads();
    fill();
    if (is_state) {
      const int lane = fresh_lane();
      const E *const tile = ring + used * kTile * ld;
      E *const v = values + ((at_chunk & 1) * rows + walk.tile * kTile) * ldv + warp * 16;
      const float *const c = decays + (at_chunk & 1) * kMaxChunk;
      if (!walk.second) {
        if (walk.tile == 0) store_state<kWhole>(p.h, state, index, h, key_dim, own_column, lane);
        float u[4][4] = {};
#pragma unroll
        for (int j = 0; j < kFragments; j += 2) {
          if (j * 8 < key_dim) {
            LeftTile<E> a;
            left_from_accumulators(a, state[j], state[j + 1]);
            multiply_add<Right::n_major>(u[0], u[1], a, tile + j * 8, ld, lane);
            multiply_add<Right::n_major>(u[2], u[3], a, tile + 16 * ld + j * 8, ld, lane);
          }
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float x[2][4];
          accumulators_from_transposed(x[0], x[1], v + half * 16 * ldv, ldv, lane);
          __syncwarp();
#pragma unroll
          for (int j = 0; j < 2; ++j) {
#pragma unroll
            for (int e = 0; e < 4; ++e) x[j][e] -= u[2 * half + j][e];
            store_transposed<E>(v + (half * 16 + j * 8) * ldv, ldv, x[j], lane);
          }
        }
        __syncwarp();
        store_tile<kWhole>(p.v_new.at<E>(span.batch, span.begin + walk.token(), h, own_column),
                           p.v_new.stride[1], v, ldv, walk.valid(),
                           kWhole ? 16 : min(16, columns - warp * 16), plan.piece_v, lane, 32);
      } else {
        const float last = c[walk.chunk_length() - 1];
        if (walk.tile == 0) {
          scale_all(state, decay_of(last));
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float x[2][4];
          accumulators_from_transposed(x[0], x[1], v + half * 16 * ldv, ldv, lane);
#pragma unroll
          for (int j = 0; j < 2; ++j) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
              const int t = half * 16 + j * 8 + (lane & 3) * 2 + (e & 1);
              x[j][e] *= t < walk.valid() ? decay_of(last - c[walk.tile * kTile + t]) : 0.0F;
            }
          }
          float gain = 1.0F;
          if constexpr (kNarrowRange<E>) {
            gain = warp_gain(largest(0.0F, x));
            if (gain > 1.0F) scale_all(x, gain), scale_all(state, gain);
          }
          LeftTile<E> left;
          left_from_accumulators(left, x[0], x[1]);
#pragma unroll
          for (int j = 0; j < kFragments; j += 2) {
            if (j * 8 < key_dim) {
              multiply_add<Right::k_major>(state[j], state[j + 1], left,
                                           tile + half * 16 * ld + j * 8, ld, lane);
            }
          }
          if (kNarrowRange<E> && gain > 1.0F) scale_all(state, inverse_of_power(gain));
        }
      }
    }
    if (walk.last_of_chunk()) ++at_chunk, ++index;
    walk.next();
    used = used + 1 == kRing ? 0 : used + 1;
  }
  if (is_state && p.final_state.present()) {
    store_state<kWhole>(p.final_state, state, n, h, key_dim, own_column, fresh_lane());
  }
}

template <class E, int kKeyDim>
Status launch_state(const ChunkFwdH &p, const Launch &l) {
  StatePlan plan;
  const int key_dim = static_cast<int>(p.key_dim), chunk = static_cast<int>(p.chunk_size);
  const int tiles = whole_tiles(static_cast<int>(p.value_dim)) / 16;
  plan.warps = tiles < kStageWarps ? tiles : kStageWarps;
  const auto limit = static_cast<size_t>(l.device->shared_memory);
  while (plan.warps > 1 && shared_bytes<E>(key_dim, plan.warps * 16, chunk) > limit) {
    plan.warps = (plan.warps + 1) / 2;
  }
  plan.column_blocks = (tiles + plan.warps - 1) / plan.warps;
  plan.piece_k = row_piece(p.k);
  plan.piece_w = row_piece(p.w);
  plan.piece_u = row_piece(p.u);
  plan.piece_v = row_piece(p.v_new);
  const bool whole = p.key_dim % 16 == 0 && p.value_dim % 16 == 0 &&
                     plan.piece_k + plan.piece_w + plan.piece_u + plan.piece_v == 4 * 16;
  const auto launch_as = [&](auto constant) {
    return launch<state_kernel<E, kKeyDim, constant>>(
        "chunk_fwd_h", l, p.sequences.count * p.heads.value_heads * plan.column_blocks,
        plan.warps * 32, shared_bytes<E>(key_dim, plan.warps * 16, chunk), p, plan);
  };
  return whole ? launch_as(std::true_type()) : launch_as(std::false_type());
}

}  // namespace

Status chunk_fwd_h(const ChunkFwdH &p, const Launch &l) {
  if (chunk_fwd_h_c64_applies(p, l)) return chunk_fwd_h_c64(p, l);
  return for_type(p.k.dtype, [&](auto e) {
    using E = decltype(e);
    return p.key_dim <= 128 ? launch_state<E, 128>(p, l) : launch_state<E, 256>(p, l);
  });
}

}  // namespace gdn::cuda::sm80
