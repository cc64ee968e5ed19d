#ifndef GDN_CUDA_SM80_DEVICE_STAGE_CUH_
#define GDN_CUDA_SM80_DEVICE_STAGE_CUH_

#include <type_traits>

#include "core/stages.h"
#include "cuda/device/sequences.cuh"
#include "cuda/launch.h"
#include "cuda/sm80/device/copy.cuh"

namespace gdn::cuda::sm80 {

// What the stage kernels share. In the products of a chunk with itself a warp owns 16 rows of the
// chunk, so that a triangle of 16 x 16 tiles needs no exchange between warps.

constexpr int kStageWarps = 8;
constexpr int kStageThreads = kStageWarps * 32;
constexpr int kMaxChunk = 128;

/// Columns of an operand that pass through shared memory together: rows of 256 bytes.
template <class E>
constexpr int kPanel = 256 / static_cast<int>(sizeof(E));

/// Rows of a warp's 16-row block that lie inside a chunk of `length` tokens.
__device__ __forceinline__ int rows_inside(int row, int length) {
  return min(16, max(0, length - row * 16));
}

/// c[n] += a b_n^T for 16-row blocks n <= row: block `row` of `left` against the lower triangle's
/// blocks of `right`, both [tokens][columns] tiles of `columns` columns with `ld` between rows.
template <int kTiles, class E>
__device__ __forceinline__ void multiply_triangle_row(float (&c)[kTiles][2][4], const E *left,
                                                      const E *right, int ld, int columns, int row,
                                                      int lane) {
#pragma unroll 2
  for (int d = 0; d < columns; d += 16) {
    LeftTile<E> a;
    left_from_shared(a, left + row * 16 * ld + d, ld, lane);
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      if (n <= row) {
        multiply_add<Right::n_major>(c[n][0], c[n][1], a, right + n * 16 * ld + d, ld, lane);
      }
    }
  }
}

/// Cumulated log decay of a token, natural logarithm.
__device__ __forceinline__ float cumsum_at(const Tensor &g, int64_t b, int64_t t, int64_t h) {
  return g.present() ? load_any(g, g.offset(b, t, h)) : 0.0F;
}

/// Fills c[0 .. chunk) with the cumulated decays of a chunk, 0 past its end.
__device__ __forceinline__ void load_cumsum(float *c, const Tensor &g, const ChunkPlace &place,
                                            int64_t h, int chunk, int thread, int threads) {
  for (int i = thread; i < chunk; i += threads) {
    c[i] = i < place.length ? cumsum_at(g, place.batch, place.begin + i, h) : 0.0F;
  }
}

/// What a block of the chain of states owns: a sequence, a value head, and value columns in groups
/// of 16 for each of its warps.
struct ChainItem {
  int column, columns;  ///< First value column, and how many.
  int64_t n, h, hk;
  SequenceSpan span;
  int64_t index;  ///< Row of h of the first chunk.
};

/// The item of this block. For a whole warp.
__device__ __forceinline__ ChainItem chain_item(const ChunkFwdH &p, int warps, int column_blocks,
                                                int chunk, int lane) {
  ChainItem item;
  item.column = static_cast<int>(blockIdx.x % column_blocks) * warps * 16;
  item.columns = min(warps * 16, static_cast<int>(p.value_dim) - item.column);
  const int64_t i = blockIdx.x / column_blocks;
  item.h = i % p.heads.value_heads, item.n = i / p.heads.value_heads;
  item.hk = p.heads.key_head(item.h);
  item.span = clamped_span(p.sequences, item.n);
  item.index = first_chunk(p.sequences, item.n, item.span, chunk, p.h.shape[0], lane);
  return item;
}

/// Calls f with the number of 16-token tiles of a chunk as a constant.
template <class F>
Status for_tiles(int64_t chunk, F f) {
  switch (chunk) {
    case 16:
      return f(std::integral_constant<int, 1>{});
    case 32:
      return f(std::integral_constant<int, 2>{});
    case 64:
      return f(std::integral_constant<int, 4>{});
    default:
      return f(std::integral_constant<int, 8>{});
  }
}

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_STAGE_CUH_
