#ifndef GDN_CUDA_SM80_DEVICE_HALF_ROWS_CUH_
#define GDN_CUDA_SM80_DEVICE_HALF_ROWS_CUH_

#include "cuda/sm80/device/half_pieces.cuh"

// Rows of half pieces where every instruction counts: threads are dealt out so that few of them are
// left over, zeros are written once instead of with each tile.

namespace gdn::cuda::sm80 {

/// Threads share such a row by a power of two, 1 << half_row_shift(columns), some of them with no
/// piece: a warp that goes on in the next row meets more lines of memory at once.
__host__ __device__ inline int half_row_shift(int columns) {
  int shift = 0;
  while ((kHalfPiece << shift) < columns) ++shift;
  return shift;
}

/// What a thread has of them: the same column in some of the rows, or nothing.
struct HalfWalk {
  int row, row_step, column;

  __device__ __forceinline__ HalfWalk(int shift, int thread, int threads) {
    row = thread >> shift;
    row_step = threads >> shift;
    column = (thread & ((1 << shift) - 1)) * kHalfPiece;
  }
  __device__ __forceinline__ bool inside(int columns) const { return column < columns; }
};

/// 8 bytes to shared memory asynchronously, all of them read.
__device__ __forceinline__ void copy_half_piece(void *to, const void *from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(shared_address(to)), "l"(from)
               : "memory");
}

/// load_rows of a tile whose columns past the width are zeros already and stay so.
template <class E>
__device__ __forceinline__ void load_half_rows(E *tile, int ld, const E *from, int64_t row_stride,
                                               int rows, int valid, int columns,
                                               const HalfWalk &walk) {
  if (!walk.inside(columns)) return;
  const E *source = from + walk.row * row_stride + walk.column;
  E *to = tile + walk.row * ld + walk.column;
  const int64_t source_step = walk.row_step * row_stride;
  const int step = walk.row_step * ld;
  int r = walk.row;
#pragma unroll 4
  for (; r < valid; r += walk.row_step, source += source_step, to += step) {
    copy_half_piece(to, source);
  }
#pragma unroll 1
  for (; r < rows; r += walk.row_step, to += step) *reinterpret_cast<uint2 *>(to) = {};
}

/// Zeros in the columns past the width of such tiles, `rows` rows in all.
template <class E>
__device__ __forceinline__ void clear_half_columns(E *tile, int ld, int rows, int columns,
                                                   int thread, int threads) {
  for (int r = thread; r < rows; r += threads) {
    for (int c = columns; c < whole_tiles(columns); c += kHalfPiece) {
      *reinterpret_cast<uint2 *>(tile + r * ld + c) = {};
    }
  }
}

/// store_rows, of the threads whose columns are inside.
template <class E>
__device__ __forceinline__ void store_half_rows(E *to, int64_t row_stride, const E *tile, int ld,
                                                int rows, int row, int row_step, int column) {
  constexpr int kAtOnce = 4;
  const E *source = tile + row * ld + column;
  E *target = to + row * row_stride + column;
  const int64_t target_step = row_step * row_stride;
  for (int r = row; r < rows; r += kAtOnce * row_step) {
    uint2 bits[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (r + i * row_step < rows) bits[i] = *reinterpret_cast<const uint2 *>(source);
      source += row_step * ld;
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (r + i * row_step < rows) *reinterpret_cast<uint2 *>(target) = bits[i];
      target += target_step;
    }
  }
}

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_HALF_ROWS_CUH_
