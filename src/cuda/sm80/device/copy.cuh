#ifndef GDN_CUDA_SM80_DEVICE_COPY_CUH_
#define GDN_CUDA_SM80_DEVICE_COPY_CUH_

#include "cuda/device/functions.cuh"
#include "cuda/device/tile.cuh"

namespace gdn::cuda::sm80 {

/// Bytes of the pieces that rows of the tensor can move in (its last stride is 1): 16, 8, 4 or 2,
/// whichever every row starts on. Decides how bytes move, never what is computed.
inline int row_piece(const Tensor &t) {
  if (!t.present()) return 16;
  const auto size = static_cast<int64_t>(dtype_size(t.dtype));
  uint64_t bits = reinterpret_cast<uintptr_t>(t.data) | 16;
  for (int i = 0; i + 1 < t.rank; ++i) {
    if (t.shape[i] > 1) bits |= static_cast<uint64_t>(t.stride[i] * size);
  }
  return static_cast<int>(bits & (~bits + 1));
}

/// True if every row starts on 16 bytes.
inline bool rows_aligned(const Tensor &t) { return row_piece(t) == 16; }

/// Columns that a product takes for a width: tiles are 16 wide.
__host__ __device__ constexpr int whole_tiles(int columns) { return (columns + 15) & ~15; }

/// 16 bytes to shared memory asynchronously.
__device__ __forceinline__ void copy_async16(void *to, const void *from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from)
               : "memory");
}
/// The same, of which `bytes` are read and the rest become zeros.
__device__ __forceinline__ void copy_async16(void *to, const void *from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(bytes)
               : "memory");
}
/// 8 or 4 bytes, likewise.
template <int kBytes>
__device__ __forceinline__ void copy_async(void *to, const void *from, int bytes) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(to)), "l"(from),
               "n"(kBytes), "r"(bytes)
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

/// The same for pieces of which a row may have any number: threads share a row by a power of two,
/// some of them with no piece, so that nothing is divided.
struct NarrowWalk {
  int row, row_step, column, column_step;

  __device__ __forceinline__ NarrowWalk(int pieces, int rows, int thread, int threads) {
    const int shift = min(32 - __clz(pieces - 1), 31 - __clz(threads));
    column_step = 1 << shift;
    row = thread >> shift;
    row_step = threads >> shift;
    column = thread & (column_step - 1);
    if (row >= row_step) row = rows;
  }
};

/// load_tile in pieces of less than 16 bytes.
template <class E>
__device__ __forceinline__ void load_narrow(E *tile, int ld, const E *from, int64_t row_stride,
                                            int rows, int valid, int columns, int piece, int thread,
                                            int threads) {
  constexpr int kSize = static_cast<int>(sizeof(E));
  piece = opaque(piece);  // What follows from it is not to be kept in registers.
  const int shift = 31 - __clz(piece / kSize), per = 1 << shift, filled = whole_tiles(columns);
  const NarrowWalk walk(filled >> shift, rows, thread, threads);
  for (int c = walk.column * per; c < filled; c += walk.column_step * per) {
    const int bytes = min(piece, (columns - c) * kSize), inside = bytes > 0 ? valid : 0;
    const E *source = from + walk.row * row_stride + c;
    E *to = tile + walk.row * ld + c;
    if (piece == 8) {
#pragma unroll 2
      for (int r = walk.row; r < rows; r += walk.row_step) {
        const bool in = r < inside;
        copy_async<8>(to, in ? source : from, in ? bytes : 0);
        source += walk.row_step * row_stride;
        to += walk.row_step * ld;
      }
    } else if (piece == 4) {
#pragma unroll 2
      for (int r = walk.row; r < rows; r += walk.row_step) {
        const bool in = r < inside;
        copy_async<4>(to, in ? source : from, in ? bytes : 0);
        source += walk.row_step * row_stride;
        to += walk.row_step * ld;
      }
    } else {
#pragma unroll 4
      for (int r = walk.row; r < rows; r += walk.row_step) {
        *to = r < inside ? *source : from_float<E>(0.0F);
        source += walk.row_step * row_stride;
        to += walk.row_step * ld;
      }
    }
  }
}

