#include "cuda/sm80/device/stage.cuh"
#include "cuda/sm80/kernels.h"

// A block takes a chunk and a value head; a warp owns 16 tokens. P = tril(Q K^T e^{c_i - c_j})
// stays in its registers, O = scale (diag(e^c) Q S0 + P V') follows for up to 128 value columns at
// a time. Q, K and h are fetched together; V' takes K's place and arrives while Q S0 is formed.

namespace gdn::cuda::sm80 {
namespace {

struct OutputPlan {
  int piece_q, piece_k, piece_v, piece_h, piece_o;  ///< Bytes that rows move in.
  bool keys_first;                                  ///< h has DK contiguous (V first).
};

template <class E>
size_t shared_bytes(int chunk) {
  return static_cast<size_t>(2 * chunk + kPanel<E>) * padded<E>(kPanel<E>) * sizeof(E);
}

/// A [rows, columns] block of h into a tile of E: its unit-stride dimension along the tile's rows.
/// Zeros up to whole tiles both ways.
template <class E>
__device__ __forceinline__ void load_h(E *tile, int ld, const Tensor &h, int64_t base,
                                       int64_t row_stride, int rows, int columns, int piece,
                                       int threads) {
  const int all_rows = whole_tiles(rows), all_columns = whole_tiles(columns);
  if (h.dtype == dtype_of<E>()) {
    load_tile(tile, ld, static_cast<const E *>(h.data) + base, row_stride, all_rows, rows, columns,
              piece, threadIdx.x, threads);
    return;
  }
  for (int i = threadIdx.x; i < all_rows * all_columns; i += threads) {
    const int r = i / all_columns, c = i - r * all_columns;
    const bool in = r < rows && c < columns;
    tile[r * ld + c] = from_float<E>(in ? load_any(h, base + r * row_stride + c) : 0.0F);
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

template <class E, int kTiles>
__global__ void __launch_bounds__(kTiles * 32, kTiles == 4 && sizeof(E) == 2 ? 3 : 1)
    output_kernel(const __grid_constant__ ChunkFwdO p, const __grid_constant__ OutputPlan plan) {
  extern __shared__ __align__(16) unsigned char memory[];
  constexpr int kChunk = kTiles * 16, kThreads = kTiles * 32;
  constexpr int kLd = padded<E>(kPanel<E>);
  __shared__ __align__(16) float c[kChunk];
  const int lane = threadIdx.x & 31, row = threadIdx.x >> 5;
  const int key_dim = static_cast<int>(p.key_dim), value_dim = static_cast<int>(p.value_dim);
  const int64_t heads = p.heads.value_heads, h = blockIdx.x % heads, index = blockIdx.x / heads;
  const int64_t hk = p.heads.key_head(h);
  const ChunkPlace place = find_chunk(p.sequences, kChunk, index, lane);
  if (place.length == 0 || index >= p.h.shape[0]) return;
  E *const q = reinterpret_cast<E *>(memory);  // A warp's rows later hold its rows of O.
  E *const kv = q + kChunk * kLd;
  E *const state = kv + kChunk * kLd;
  E *const own = q + row * 16 * kLd;

  const auto load_rows = [&](E *tile, const Tensor &t, int64_t head, int panel, int width,
                             int piece) {
    load_tile(tile, kLd, t.at<const E>(place.batch, place.begin, head, panel), t.stride[1], kChunk,
              place.length, min(kPanel<E>, width - panel), piece, threadIdx.x, kThreads);
  };
  const auto load_state = [&](int first_key, int panel) {
    const int rows = min(kPanel<E>, key_dim - first_key),
              columns = min(kPanel<E>, value_dim - panel);
    const int64_t base = p.h.offset(index, h, first_key, panel);
    if (plan.keys_first) {
      load_h(state, kLd, p.h, base, p.h.stride[3], columns, rows, plan.piece_h, kThreads);
    } else {
      load_h(state, kLd, p.h, base, p.h.stride[2], rows, columns, plan.piece_h, kThreads);
    }
  };

  float s[kTiles][2][4] = {};
  for (int panel = 0; panel < key_dim; panel += kPanel<E>) {
    if (panel > 0) __syncthreads();
    load_rows(q, p.q, hk, panel, key_dim, plan.piece_q);
    load_rows(kv, p.k, hk, panel, key_dim, plan.piece_k);
    copy_commit();
    if (panel == 0) {
      load_state(0, 0);
      copy_commit();
      load_cumsum(c, p.g_cumsum, place, h, kChunk, threadIdx.x, kThreads);
      copy_wait<1>();
    } else {
      copy_wait<0>();
    }
    __syncthreads();
    multiply_triangle_row(s, q, kv, kLd, min(kPanel<E>, key_dim - panel), row, lane);
  }
  const int r = row * 16 + (lane >> 2), n0 = (lane & 3) * 2;
  const float from_start[2] = {c[r], c[r + 8]};
#pragma unroll
  for (int n = 0; n < kTiles; ++n) {
    if (n > row) continue;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float2 to = *reinterpret_cast<const float2 *>(c + n * 16 + j * 8 + n0);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int i = r + (e >> 1) * 8, column = n * 16 + j * 8 + n0 + (e & 1);
        const float decay = decay_of(from_start[e >> 1] - ((e & 1) != 0 ? to.y : to.x));
        s[n][j][e] = i >= column && i < place.length ? p.scale * decay * s[n][j][e] : 0.0F;
      }
    }
  }
  __syncthreads();
  load_rows(kv, p.v_new, h, 0, value_dim, plan.piece_v);
  copy_commit();

  for (int panel = 0; panel < value_dim; panel += kPanel<E>) {
    float o[kPanel<E> / 16][2][4] = {};
    for (int first_key = 0; first_key < key_dim; first_key += kPanel<E>) {
      if (panel > 0 || key_dim > kPanel<E>) {  // Else what came first serves.
        __syncthreads();
        load_rows(q, p.q, hk, first_key, key_dim, plan.piece_q);
        if (panel > 0 || first_key > 0) load_state(first_key, panel);
        if (panel > 0 && first_key == 0) load_rows(kv, p.v_new, h, panel, value_dim, plan.piece_v);
        copy_commit();
        copy_wait<0>();
      } else {
        copy_wait<1>();
      }
      __syncthreads();
      const int rows = min(kPanel<E>, key_dim - first_key);
      if (plan.keys_first) {
        multiply_state<Right::n_major>(o, own, state, rows, lane);
      } else {
        multiply_state<Right::k_major>(o, own, state, rows, lane);
      }
    }
    const float decay[2] = {p.scale * decay_of(from_start[0]), p.scale * decay_of(from_start[1])};
#pragma unroll
    for (int n = 0; n < kPanel<E> / 16; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) o[n][0][e] *= decay[e >> 1], o[n][1][e] *= decay[e >> 1];
    }
    copy_wait<0>();
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kTiles; ++k) {
      if (k > row) continue;
      LeftTile<E> a;
      left_from_accumulators(a, s[k][0], s[k][1]);
#pragma unroll
      for (int n = 0; n < kPanel<E> / 16; ++n) {
        multiply_add<Right::k_major>(o[n][0], o[n][1], a, kv + k * 16 * kLd + n * 16, kLd, lane);
      }
    }
#pragma unroll
    for (int n = 0; n < kPanel<E> / 16; ++n) store_unit<E>(own + n * 16, kLd, o[n], lane);
    __syncwarp();
    const int rows = rows_inside(row, place.length);
    if (rows > 0) {
      store_tile(p.o.at<E>(place.batch, place.begin + row * 16, h, panel), p.o.stride[1], own, kLd,
                 rows, min(kPanel<E>, value_dim - panel), plan.piece_o, lane, 32);
    }
  }
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
  const int64_t blocks = max_chunks(p.sequences, p.chunk_size) * p.heads.value_heads;
  return for_type(p.q.dtype, [&](auto e) {
    using E = decltype(e);
    const size_t shared = shared_bytes<E>(static_cast<int>(p.chunk_size));
    return for_tiles(p.chunk_size, [&](auto tiles) {
      return launch<output_kernel<E, tiles>>("chunk_fwd_o", l, blocks, tiles * 32, shared, p, plan);
    });
  });
}

}  // namespace gdn::cuda::sm80
