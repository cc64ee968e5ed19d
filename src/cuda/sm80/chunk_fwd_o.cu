#include "cuda/sm80/device/half_pieces.cuh"
#include "cuda/sm80/device/stage.cuh"
#include "cuda/sm80/kernels.h"

// A block takes a chunk and value heads of one key head; a warp owns 16 tokens. Q K^T is formed
// once and stays in registers. For each head, and up to 128 value columns at a time,
//
//     O = scale diag(e^c) Q h + P V',   P = tril(scale e^{c_i - c_j} Q K^T)
//
// h of the next head is on its way while P V' is formed, V' of the next head while Q h is.

namespace gdn::cuda::sm80 {
namespace {

struct OutputPlan {
  int piece_q, piece_k, piece_v, piece_h, piece_o;  ///< Bytes that rows move in.
  bool keys_first;                                  ///< h has DK contiguous (V first).
  int heads, parts;  ///< Value heads of a group that a block takes, and blocks of a group.
};

template <class E>
size_t shared_bytes(int chunk) {
  return static_cast<size_t>(2 * chunk + kPanel<E>) * padded<E>(kPanel<E>) * sizeof(E);
}

/// A [rows, columns] block of h into a tile of E: its unit-stride dimension along the tile's rows.
/// Zeros up to whole tiles both ways. Rows::halves: h is of E.
template <Rows kRows, class E>
__device__ __forceinline__ void load_h(E *tile, int ld, const Tensor &h, int64_t base,
                                       int64_t row_stride, int rows, int columns, int piece,
                                       int threads) {
  const int all_rows = whole_tiles(rows), all_columns = whole_tiles(columns);
  if (kRows == Rows::halves || h.dtype == dtype_of<E>()) {
    load_rows<kRows>(tile, ld, static_cast<const E *>(h.data) + base, row_stride, all_rows, rows,
                     columns, piece, fresh_thread(), threads);
    return;
  }
  if constexpr (kRows != Rows::halves) {
#pragma unroll 1
    for (int i = threadIdx.x; i < all_rows * all_columns; i += threads) {
      const int r = i / all_columns, c = i - r * all_columns;
      const bool in = r < rows && c < columns;
      tile[r * ld + c] = from_float<E>(in ? load_any(h, base + r * row_stride + c) : 0.0F);
    }
  }
}

/// o += q h for a warp's 16 rows of q and a panel of h; columns past the panel's width are
/// multiplied too, whatever the tile holds there.
template <Right kLayout, class E>
__device__ __forceinline__ void multiply_state(float (&o)[kPanel<E> / 16][2][4], const E *q,
                                               const E *state, int rows, int lane) {
  constexpr int kLd = padded<E>(kPanel<E>);
#pragma unroll 2
  for (int d = 0; d < rows; d += 16) {
    LeftTile<E> a;
    left_from_shared(a, q + d, kLd, lane);
#pragma unroll
    for (int n = 0; n < kPanel<E> / 16; ++n) {
      const E *right =
          kLayout == Right::n_major ? state + n * 16 * kLd + d : state + d * kLd + n * 16;
      multiply_add<kLayout>(o[n][0], o[n][1], a, right, kLd, lane);
    }
  }
}

/// o += P V' for a warp's 16 rows and a panel of V'. P = tril(scale e^{c_i - c_j} Q K^T) is made of
/// the products as it is multiplied.
template <class E, int kTiles>
__device__ __forceinline__ void multiply_values(float (&o)[kPanel<E> / 16][2][4],
                                                const float (&products)[kTiles][2][4],
                                                const E *values, const float *c, float scale,
                                                int row, int length, int lane) {
  constexpr int kLd = padded<E>(kPanel<E>);
  const int r = row * 16 + (lane >> 2), n0 = (lane & 3) * 2;
  const float from_start[2] = {c[r], c[r + 8]};
#pragma unroll
  for (int k = 0; k < kTiles; ++k) {
    if (k > row) continue;
    float s[2][4];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float2 to = *reinterpret_cast<const float2 *>(c + k * 16 + j * 8 + n0);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int i = r + (e >> 1) * 8, column = k * 16 + j * 8 + n0 + (e & 1);
        const float decay = decay_of(from_start[e >> 1] - ((e & 1) != 0 ? to.y : to.x));
        s[j][e] = i >= column && i < length ? scale * decay * products[k][j][e] : 0.0F;
      }
    }
    LeftTile<E> a;
    left_from_accumulators(a, s[0], s[1]);
#pragma unroll
    for (int n = 0; n < kPanel<E> / 16; ++n) {
      multiply_add<Right::k_major>(o[n][0], o[n][1], a, values + k * 16 * kLd + n * 16, kLd, lane);
    }
  }
}

/// A panel of value columns of one of a block's value heads.
struct OutputStep {
  int head, panel;  ///< Of the key head's group; first column.

