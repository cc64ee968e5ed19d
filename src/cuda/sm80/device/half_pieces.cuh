#ifndef GDN_CUDA_SM80_DEVICE_HALF_PIECES_CUH_
#define GDN_CUDA_SM80_DEVICE_HALF_PIECES_CUH_

#include "cuda/sm80/device/copy.cuh"

// Tiles of the stages whose rows of 16-bit elements start on 8 bytes, as widths like 60 and 100
// make them. They are twice as many pieces as rows on 16 bytes, so what is done for each counts: a
// thread keeps its column, and no piece is asked whether it lies inside. Other rows move as in
// copy.cuh.

namespace gdn::cuda::sm80 {

constexpr int kHalfPiece = 4;  ///< Elements.

/// True if rows of `columns` elements in pieces of `piece` bytes are whole pieces of 8.
template <class E>
__device__ __forceinline__ bool in_half_pieces(int piece, int columns) {
  return sizeof(E) == 2 && piece == 8 && columns % kHalfPiece == 0;
}

/// load_tile for up to 128 columns.
template <class E>
__device__ __forceinline__ void load_stage_tile(E *tile, int ld, const E *from, int64_t row_stride,
                                                int rows, int valid, int columns, int piece,
                                                int thread, int threads) {
  if (!in_half_pieces<E>(piece, columns) || valid < rows) {
    load_tile(tile, ld, from, row_stride, rows, valid, columns, piece, thread, threads);
    return;
  }
  const int filled = whole_tiles(columns);
  const NarrowWalk walk(filled / kHalfPiece, rows, thread, threads);
  const int c = walk.column * kHalfPiece, bytes = c < columns ? 8 : 0;
  const E *source = from + walk.row * row_stride + (c < columns ? c : 0);
  E *to = tile + walk.row * ld + c;
  const int64_t source_step = walk.row_step * row_stride;
  const int step = walk.row_step * ld;
#pragma unroll 2
  for (int r = c < filled ? walk.row : rows; r < rows; r += walk.row_step) {
    copy_async<8>(to, source, bytes);
    source += source_step;
    to += step;
  }
}

/// store_tile for up to 128 columns.
template <class E>
__device__ __forceinline__ void store_stage_tile(E *to, int64_t row_stride, const E *tile, int ld,
                                                 int rows, int columns, int piece, int thread,
                                                 int threads) {
  if (!in_half_pieces<E>(piece, columns)) {
    store_tile(to, row_stride, tile, ld, rows, columns, piece, thread, threads);
    return;
  }
  constexpr int kAtOnce = 2;
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

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_HALF_PIECES_CUH_
