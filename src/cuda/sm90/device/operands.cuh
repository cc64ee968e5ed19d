#ifndef GDN_CUDA_SM90_DEVICE_OPERANDS_CUH_
#define GDN_CUDA_SM90_DEVICE_OPERANDS_CUH_

#include "core/tensor.h"
#include "cuda/sm90/device/ptx.cuh"

// How the Hopper kernels hold what they multiply: rings of tiles with the 128-byte swizzle in
// shared memory, states in the accumulators of a warpgroup.

namespace gdn::cuda::sm90 {

constexpr int kHalf = 64;  ///< Columns of a row with 128 bytes.

/// Position in a ring and parity of its phase.
template <int kCount>
struct Ring {
  int i = 0;
  int phase = 0;

  __device__ __forceinline__ void next() {
    if (++i == kCount) {
      i = 0;
      phase ^= 1;
    }
  }
};

/// Under the 128-byte swizzle pieces of 16 bytes trade places within a row of 128, so that a column
/// of eight rows meets every bank once: element `column` of row `row` lies at column ^
/// swizzle128(row), piece `piece` at piece ^ swizzle128(row) / 8.
__device__ __forceinline__ int swizzle128(int row) { return (row & 7) * 8; }

/// The same for rows of 64 bytes under the 64-byte swizzle.
__device__ __forceinline__ int swizzle64(int row) { return ((row >> 1) & 3) * 8; }

/// Rows of 64 kHalves elements into halves of a swizzled tile (`half_size` elements apart), by the
/// whole warp. Rows from `valid` on are left alone.
template <int kHalves>
__device__ __forceinline__ void load_rows(bf16 *tile, int half_size, const bf16 *from,
                                          int64_t stride, int valid, int lane) {
  for (int r = 0; r < valid; ++r) {
#pragma unroll
    for (int i = 0; i < 2 * kHalves; ++i) {
      const int d = i * 32 + lane, half = d >> 6, c = d & 63;
      bf16 *const to = &tile[half * half_size + r * kHalf + (c ^ swizzle128(r))];
      *to = from[r * stride + d];
    }
  }
}

/// Rows of 128 elements that move together: whole rows of global memory almost at once. Eight, as
/// many as wgmma takes for a group.
constexpr int kBoxRows = 8;

/// Where element (row, column) of a tile in such boxes lies: [row / kBoxRows][half][row %
/// kBoxRows][64].
__device__ __forceinline__ int box_element(int row, int column) {
  const int line = (row / kBoxRows * 2 + (column >> 6)) * kBoxRows + row % kBoxRows;
  return line * kHalf + ((column & 63) ^ swizzle128(row));
}

__device__ __forceinline__ bf16 *box_at(bf16 *tile, int row) { return tile + row * 2 * kHalf; }

/// Rows of 128 elements into a tile in boxes, as above.
__device__ __forceinline__ void load_boxes(bf16 *tile, const bf16 *from, int64_t stride, int valid,
                                           int lane) {
  for (int i = lane; i < valid * 2 * kHalf; i += 32) {
    const int r = i / (2 * kHalf), c = i % (2 * kHalf);
    tile[box_element(r, c)] = from[r * stride + c];
  }
}

// Accumulator i of a thread is S[(i / 4) * 8 + 2 (lane % 4) + i % 2, column + 8 (i / 2 % 2)].

template <class S>
__device__ __forceinline__ void read_state_as(float (&x)[64], const Tensor &t, int64_t offset) {
  const S *from = static_cast<const S *>(t.data) + offset;
#pragma unroll
  for (int i = 0; i < 64; ++i) {
    x[i] =
        to_float(from[((i >> 2) * 8 + (i & 1)) * t.stride[2] + ((i >> 1) & 1) * 8 * t.stride[3]]);
  }
}

template <class S>
__device__ __forceinline__ void write_state_as(const Tensor &t, int64_t offset,
                                               const float (&x)[64]) {
  S *to = static_cast<S *>(t.data) + offset;
#pragma unroll
  for (int i = 0; i < 64; ++i) {
    to[((i >> 2) * 8 + (i & 1)) * t.stride[2] + ((i >> 1) & 1) * 8 * t.stride[3]] =
        from_float<S>(x[i]);
  }
}

__device__ __forceinline__ void read_state(float (&x)[64], const Tensor &t, int64_t offset) {
  if (t.dtype == DType::f32) {
    read_state_as<float>(x, t, offset);
  } else if (t.dtype == DType::bf16) {
    read_state_as<bf16>(x, t, offset);
  } else {
    read_state_as<f16>(x, t, offset);
  }
}

__device__ __forceinline__ void write_state(const Tensor &t, int64_t offset, const float (&x)[64]) {
  if (t.dtype == DType::f32) {
    write_state_as<float>(t, offset, x);
  } else if (t.dtype == DType::bf16) {
    write_state_as<bf16>(t, offset, x);
  } else {
    write_state_as<f16>(t, offset, x);
  }
}

}  // namespace gdn::cuda::sm90

#endif  // GDN_CUDA_SM90_DEVICE_OPERANDS_CUH_