  __device__ __forceinline__ OutputStep next(int panel_width, int value_dim) const {
    if (panel + panel_width < value_dim) return {head, panel + panel_width};
    return {head + 1, 0};
  }
};

template <class E, int kTiles, Rows kRows>
__global__ void __launch_bounds__(kTiles * 32, kTiles == 4 && sizeof(E) == 2 ? 3 : 1)
    output_kernel(const __grid_constant__ ChunkFwdO p, const __grid_constant__ OutputPlan plan) {
  extern __shared__ __align__(16) unsigned char memory[];
  constexpr int kChunk = kTiles * 16, kThreads = kTiles * 32;
  constexpr int kLd = padded<E>(kPanel<E>);
  constexpr bool kOnePanel = kRows == Rows::halves;
  __shared__ __align__(16) float decays[2][kChunk];
  const int lane = threadIdx.x & 31, row = threadIdx.x >> 5;
  const int key_dim = static_cast<int>(p.key_dim), value_dim = static_cast<int>(p.value_dim);
  const auto blocks_of_chunk = static_cast<unsigned>(p.heads.key_heads) * plan.parts;
  const unsigned index = blockIdx.x / blocks_of_chunk, part = blockIdx.x - index * blocks_of_chunk;
  const auto hk = static_cast<int>(part / plan.parts);
  const ChunkPlace place = find_chunk(p.sequences, kChunk, index, lane);
  if (place.length == 0 || index >= p.h.shape[0]) return;
  const int first = static_cast<int>(part % plan.parts) * plan.heads;
  const int last = min(first + plan.heads, static_cast<int>(p.heads.group()));
  E *const q = reinterpret_cast<E *>(memory);
  E *const kv = q + kChunk * kLd;
  E *const state = kv + kChunk * kLd;
  E *const own_q = q + row * 16 * kLd, *const own_v = kv + row * 16 * kLd;
  const int own_rows = rows_inside(row, place.length);

  const auto load_keys = [&](E *tile, const Tensor &t, int panel, int piece) {
    load_rows<kRows>(tile, kLd, t.at<const E>(place.batch, place.begin, hk, panel), t.stride[1],
                     kChunk, place.length, min(kPanel<E>, key_dim - panel), piece, threadIdx.x,
                     kThreads);
  };
  // A warp brings its own 16 rows of V', which it has written rows of O over before.
  const auto load_values = [&](const OutputStep &at) {
    const int64_t h = p.heads.value_head(hk, at.head);
    load_rows<kRows>(
        own_v, kLd,
        p.v_new.at<const E>(place.batch, place.begin + (own_rows > 0 ? row * 16 : 0), h, at.panel),
        p.v_new.stride[1], 16, own_rows, min(kPanel<E>, value_dim - at.panel), plan.piece_v,
        fresh_lane(), 32);
  };
  const auto load_state = [&](const OutputStep &at, int first_key) {
    const int64_t h = p.heads.value_head(hk, at.head);
    const int rows = min(kPanel<E>, key_dim - first_key),
              columns = min(kPanel<E>, value_dim - at.panel);
    const bool turned = plan.keys_first;
    load_h<kRows>(state, kLd, p.h, p.h.offset(index, h, first_key, at.panel),
                  p.h.stride[turned ? 3 : 2], turned ? columns : rows, turned ? rows : columns,
                  plan.piece_h, kThreads);
  };
  const auto load_decays = [&](const OutputStep &at) {
    if (at.panel > 0 || !p.g_cumsum.present()) return;
    const int64_t h = p.heads.value_head(hk, at.head);
    const int i = fresh_thread();
    if (i >= kChunk) return;
    const bool in = i < place.length;
    copy_async<4>(&decays[at.head & 1][i],
                  p.g_cumsum.at<const float>(place.batch, place.begin + (in ? i : 0), h),
                  in ? 4 : 0);
  };

  OutputStep at = {first, 0};
  const bool whole_keys =
      kOnePanel || key_dim <= kPanel<E>;  // Else each step brings q and h panel by panel.
  float products[kTiles][2][4] = {};
  for (int panel = 0; panel < (kOnePanel ? 1 : key_dim); panel += kPanel<E>) {
    if (panel > 0) __syncthreads();
    load_keys(q, p.q, panel, plan.piece_q);
    load_keys(kv, p.k, panel, plan.piece_k);
    copy_commit();
    if (panel == 0) {
      if (whole_keys) load_state(at, 0);
      load_decays(at);
      copy_commit();
      if (!p.g_cumsum.present()) {
        for (int i = threadIdx.x; i < 2 * kChunk; i += kThreads) decays[i / kChunk][i % kChunk] = 0;
      }
      copy_wait<1>();
    } else {
      copy_wait<0>();
    }
    __syncthreads();
    multiply_triangle_row(products, q, kv, kLd, min(kPanel<E>, key_dim - panel), row, lane);
  }
  __syncthreads();
  load_values(at);
  copy_commit();

  while (at.head < last) {
    const OutputStep next = at.next(kPanel<E>, kOnePanel ? 0 : value_dim);
    float o[kPanel<E> / 16][2][4] = {};
    for (int first_key = 0; first_key < (kOnePanel ? 1 : key_dim); first_key += kPanel<E>) {
      if (whole_keys) {
        copy_wait<1>();  // All but V'.
      } else {
        __syncthreads();
        load_keys(q, p.q, first_key, plan.piece_q);
        load_state(at, first_key);
        copy_commit();
        copy_wait<0>();
      }
      __syncthreads();
      const int rows = min(kPanel<E>, key_dim - first_key);
      if (plan.keys_first) {
        multiply_state<Right::n_major>(o, own_q, state, rows, lane);
      } else {
        multiply_state<Right::k_major>(o, own_q, state, rows, lane);
      }
    }
    const float *const c = decays[at.head & 1] + row * 16 + (lane >> 2);
    const float decay[2] = {p.scale * decay_of(c[0]), p.scale * decay_of(c[8])};
#pragma unroll
    for (int n = 0; n < kPanel<E> / 16; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) o[n][0][e] *= decay[e >> 1], o[n][1][e] *= decay[e >> 1];
    }
    copy_wait<0>();
    __syncthreads();
    if (next.head < last) {
      if (whole_keys) load_state(next, 0);
      load_decays(next);
    }
    copy_commit();
    multiply_values<E, kTiles>(o, products, kv, decays[at.head & 1], p.scale, row, place.length,
                               lane);
    // Rows of O leave over the warp's own rows of V', or of Q where no step follows.
    E *const own = next.head < last ? own_v : own_q;
    if (next.head < last) __syncthreads();
#pragma unroll
    for (int n = 0; n < kPanel<E> / 16; ++n) store_unit<E>(own + n * 16, kLd, o[n], lane);
    __syncwarp();
    if (own_rows > 0) {
      const int64_t h = p.heads.value_head(hk, at.head);
      store_rows<kRows>(p.o.at<E>(place.batch, place.begin + row * 16, h, at.panel), p.o.stride[1],
                        own, kLd, own_rows, min(kPanel<E>, value_dim - at.panel), plan.piece_o,
                        fresh_lane(), 32);
    }
    if (next.head < last) {
      __syncwarp();
      load_values(next);
    }
    copy_commit();
    at = next;
  }
}

