#ifndef GDN_CUDA_SM80_DEVICE_HALF_PIECES_CUH_
#define GDN_CUDA_SM80_DEVICE_HALF_PIECES_CUH_

#include <type_traits>

#include "cuda/sm80/device/copy.cuh"

// How the rows of a stage's tiles move, as a constant of its kernel. Rows of 16-bit elements that
// start on 8 bytes, as widths like 60 and 100 make them, have twice as many pieces as others, so
// what is done for each counts: a thread keeps its column of pieces, and nothing is asked of it. A
// kernel that could do either would be slower in both, having more code than the instruction cache.

namespace gdn::cuda::sm80 {

enum class Rows {
  whole,   ///< Pieces of 16 bytes, whole tiles.
  halves,  ///< 16-bit elements in whole pieces of 8 bytes.
  any
};

constexpr int kHalfPiece = 4;  ///< Elements of 8 bytes.

/// True if `pieces` (row_piece of a call's operands) and the widths fit Rows::halves.
template <class E, class... P>
bool fit_half_pieces(int64_t key_dim, int64_t value_dim, P... pieces) {
  return sizeof(E) == 2 && key_dim % kHalfPiece == 0 && value_dim % kHalfPiece == 0 &&
         ((pieces >= 8) && ...) && ((pieces == 8) || ...);
}

/// load_tile; Rows::halves for up to 128 columns.
template <Rows kRows, class E>
__device__ __forceinline__ void load_rows(E *tile, int ld, const E *from, int64_t row_stride,
                                          int rows, int valid, int columns, int piece, int thread,
                                          int threads) {
  if constexpr (kRows != Rows::halves) {
    load_tile<kRows == Rows::whole>(tile, ld, from, row_stride, rows, valid, columns, piece, thread,
                                    threads);
  } else {
    const int filled = whole_tiles(columns);
    const NarrowWalk walk(filled / kHalfPiece, rows, thread, threads);
    const int c = walk.column * kHalfPiece, inside = c < columns ? valid : 0;
    const E *source = from + walk.row * row_stride + c;
    E *to = tile + walk.row * ld + c;
    const int64_t source_step = walk.row_step * row_stride;
    const int step = walk.row_step * ld;
#pragma unroll 4
    for (int r = c < filled ? walk.row : rows; r < rows; r += walk.row_step) {
      copy_async<8>(to, r < inside ? source : from, r < inside ? 8 : 0);
      source += source_step;
      to += step;
    }
  }
}

/// store_tile, likewise.
template <Rows kRows, class E>
__device__ __forceinline__ void store_rows(E *to, int64_t row_stride, const E *tile, int ld,
                                           int rows, int columns, int piece, int thread,
                                           int threads) {
  if constexpr (kRows != Rows::halves) {
    store_tile<kRows == Rows::whole>(to, row_stride, tile, ld, rows, columns, piece, thread,
                                     threads);
  } else {
    constexpr int kAtOnce = 4;
    const NarrowWalk walk(columns / kHalfPiece, rows, thread, threads);
    const int c = walk.column * kHalfPiece;
    const E *source = tile + walk.row * ld + c;
    E *target = to + walk.row * row_stride + c;
    const int64_t target_step = walk.row_step * row_stride;
    for (int r = c < columns ? walk.row : rows; r < rows; r += kAtOnce * walk.row_step) {
      uint2 bits[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (r + i * walk.row_step < rows) bits[i] = *reinterpret_cast<const uint2 *>(source);
        source += walk.row_step * ld;
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (r + i * walk.row_step < rows) *reinterpret_cast<uint2 *>(target) = bits[i];
        target += target_step;
      }
    }
  }
}

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_HALF_PIECES_CUH_