/// Starts the copy of `rows` rows of `columns` elements into a tile. Rows from `valid` on become
/// zeros and are not read, and so do the columns up to a whole tile. `valid` is at least 1; piece:
/// row_piece. kWhole: that is 16, and columns are whole tiles.
template <bool kWhole = false, class E>
__device__ __forceinline__ void load_tile(E *tile, int ld, const E *from, int64_t row_stride,
                                          int rows, int valid, int columns, int piece, int thread,
                                          int threads) {
  if (!kWhole && piece != 16) {
    load_narrow(tile, ld, from, row_stride, rows, valid, columns, piece, thread, threads);
    return;
  }
  constexpr int kSize = static_cast<int>(sizeof(E)), kPer = 16 / kSize;
  const int filled = kWhole ? columns : whole_tiles(columns);
  const PieceWalk walk(filled / kPer, rows, thread, threads);
  for (int c = walk.column * kPer; c < filled; c += walk.column_step * kPer) {
    const int bytes = kWhole ? 16 : min(16, (columns - c) * kSize), inside = bytes > 0 ? valid : 0;
    const E *source = from + walk.row * row_stride + c;
    E *to = tile + walk.row * ld + c;
#pragma unroll 4
    for (int r = walk.row; r < rows; r += walk.row_step) {
      const bool in = r < inside;
      copy_async16(to, in ? source : from, in ? bytes : 0);
      source += walk.row_step * row_stride;
      to += walk.row_step * ld;
    }
  }
}

/// The same for tiles that are mostly whole: kRows full rows of kColumns elements, all threads of a
/// block of kThreads.
template <int kRows, int kColumns, int kThreads, bool kWhole, class E>
__device__ __forceinline__ void load_whole_tile(E *tile, int ld, const E *from, int64_t row_stride,
                                                int valid, int columns, int piece, int thread,
                                                int threads) {
  if ((!kWhole && piece != 16) || valid < kRows || columns != kColumns || threads != kThreads) {
    load_tile<kWhole>(tile, ld, from, row_stride, kRows, valid, columns, piece, thread, threads);
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

/// The largest piece, up to row_piece, that divides a row of `bytes`.
__device__ __forceinline__ int whole_piece(int piece, int bytes) {
  return min(piece, bytes & -bytes);
}

/// 16, 8, 4 or 2 bytes.
__device__ __forceinline__ void copy_piece(void *to, const void *from, int piece) {
  if (piece == 16) {
    *static_cast<uint4 *>(to) = *static_cast<const uint4 *>(from);
  } else if (piece == 8) {
    *static_cast<uint2 *>(to) = *static_cast<const uint2 *>(from);
  } else if (piece == 4) {
    *static_cast<uint32_t *>(to) = *static_cast<const uint32_t *>(from);
  } else {
    *static_cast<uint16_t *>(to) = *static_cast<const uint16_t *>(from);
  }
}

/// Writes `rows` rows of `columns` elements of a tile back; piece and kWhole as above.
template <bool kWhole = false, class E>
__device__ __forceinline__ void store_tile(E *to, int64_t row_stride, const E *tile, int ld,
                                           int rows, int columns, int piece, int thread,
                                           int threads) {
  constexpr int kSize = static_cast<int>(sizeof(E));
  if (!kWhole) piece = whole_piece(piece, columns * kSize);
  if (kWhole || piece == 16) {
    constexpr int kPer = 16 / kSize;
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
    const int shift = 31 - __clz(opaque(piece) / kSize), per = 1 << shift;
    const NarrowWalk walk(columns >> shift, rows, thread, threads);
    for (int c = walk.column * per; c < columns; c += walk.column_step * per) {
      const E *source = tile + walk.row * ld + c;
      E *target = to + walk.row * row_stride + c;
#pragma unroll 2
      for (int r = walk.row; r < rows; r += walk.row_step) {
        copy_piece(target, source, piece);
        source += walk.row_step * ld;
        target += walk.row_step * row_stride;
      }
    }
  }
}

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_COPY_CUH_
