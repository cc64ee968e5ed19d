#ifndef GDN_CUDA_DEVICE_COPY_CUH_
#define GDN_CUDA_DEVICE_COPY_CUH_

#include "cuda/device/tile.cuh"

namespace gdn::cuda {

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

/// 16 bytes to shared memory asynchronously; zeros if not `valid` (nothing is read then).
__device__ __forceinline__ void copy_async16(void *to, const void *from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(valid ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void copy_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kLeft>
__device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

/// Row and column of the i-th of the pieces of a tile with `pieces` a row: a shift where it can be
/// one.
struct PieceIndex {
  int pieces, shift;

  __device__ __forceinline__ explicit PieceIndex(int count) {
    pieces = count;
    shift = (count & (count - 1)) == 0 ? 31 - __clz(count) : -1;
  }
  __device__ __forceinline__ int row(int i) const { return shift >= 0 ? i >> shift : i / pieces; }
};

/// Starts the copy of `rows` rows of `columns` elements into a tile; rows from `valid` on become
/// zeros and are not read. `valid` is at least 1; columns is a multiple of 16.
template <class E>
__device__ __forceinline__ void load_tile(E *tile, int ld, const E *from, int64_t row_stride,
                                          int rows, int valid, int columns, bool aligned,
                                          int thread, int threads) {
  if (aligned) {
    constexpr int kPer = 16 / static_cast<int>(sizeof(E));
    const int pieces = columns / kPer;
    const PieceIndex index(pieces);
#pragma unroll 4
    for (int i = thread; i < rows * pieces; i += threads) {
      const int r = index.row(i), c = (i - r * pieces) * kPer;
      const bool in = r < valid;
      copy_async16(tile + r * ld + c, in ? from + r * row_stride + c : from, in);
    }
  } else {
    for (int i = thread; i < rows * columns; i += threads) {
      const int r = i / columns, c = i - r * columns;
      tile[r * ld + c] = r < valid ? from[r * row_stride + c] : from_float<E>(0.0F);
    }
  }
}

/// Writes `rows` rows of `columns` elements of a tile back.
template <class E>
__device__ __forceinline__ void store_tile(E *to, int64_t row_stride, const E *tile, int ld,
                                           int rows, int columns, bool aligned, int thread,
                                           int threads) {
  if (aligned) {
    constexpr int kPer = 16 / static_cast<int>(sizeof(E));
    const int pieces = columns / kPer;
    const PieceIndex index(pieces);
#pragma unroll 4
    for (int i = thread; i < rows * pieces; i += threads) {
      const int r = index.row(i), c = (i - r * pieces) * kPer;
      *reinterpret_cast<uint4 *>(to + r * row_stride + c) =
          *reinterpret_cast<const uint4 *>(tile + r * ld + c);
    }
  } else {
    for (int i = thread; i < rows * columns; i += threads) {
      const int r = i / columns, c = i - r * columns;
      to[r * row_stride + c] = tile[r * ld + c];
    }
  }
}

}  // namespace gdn::cuda

#endif  // GDN_CUDA_DEVICE_COPY_CUH_
