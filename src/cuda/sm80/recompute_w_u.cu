#include "cuda/sm80/device/half_pieces.cuh"
#include "cuda/sm80/device/stage.cuh"
#include "cuda/sm80/kernels.h"

// A block takes a chunk and a value head: w = (T diag(beta e^c)) K, then u = (T diag(beta)) V, up
// to 128 columns at a time. A warp owns 16 rows and scales its rows of T on their way into left
// operands, in two parts of E (the rounding and what that left), so that T keeps f32's precision.
// T and K come first, V arrives while w is formed. After that no warp waits for another.

namespace gdn::cuda::sm80 {
namespace {

/// Columns that a warp gathers before it writes them out, so that whole lines leave.
template <class E>
constexpr int kStaged = 128 / static_cast<int>(sizeof(E));

/// Bytes of the pieces that rows move in. Rows::halves: T has rows of 16-byte pieces.
struct Pieces {
  int k, v, w, u, T;
};

template <class E>
size_t shared_bytes(const RecomputeWU &p) {
  const auto chunk = static_cast<int>(p.chunk_size);
  const auto rows = static_cast<size_t>(chunk);
  const bool wide_t = p.T.dtype == DType::f32;
  return rows * (static_cast<size_t>(2 * padded<E>(kPanel<E>) + padded<E>(kStaged<E>)) * sizeof(E) +
                 (wide_t ? padded<float>(chunk) * sizeof(float) : padded<bf16>(chunk) * 2));
}

/// Two neighbours of a row of T.
__device__ __forceinline__ float2 load_pair(const float *p) {
  return *reinterpret_cast<const float2 *>(p);
}
template <class TT>
__device__ __forceinline__ float2 load_pair(const TT *p) {
  return unpack2<TT>(*reinterpret_cast<const uint32_t *>(p));
}

/// A 16 x 16 tile of T diag(factor) as left operand, in two parts for 16-bit types. On a diagonal
/// tile only what lies at or below the diagonal counts, whatever T holds above it.
template <class E, class TT>
__device__ __forceinline__ void scaled_tile(LeftTile<E> &high, LeftTile<E> &low, const TT *t,
                                            int ld, const float *factor, bool diagonal, int lane) {
  if constexpr (sizeof(E) == 2) {
    const int r = lane >> 2, c = (lane & 3) * 2;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = r + (i & 1) * 8, column = c + (i >> 1) * 8;
      float2 x = load_pair(t + row * ld + column);
      const float2 f = load_pair(factor + column);
      x.x = !diagonal || column <= row ? x.x * f.x : 0.0F;
      x.y = !diagonal || column + 1 <= row ? x.y * f.y : 0.0F;
      high.r[i] = pack2<E>(x.x, x.y);
      const float2 rounded = unpack2<E>(high.r[i]);
      low.r[i] = pack2<E>(x.x - rounded.x, x.y - rounded.y);
    }
  } else {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = (lane >> 2) + half * 8;
#pragma unroll
      for (int k = 0; k < 16; ++k) {
        high.row[half][k] = !diagonal || k <= row ? to_float(t[row * ld + k]) * factor[k] : 0.0F;
      }
    }
  }
}

/// out = (T diag(factor)) tile for a warp's 16 rows and one panel of columns.
template <Rows kRows, class E, int kTiles, class TT>
__device__ __forceinline__ void multiply_t(const TT *t, const float *factor, const E *tile,
                                           E *staged, const Tensor &out, const ChunkPlace &place,
                                           int64_t h, int panel, int columns, int piece, int row,
                                           int lane) {
  constexpr int kLd = padded<E>(kPanel<E>), kLdT = padded<TT>(kTiles * 16);
  constexpr int kColumns = kPanel<E> / 16;
  float c[kColumns][2][4] = {};
#pragma unroll 1
  for (int k = 0; k <= row; ++k) {
    LeftTile<E> high, low;
    scaled_tile(high, low, t + row * 16 * kLdT + k * 16, kLdT, factor + k * 16, k == row, lane);
    // Columns past the width are multiplied too, whatever the tile holds there, and not stored.
#pragma unroll
    for (int n = 0; n < kColumns; ++n) {
      const E *right = tile + k * 16 * kLd + n * 16;
      multiply_add<Right::k_major>(c[n][0], c[n][1], high, right, kLd, lane);
      if constexpr (sizeof(E) == 2) {
        multiply_add<Right::k_major>(c[n][0], c[n][1], low, right, kLd, lane);
      }
    }
  }
  const int rows = rows_inside(row, place.length);
#pragma unroll
  for (int n = 0; n < kColumns; n += kStaged<E> / 16) {
    if (n * 16 >= columns || rows == 0) break;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kStaged<E> / 16; ++i) {
      store_unit<E>(staged + i * 16, padded<E>(kStaged<E>), c[n + i], lane);
    }
    __syncwarp();
    store_rows<kRows>(out.at<E>(place.batch, place.begin + row * 16, h, panel + n * 16),
                      out.stride[1], staged, padded<E>(kStaged<E>), rows,
                      min(kStaged<E>, columns - n * 16), piece, lane, 32);
  }
}

