#include "cuda/sm80/device/stage.cuh"
#include "cuda/sm80/kernels.h"

// A block takes a chunk and a key head, forms the lower triangle of K K^T once and writes it out
// for each value head of the group under that head's decays and beta, straight from accumulators:
// four lanes fill a 32-byte sector. The output, C floats a token and value head, is the traffic.

namespace gdn::cuda::sm80 {
namespace {

template <class E, int kTiles>
__global__ void __launch_bounds__(kTiles * 32, kTiles == 4 && sizeof(E) == 2 ? 5 : 1)
    kkt_kernel(const __grid_constant__ ChunkScaledDotKkt p, int piece, bool aligned_out) {
  extern __shared__ __align__(16) unsigned char memory[];
  constexpr int kChunk = kTiles * 16, kThreads = kTiles * 32;
  constexpr int kLd = padded<E>(kPanel<E>);
  __shared__ __align__(16) float decay[kChunk], beta[kChunk];
  const int lane = threadIdx.x & 31, row = threadIdx.x >> 5;
  const int64_t hk = blockIdx.x % p.heads.key_heads;
  const ChunkPlace place = find_chunk(p.sequences, kChunk, blockIdx.x / p.heads.key_heads, lane);
  if (place.length == 0) return;
  E *const k = reinterpret_cast<E *>(memory);

  float c[kTiles][2][4] = {};
  for (int panel = 0; panel < p.key_dim; panel += kPanel<E>) {
    const int columns = min(kPanel<E>, static_cast<int>(p.key_dim) - panel);
    if (panel > 0) __syncthreads();
    load_tile(k, kLd, p.k.at<const E>(place.batch, place.begin, hk, panel), p.k.stride[1], kChunk,
              place.length, columns, piece, threadIdx.x, kThreads);
    copy_commit();
    copy_wait<0>();
    __syncthreads();
    multiply_triangle_row(c, k, k, kLd, columns, row, lane);
  }

  const int r = row * 16 + (lane >> 2), n0 = (lane & 3) * 2;
  for (int64_t group = 0; group < p.heads.group(); ++group) {
    const int64_t h = p.heads.value_head(hk, group);
    __syncthreads();
    load_cumsum(decay, p.g_cumsum, place, h, kChunk, threadIdx.x, kThreads);
    for (int i = threadIdx.x; i < place.length; i += kThreads) {
      beta[i] = load_any(p.beta, p.beta.offset(place.batch, place.begin + i, h));
    }
    __syncthreads();
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int i = r + half * 8;
      if (i >= place.length) continue;
      float *const out = p.A.at<float>(place.batch, place.begin + i, h);
      const float b = beta[i], d = decay[i];
#pragma unroll
      for (int j = 0; j < 2 * kTiles; ++j) {
        const int n = j * 8 + n0;
        float2 x = {0.0F, 0.0F};
        if (j / 2 <= row) {
          const float2 f = *reinterpret_cast<const float2 *>(decay + n);
          if (i > n) x.x = b * decay_of(d - f.x) * c[j / 2][j & 1][2 * half];
          if (i > n + 1) x.y = b * decay_of(d - f.y) * c[j / 2][j & 1][2 * half + 1];
        }
        if (aligned_out) {
          *reinterpret_cast<float2 *>(out + n) = x;
        } else {
          out[n] = x.x;
          out[n + 1] = x.y;
        }
      }
    }
  }
}

}  // namespace

Status chunk_scaled_dot_kkt(const ChunkScaledDotKkt &p, const Launch &l) {
  const int64_t blocks = max_chunks(p.sequences, p.chunk_size) * p.heads.key_heads;
  const int piece = row_piece(p.k);
  const bool aligned_out = rows_aligned(p.A);
  return for_type(p.k.dtype, [&](auto e) {
    using E = decltype(e);
    const size_t shared = static_cast<size_t>(p.chunk_size) * padded<E>(kPanel<E>) * sizeof(E);
    return for_tiles(p.chunk_size, [&](auto tiles) {
      return launch<kkt_kernel<E, tiles>>("chunk_scaled_dot_kkt", l, blocks, tiles * 32, shared, p,
                                          piece, aligned_out);
    });
  });
}

}  // namespace gdn::cuda::sm80
