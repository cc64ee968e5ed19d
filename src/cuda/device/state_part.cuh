#ifndef GDN_CUDA_DEVICE_STATE_PART_CUH_
#define GDN_CUDA_DEVICE_STATE_PART_CUH_

#include "cuda/device/element.cuh"

namespace gdn::cuda {

constexpr int kPartThreads = 64;  ///< Threads that share 32 value columns of a state.
constexpr int kPartColumns = 32;

/// A thread's part of a state [DK, 32 columns]: with group = thread / 8, rows 32 j + 4 group .. + 3
/// of four columns for each chunk j of 32 rows. A row of a warp is then 32 consecutive columns, a
/// column of a warp 16 consecutive rows.
template <int kChunks>
struct StatePart {
  float x[kChunks][4][4];  ///< [chunk][row][column].

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int j = 0; j < kChunks; ++j) {
#pragma unroll
      for (int r = 0; r < 4; ++r) x[j][r][0] = x[j][r][1] = x[j][r][2] = x[j][r][3] = 0.0F;
    }
  }

  /// x *= e^g; sum += x^T k. A decay near 1 enters as x + x (e^g - 1): rounded itself, it would be
  /// off by the same amount at each of thousands of tokens.
  __device__ __forceinline__ void decay_and_project(float (&sum)[4], float g, const float *k) {
    const bool near_one = g > -0.5F;
    const float factor = near_one ? expm1f(g) : expf(g), keep = near_one ? 1.0F : 0.0F;
#pragma unroll
    for (int j = 0; j < kChunks; ++j) {
      const float4 f = *reinterpret_cast<const float4 *>(k + row(j));
      const float kk[4] = {f.x, f.y, f.z, f.w};
#pragma unroll
      for (int r = 0; r < 4; ++r) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          x[j][r][c] = fmaf(x[j][r][c], factor, keep * x[j][r][c]);
          sum[c] = fmaf(x[j][r][c], kk[r], sum[c]);
        }
      }
    }
  }

  /// x += k v^T; sum += x^T q.
  __device__ __forceinline__ void update_and_project(float (&sum)[4], const float *k,
                                                     const float (&v)[4], const float *q) {
#pragma unroll
    for (int j = 0; j < kChunks; ++j) {
      const float4 f = *reinterpret_cast<const float4 *>(k + row(j));
      const float4 g = *reinterpret_cast<const float4 *>(q + row(j));
      const float kk[4] = {f.x, f.y, f.z, f.w}, qq[4] = {g.x, g.y, g.z, g.w};
#pragma unroll
      for (int r = 0; r < 4; ++r) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          x[j][r][c] = fmaf(kk[r], v[c], x[j][r][c]);
          sum[c] = fmaf(x[j][r][c], qq[r], sum[c]);
        }
      }
    }
  }

  /// From entry (slot, h) of a [.., HV, DK, DV] tensor, f32 or bf16. kRowsFirst: DK is contiguous
  /// (a V-first state), else DV. Threads that are not `inside` the columns take no part.
  template <bool kRowsFirst>
  __device__ __forceinline__ void read(const Tensor &t, int64_t slot, int64_t h, int key_dim,
                                       int column, bool inside, bool aligned) {
    if (!inside) return;
    const int64_t offset = t.offset(slot, h, row(0), column);
    if (t.dtype == DType::f32) {
      read<kRowsFirst>(static_cast<const float *>(t.data) + offset, t, key_dim, aligned);
    } else {
      read<kRowsFirst>(static_cast<const bf16 *>(t.data) + offset, t, key_dim, aligned);
    }
  }

  template <bool kRowsFirst>
  __device__ __forceinline__ void write(const Tensor &t, int64_t slot, int64_t h, int key_dim,
                                        int column, bool inside, bool aligned) const {
    if (!inside) return;
    const int64_t offset = t.offset(slot, h, row(0), column);
    if (t.dtype == DType::f32) {
      write<kRowsFirst>(static_cast<float *>(t.data) + offset, t, key_dim, aligned);
    } else {
      write<kRowsFirst>(static_cast<bf16 *>(t.data) + offset, t, key_dim, aligned);
    }
  }

 private:
  /// First of the four rows of chunk j.
  __device__ __forceinline__ static int row(int j) { return j * 32 + (threadIdx.x >> 3) * 4; }

  // Pointers step from row to row: ptxas would otherwise keep an address for each.
  template <bool kRowsFirst, class S>
  __device__ __forceinline__ void read(const S *p, const Tensor &t, int key_dim, bool aligned) {
    const int64_t step = t.stride[kRowsFirst ? 3 : 2];
#pragma unroll
    for (int j = 0; j < kChunks; ++j, p += 32 * t.stride[2]) {
      if (row(j) >= key_dim) continue;
      const S *from = p;
#pragma unroll
      for (int i = 0; i < 4; ++i, from += step) {
        float y[4];
        load4(y, from, aligned);
#pragma unroll
        for (int e = 0; e < 4; ++e) (kRowsFirst ? x[j][e][i] : x[j][i][e]) = y[e];
      }
    }
  }
  template <bool kRowsFirst, class S>
  __device__ __forceinline__ void write(S *p, const Tensor &t, int key_dim, bool aligned) const {
    const int64_t step = t.stride[kRowsFirst ? 3 : 2];
#pragma unroll
    for (int j = 0; j < kChunks; ++j, p += 32 * t.stride[2]) {
      if (row(j) >= key_dim) continue;
      S *to = p;
#pragma unroll
      for (int i = 0; i < 4; ++i, to += step) {
        float y[4];
#pragma unroll
        for (int e = 0; e < 4; ++e) y[e] = kRowsFirst ? x[j][e][i] : x[j][i][e];
        store4(to, y, aligned);
      }
    }
  }
};

}  // namespace gdn::cuda

#endif  // GDN_CUDA_DEVICE_STATE_PART_CUH_