/// How many value heads of a group a block takes: all of them where there are blocks enough to keep
/// the device busy.
void share_heads(OutputPlan &plan, const ChunkFwdO &p, int64_t chunks, int multiprocessors) {
  constexpr int64_t kBlocksEach = 12;  // Three reside at a time.
  const int64_t group = p.heads.group(), wanted = multiprocessors * kBlocksEach;
  int64_t heads = group;
  while (heads > 1 && chunks * p.heads.key_heads * ((group + heads - 1) / heads) < wanted) {
    heads = (heads + 1) / 2;
  }
  plan.heads = static_cast<int>(heads);
  plan.parts = static_cast<int>((group + heads - 1) / heads);
}

}  // namespace

Status chunk_fwd_o(const ChunkFwdO &p, const Launch &l) {
  OutputPlan plan;
  plan.piece_q = row_piece(p.q);
  plan.piece_k = row_piece(p.k);
  plan.piece_v = row_piece(p.v_new);
  plan.piece_o = row_piece(p.o);
  plan.keys_first = p.h.stride[3] != 1;
  Tensor rows = p.h;
  if (plan.keys_first) {
    rows.shape[2] = p.h.shape[3], rows.shape[3] = p.h.shape[2];
    rows.stride[2] = p.h.stride[3], rows.stride[3] = p.h.stride[2];
  }
  plan.piece_h = row_piece(rows);
  const int64_t chunks = max_chunks(p.sequences, p.chunk_size);
  share_heads(plan, p, chunks, l.device->multiprocessors);
  const int64_t blocks = chunks * p.heads.key_heads * plan.parts;
  return for_type(p.q.dtype, [&](auto e) {
    using E = decltype(e);
    const size_t shared = shared_bytes<E>(static_cast<int>(p.chunk_size));
    return for_tiles(p.chunk_size, [&](auto tiles) {
      const auto launch_as = [&](auto rows) {
        return launch<output_kernel<E, tiles, rows>>("chunk_fwd_o", l, blocks, tiles * 32, shared,
                                                     p, plan);
      };
      if constexpr (tiles == 4 && sizeof(E) == 2) {
        if (p.h.dtype == p.q.dtype && p.key_dim <= kPanel<E> && p.value_dim <= kPanel<E> &&
            fit_half_pieces<E>(p.key_dim, p.value_dim, plan.piece_q, plan.piece_k, plan.piece_v,
                               plan.piece_h, plan.piece_o)) {
          return launch_as(std::integral_constant<Rows, Rows::halves>());
        }
      }
      return launch_as(std::integral_constant<Rows, Rows::any>());
    });
  });
}

}  // namespace gdn::cuda::sm80
