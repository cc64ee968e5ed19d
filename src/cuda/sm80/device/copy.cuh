#ifndef GDN_CUDA_SM80_DEVICE_COPY_CUH_
#define GDN_CUDA_SM80_DEVICE_COPY_CUH_

#include "cuda/device/tile.cuh"

namespace gdn::cuda::sm80 {

/// True if every row of the tensor starts on 16 bytes (its last stride is 1), so that 16-byte
/// copies are legal. Decides how bytes move, never what is computed.
inline bool rows_aligned(const Tensor &t) {
  if (!t.present()) return true;
  const auto size = static_cast<int64_t>(dtype_size(t.dtype));
  if (reinterpret_cast<uintptr_t>(t.data) % 16 != 0) return false;
  for (int i = 0; i + 1 < t.rank; ++i) {
    if (t.shape[i] > 1 && t.stride[i] * size % 16 != 0) return false;
  }
  return true;
}

/// 16 bytes to shared memory asynchronously.
__device__ __forceinline__ void copy_async16(void *to, const void *from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from)
               : "memory");
}
/// The same, zeros if not `valid` (nothing is read then).
__device__ __forceinline__ void copy_async16(void *to, const void *from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(valid ? 16 : 0)
               : "memory");
}
/// 4 bytes, likewise.
__device__ __forceinline__ void copy_async4(void *to, const void *from, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(valid ? 4 : 0)
               : "memory");
}
__device__ __forceinline__ void copy_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kLeft>
__device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

/// How threads share the 16-byte pieces of a tile: each keeps its column of pieces (or several,
/// where a row has more pieces than there are threads) and steps down the rows.
struct PieceWalk {
  int row, row_step;        ///< First row of this thread, rows from one to the next.
  int column, column_step;  ///< The same in pieces.

  __device__ __forceinline__ PieceWalk(int pieces, int rows, int thread, int threads) {
    column_step = min(pieces, threads);
    const bool power_of_2 = (column_step & (column_step - 1)) == 0;
    const int shift = 31 - __clz(column_step);
    row = power_of_2 ? thread >> shift : thread / column_step;
    row_step = power_of_2 ? threads >> shift : threads / column_step;
    column = thread - row * column_step;
    if (row >= row_step) row = rows;  // Left over: no whole row of pieces for these threads.
  }
};

/// Starts the copy of `rows` rows of `columns` elements into a tile; rows from `valid` on become
/// zeros and are not read. `valid` is at least 1; columns is a multiple of 16.
template <class E>
__device__ __forceinline__ void load_tile(E *tile, int ld, const E *from, int64_t row_stride,
                                          int rows, int valid, int columns, bool aligned,
                                          int thread, int threads) {
  if (aligned) {
    constexpr int kPer = 16 / static_cast<int>(sizeof(E));
    const PieceWalk walk(columns / kPer, rows, thread, threads);
    for (int c = walk.column * kPer; c < columns; c += walk.column_step * kPer) {
      const E *source = from + walk.row * row_stride + c;
      E *to = tile + walk.row * ld + c;
#pragma unroll 4
      for (int r = walk.row; r < rows; r += walk.row_step) {
        const bool in = r < valid;
        copy_async16(to, in ? source : from, in);
        source += walk.row_step * row_stride;
        to += walk.row_step * ld;
      }
    }
  } else {
    for (int i = thread; i < rows * columns; i += threads) {
      const int r = i / columns, c = i - r * columns;
      tile[r * ld + c] = r < valid ? from[r * row_stride + c] : from_float<E>(0.0F);
    }
  }
}

/// The same for tiles that are mostly whole: kRows full rows of kColumns elements, all threads of a
/// block of kThreads.
template <int kRows, int kColumns, int kThreads, class E>
__device__ __forceinline__ void load_whole_tile(E *tile, int ld, const E *from, int64_t row_stride,
                                                int valid, int columns, bool aligned, int thread,
                                                int threads) {
  if (!aligned || valid < kRows || columns != kColumns || threads != kThreads) {
    load_tile(tile, ld, from, row_stride, kRows, valid, columns, aligned, thread, threads);
    return;
  }
  constexpr int kPer = 16 / static_cast<int>(sizeof(E)), kPieces = kColumns / kPer;
  constexpr int kRowsAtOnce = kThreads / kPieces;
  const int row = thread / kPieces, column = thread % kPieces * kPer;
  const E *source = from + row * row_stride + column;
  E *const to = tile + row * ld + column;
#pragma unroll
  for (int r = 0; r < kRows; r += kRowsAtOnce, source += kRowsAtOnce * row_stride) {
    copy_async16(to + r * ld, source);
  }
}

/// Writes `rows` rows of `columns` elements of a tile back.
template <class E>
__device__ __forceinline__ void store_tile(E *to, int64_t row_stride, const E *tile, int ld,
                                           int rows, int columns, bool aligned, int thread,
                                           int threads) {
  if (aligned) {
    constexpr int kPer = 16 / static_cast<int>(sizeof(E));
    const PieceWalk walk(columns / kPer, rows, thread, threads);
    for (int c = walk.column * kPer; c < columns; c += walk.column_step * kPer) {
      const E *source = tile + walk.row * ld + c;
      E *target = to + walk.row * row_stride + c;
#pragma unroll 4
      for (int r = walk.row; r < rows; r += walk.row_step) {
        *reinterpret_cast<uint4 *>(target) = *reinterpret_cast<const uint4 *>(source);
        source += walk.row_step * ld;
        target += walk.row_step * row_stride;
      }
    }
  } else {
    for (int i = thread; i < rows * columns; i += threads) {
      const int r = i / columns, c = i - r * columns;
      to[r * row_stride + c] = tile[r * ld + c];
    }
  }
}

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_COPY_CUH_
