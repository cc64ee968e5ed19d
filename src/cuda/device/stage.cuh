#ifndef GDN_CUDA_DEVICE_STAGE_CUH_
#define GDN_CUDA_DEVICE_STAGE_CUH_

#include "cuda/device/copy.cuh"
#include "cuda/device/sequences.cuh"
#include "cuda/launch.h"
#include "problem/stages.h"

namespace gdn::cuda {

// What the stage kernels share: blocks of eight warps, a chunk of up to 128 tokens, operands in
// panels of 64 columns, products in 16 x 16 units dealt to the warps.

constexpr int kStageWarps = 8;
constexpr int kStageThreads = kStageWarps * 32;
constexpr int kPanel = 64;
constexpr int kMaxChunk = 128;

/// Row and column of unit u of a lower triangle of units, row by row.
__device__ __forceinline__ void triangle_unit(int u, int *row, int *column) {
  int r = 0;
  while ((r + 1) * (r + 2) / 2 <= u) ++r;
  *row = r;
  *column = u - r * (r + 1) / 2;
}

/// Cumulated log decay of a token, natural logarithm.
__device__ __forceinline__ float cumsum_at(const Tensor &g, int64_t b, int64_t t, int64_t h) {
  return g.present() ? load_any(g, g.offset(b, t, h)) : 0.0F;
}

/// e^x for x <= 0.
__device__ __forceinline__ float decay_of(float x) { return exp2_fast(x * kLog2E); }

/// Fills c[0 .. chunk) with the cumulated decays of a chunk, 0 past its end.
__device__ __forceinline__ void load_cumsum(float *c, const Tensor &g, const ChunkPlace &place,
                                            int64_t h, int chunk, int thread, int threads) {
  for (int i = thread; i < chunk; i += threads) {
    c[i] = i < place.length ? cumsum_at(g, place.batch, place.begin + i, h) : 0.0F;
  }
}

/// Writes a 16 x 16 unit of accumulators to a tile, rounded to E.
template <class E>
__device__ __forceinline__ void store_unit(E *tile, int ld, const float (&c)[2][4], int lane) {
#pragma unroll
  for (int j = 0; j < 2; ++j) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      E *const to = tile + ((lane >> 2) + half * 8) * ld + j * 8 + (lane & 3) * 2;
      if constexpr (sizeof(E) == 2) {
        *reinterpret_cast<uint32_t *>(to) = pack2<E>(c[j][2 * half], c[j][2 * half + 1]);
      } else {
        *reinterpret_cast<float2 *>(to) = make_float2(c[j][2 * half], c[j][2 * half + 1]);
      }
    }
  }
}

/// Calls f with an E of the type that `dtype` names.
template <class F>
Status for_type(DType dtype, F f) {
  switch (dtype) {
    case DType::f32:
      return f(float{});
    case DType::bf16:
      return f(bf16{});
    default:
      return f(f16{});
  }
}

/// GDN_UNSUPPORTED unless a head width is a multiple of 16 up to 256.
Status check_width(const char *operation, const char *what, int64_t width);

}  // namespace gdn::cuda

#endif  // GDN_CUDA_DEVICE_STAGE_CUH_