template <Rows kRows, class E, int kTiles, class TT>
__device__ __forceinline__ void recompute(const RecomputeWU &p, const Pieces &pieces,
                                          unsigned char *memory, float *with_decay, float *beta) {
  constexpr int kChunk = kTiles * 16, kThreads = kTiles * 32;
  constexpr int kLd = padded<E>(kPanel<E>);
  const int lane = threadIdx.x & 31, row = threadIdx.x >> 5;
  const int64_t heads = p.heads.value_heads, h = blockIdx.x % heads;
  const ChunkPlace place = find_chunk(p.sequences, kChunk, blockIdx.x / heads, lane);
  if (place.length == 0) return;
  E *const keys = reinterpret_cast<E *>(memory), *const values = keys + kChunk * kLd;
  E *const staged = values + kChunk * kLd + row * 16 * padded<E>(kStaged<E>);
  TT *const t = reinterpret_cast<TT *>(values + kChunk * (kLd + padded<E>(kStaged<E>)));

  const auto load = [&](E *tile, const Tensor &in, int64_t head, int panel, int columns,
                        int piece) {
    load_rows<kRows>(tile, kLd, in.at<const E>(place.batch, place.begin, head, panel), in.stride[1],
                     kChunk, place.length, columns, piece, threadIdx.x, kThreads);
    copy_commit();
  };
  const int key_dim = static_cast<int>(p.key_dim), value_dim = static_cast<int>(p.value_dim);
  const int64_t hk = p.heads.key_head(h);
  load_tile<kRows == Rows::halves>(t, padded<TT>(kChunk),
                                   p.T.at<const TT>(place.batch, place.begin, h), p.T.stride[1],
                                   kChunk, place.length, kChunk, pieces.T, threadIdx.x, kThreads);
  load(keys, p.k, hk, 0, min(kPanel<E>, key_dim), pieces.k);
  load(values, p.v, h, 0, min(kPanel<E>, value_dim), pieces.v);
  for (int i = threadIdx.x; i < kChunk; i += kThreads) {
    float b = 0.0F, e = 0.0F;
    if (i < place.length) {
      b = load_any(p.beta, p.beta.offset(place.batch, place.begin + i, h));
      e = b * decay_of(cumsum_at(p.g_cumsum, place.batch, place.begin + i, h));
    }
    beta[i] = b;
    with_decay[i] = e;
  }
  copy_wait<1>();
  __syncthreads();
  for (int panel = 0; panel < key_dim; panel += kPanel<E>) {
    const int columns = min(kPanel<E>, key_dim - panel);
    if (panel > 0) {
      __syncthreads();
      load(keys, p.k, hk, panel, columns, pieces.k);
      copy_wait<0>();
      __syncthreads();
    }
    multiply_t<kRows, E, kTiles>(t, with_decay, keys, staged, p.w, place, h, panel, columns,
                                 pieces.w, row, lane);
  }
  copy_wait<0>();
  __syncthreads();
  for (int panel = 0; panel < value_dim; panel += kPanel<E>) {
    const int columns = min(kPanel<E>, value_dim - panel);
    if (panel > 0) {
      __syncthreads();
      load(values, p.v, h, panel, columns, pieces.v);
      copy_wait<0>();
      __syncthreads();
    }
    multiply_t<kRows, E, kTiles>(t, beta, values, staged, p.u, place, h, panel, columns, pieces.u,
                                 row, lane);
  }
}

template <class E, int kTiles, Rows kRows>
__global__ void __launch_bounds__(kTiles * 32, kTiles == 4 && sizeof(E) == 2 ? 4 : 1)
    recompute_kernel(const __grid_constant__ RecomputeWU p, const __grid_constant__ Pieces pieces) {
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ __align__(16) float with_decay[kTiles * 16], beta[kTiles * 16];
  if (p.T.dtype == DType::f32) {
    recompute<kRows, E, kTiles, float>(p, pieces, memory, with_decay, beta);
  } else {
    recompute<kRows, E, kTiles, E>(p, pieces, memory, with_decay, beta);
  }
}

}  // namespace

Status recompute_w_u(const RecomputeWU &p, const Launch &l) {
  const Pieces pieces = {row_piece(p.k), row_piece(p.v), row_piece(p.w), row_piece(p.u),
                         row_piece(p.T)};
  const int64_t blocks = max_chunks(p.sequences, p.chunk_size) * p.heads.value_heads;
  return for_type(p.k.dtype, [&](auto e) {
    using E = decltype(e);
    return for_tiles(p.chunk_size, [&](auto tiles) {
      const auto launch_as = [&](auto rows) {
        return launch<recompute_kernel<E, tiles, rows>>("recompute_w_u", l, blocks, tiles * 32,
                                                        shared_bytes<E>(p), p, pieces);
      };
      if constexpr (tiles == 4 && sizeof(E) == 2) {
        if (pieces.T == 16 &&
            fit_half_pieces<E>(p.key_dim, p.value_dim, pieces.k, pieces.v, pieces.w, pieces.u)) {
          return launch_as(std::integral_constant<Rows, Rows::halves>());
        }
      }
      return launch_as(std::integral_constant<Rows, Rows::any>());
    });
  });
}

}  // namespace gdn::cuda::sm80
