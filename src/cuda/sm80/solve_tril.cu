#include <type_traits>

#include "cuda/sm80/device/stage.cuh"
#include "cuda/sm80/kernels.h"

// T = (I + A)^-1 by forward substitution in f32; a thread owns a column of T. Up to C = 64 the
// column lives in registers and A's rows are broadcast out of shared memory; a warp whose columns
// start at 32 starts at row 32. C = 128 would need 128 registers and as many unrolled rows: there T
// replaces A in shared memory row by row.

namespace gdn::cuda::sm80 {
namespace {

/// Rows kFirst .. kChunk - 1 of column `column` (kFirst <= column < kFirst + 32) of T.
template <int kChunk, int kFirst>
__device__ __forceinline__ void solve_column(float (&x)[kChunk], const float *a, int ld,
                                             int column) {
#pragma unroll
  for (int i = kFirst; i < kChunk; ++i) {
    float sum[4] = {};
#pragma unroll
    for (int j = kFirst; j < i; j += 4) {
      const float4 f = *reinterpret_cast<const float4 *>(a + i * ld + j);
      sum[0] = fmaf(f.x, x[j], sum[0]);
      if (j + 1 < i) sum[1] = fmaf(f.y, x[j + 1], sum[1]);
      if (j + 2 < i) sum[2] = fmaf(f.z, x[j + 2], sum[2]);
      if (j + 3 < i) sum[3] = fmaf(f.w, x[j + 3], sum[3]);
    }
    x[i] = (i == column ? 1.0F : 0.0F) - ((sum[0] + sum[1]) + (sum[2] + sum[3]));
  }
}

/// Lower triangle of a chunk of A into shared memory; on and above the diagonal anything, which no
/// kernel reads.
__device__ __forceinline__ void load_triangle(float *a, int ld, const SolveTril &p,
                                              const ChunkPlace &place, int64_t h, int chunk,
                                              bool aligned, int thread, int threads) {
  const float *from = p.A.at<const float>(place.batch, place.begin, h);
  const int64_t row_stride = p.A.stride[1], column_stride = p.A.stride[3];
  if (aligned) {  // Whole lines, all of them in flight; the block's barrier is waited for later.
    const int pieces = chunk / 4;
    for (int i = thread; i < chunk * pieces; i += threads) {
      const int r = i / pieces, c = (i - r * pieces) * 4;
      const bool in = r > c && r < place.length;
      copy_async16(a + r * ld + c, in ? from + r * row_stride + c : from, in ? 16 : 0);
    }
    copy_commit();
    copy_wait<0>();
    return;
  }
  for (int i = thread; i < chunk * chunk; i += threads) {
    const int r = i / chunk, c = i - r * chunk;
    a[r * ld + c] = r > c && r < place.length ? from[r * row_stride + c * column_stride] : 0.0F;
  }
}

template <int kChunk>
__global__ void __launch_bounds__(kChunk < 32 ? 32 : kChunk)
    solve_kernel(const __grid_constant__ SolveTril p, bool aligned) {
  constexpr int kLd = kChunk + 4, kThreads = kChunk < 32 ? 32 : kChunk;
  __shared__ __align__(16) float a[kChunk * kLd];
  const int lane = threadIdx.x & 31, column = threadIdx.x;
  const int64_t heads = p.heads.value_heads, h = blockIdx.x % heads;
  const ChunkPlace place = find_chunk(p.sequences, kChunk, blockIdx.x / heads, lane);
  if (place.length == 0) return;
  load_triangle(a, kLd, p, place, h, kChunk, aligned, threadIdx.x, kThreads);
  __syncthreads();
  float x[kChunk];
#pragma unroll
  for (int i = 0; i < kChunk; ++i) x[i] = 0.0F;
  if (kChunk < 64 || column < 32) {
    solve_column<kChunk, 0>(x, a, kLd, column);
  } else if constexpr (kChunk == 64) {
    solve_column<kChunk, 32>(x, a, kLd, column);
  }
  if (column >= kChunk) return;
  const int64_t offset = p.T.offset(place.batch, place.begin, h, column);
  const auto store = [&](auto *to) {
    using E = std::remove_reference_t<decltype(*to)>;
#pragma unroll
    for (int i = 0; i < kChunk; ++i, to += p.T.stride[1]) {
      if (i < place.length) *to = from_float<E>(x[i]);
    }
  };
  if (p.T.dtype == DType::f32) {
    store(static_cast<float *>(p.T.data) + offset);
  } else if (p.T.dtype == DType::bf16) {
    store(static_cast<bf16 *>(p.T.data) + offset);
  } else {
    store(static_cast<f16 *>(p.T.data) + offset);
  }
}

__global__ void __launch_bounds__(kMaxChunk)
    solve128_kernel(const __grid_constant__ SolveTril p, bool aligned) {
  extern __shared__ __align__(16) unsigned char memory[];
  constexpr int kLd = kMaxChunk + 4;
  float *const a = reinterpret_cast<float *>(memory);
  const int lane = threadIdx.x & 31, column = threadIdx.x;
  const int64_t heads = p.heads.value_heads, h = blockIdx.x % heads;
  const ChunkPlace place = find_chunk(p.sequences, kMaxChunk, blockIdx.x / heads, lane);
  if (place.length == 0) return;
  load_triangle(a, kLd, p, place, h, kMaxChunk, aligned, threadIdx.x, kMaxChunk);
  __syncthreads();
  for (int i = 0; i < place.length; ++i) {
    float sum = 0.0F;
    for (int j = column; j < i; ++j) sum = fmaf(a[i * kLd + j], a[j * kLd + column], sum);
    __syncthreads();  // Row i of A has been read; T takes its place.
    const float x = i == column ? 1.0F : i > column ? -sum : 0.0F;
    a[i * kLd + column] = x;
    store_any(p.T, p.T.offset(place.batch, place.begin + i, h, column), x);
    __syncthreads();
  }
}

}  // namespace

Status solve_tril(const SolveTril &p, const Launch &l) {
  const char *name = "solve_tril";
  const int64_t blocks = max_chunks(p.sequences, p.chunk_size) * p.heads.value_heads;
  const bool aligned = p.A.stride[3] == 1 && rows_aligned(p.A);
  switch (p.chunk_size) {
    case 16:
      return launch<solve_kernel<16>>(name, l, blocks, 32, 0, p, aligned);
    case 32:
      return launch<solve_kernel<32>>(name, l, blocks, 32, 0, p, aligned);
    case 64:
      return launch<solve_kernel<64>>(name, l, blocks, 64, 0, p, aligned);
    default:
      return launch<solve128_kernel>(name, l, blocks, kMaxChunk,
                                     kMaxChunk * (kMaxChunk + 4) * sizeof(float), p, aligned);
  }
}

}  // namespace gdn::cuda::sm80
