#include "cuda/device/stage.cuh"
#include "cuda/operations.h"

// A block takes a chunk and a key head, forms the lower triangle of K K^T once and writes it out
// for each value head of the group under that head's decays and beta. The output, C floats a token
// and value head, is the traffic.

namespace gdn::cuda {
namespace {

/// Units of a warp: 36 at C = 128, 10 at C = 64.
template <bool kLarge>
constexpr int kMaxUnits = kLarge ? 5 : 2;

template <class E, bool kLarge>
__global__ void __launch_bounds__(kStageThreads, kLarge || sizeof(E) == 4 ? 1 : 4)
    kkt_kernel(const __grid_constant__ ChunkScaledDotKkt p, bool aligned, bool aligned_out) {
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ float decay[kMaxChunk], beta[kMaxChunk];
  constexpr int kLd = padded<E>(kPanel);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int chunk = static_cast<int>(p.chunk_size), tiles = chunk / 16;
  const int64_t hk = blockIdx.x % p.heads.key_heads;
  const ChunkPlace place = find_chunk(p.sequences, chunk, blockIdx.x / p.heads.key_heads, lane);
  if (place.length == 0) return;
  const int ld = padded<float>(chunk);
  float *const tile = reinterpret_cast<float *>(memory);
  E *const k = reinterpret_cast<E *>(tile + chunk * ld);
  for (int i = threadIdx.x; i < chunk * ld; i += kStageThreads) tile[i] = 0.0F;

  const int units = tiles * (tiles + 1) / 2;
  float c[kMaxUnits<kLarge>][2][4] = {};
  for (int panel = 0; panel < p.key_dim; panel += kPanel) {
    const int columns = min(kPanel, static_cast<int>(p.key_dim) - panel);
    __syncthreads();
    load_tile(k, kLd, p.k.at<const E>(place.batch, place.begin, hk, panel), p.k.stride[1], chunk,
              place.length, columns, aligned, threadIdx.x, kStageThreads);
    copy_commit();
    copy_wait<0>();
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kMaxUnits<kLarge>; ++i) {
      const int u = warp + i * kStageWarps;
      if (u < units) {
        int row, column;
        triangle_unit(u, &row, &column);
        for (int d = 0; d < columns; d += 16) {
          LeftTile<E> a;
          left_from_shared(a, k + row * 16 * kLd + d, kLd, lane);
          multiply_add<Right::n_major>(c[i][0], c[i][1], a, k + column * 16 * kLd + d, kLd, lane);
        }
      }
    }
  }

  for (int64_t group = 0; group < p.heads.group(); ++group) {
    const int64_t h = p.heads.value_head(hk, group);
    __syncthreads();
    load_cumsum(decay, p.g_cumsum, place, h, chunk, threadIdx.x, kStageThreads);
    for (int i = threadIdx.x; i < place.length; i += kStageThreads) {
      beta[i] = load_any(p.beta, p.beta.offset(place.batch, place.begin + i, h));
    }
    __syncthreads();
    // Through shared memory, so that rows leave in whole lines. The units above the diagonal of
    // `tile` are zero from the start.
#pragma unroll
    for (int i = 0; i < kMaxUnits<kLarge>; ++i) {
      const int u = warp + i * kStageWarps;
      if (u < units) {
        int row, column;
        triangle_unit(u, &row, &column);
#pragma unroll
        for (int j = 0; j < 2; ++j) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            const int r = row * 16 + (lane >> 2) + (e >> 1) * 8;
            const int n = column * 16 + j * 8 + (lane & 3) * 2 + (e & 1);
            tile[r * ld + n] =
                r > n && r < place.length
                    ? beta[r] * exp2_fast((decay[r] - decay[n]) * kLog2E) * c[i][j][e]
                    : 0.0F;
          }
        }
      }
    }
    __syncthreads();
    float *const out = p.A.at<float>(place.batch, place.begin, h);
    if (aligned_out) {
      store_tile(out, p.A.stride[1], tile, ld, place.length, chunk, true, threadIdx.x,
                 kStageThreads);
    } else {
      for (int i = threadIdx.x; i < place.length * chunk; i += kStageThreads) {
        const int r = i / chunk, n = i - r * chunk;
        out[r * p.A.stride[1] + n * p.A.stride[3]] = tile[r * ld + n];
      }
    }
  }
}

}  // namespace

Status chunk_scaled_dot_kkt(const ChunkScaledDotKkt &p, const Launch &l) {
  Status s = check_width("chunk_scaled_dot_kkt", "DK", p.key_dim);
  if (!s.ok()) return s;
  return for_type(p.k.dtype, [&](auto e) {
    using E = decltype(e);
    const auto chunk = static_cast<int>(p.chunk_size);
    const size_t shared = static_cast<size_t>(chunk) *
                          (padded<E>(kPanel) * sizeof(E) + padded<float>(chunk) * sizeof(float));
    const int64_t blocks = max_chunks(p.sequences, chunk) * p.heads.key_heads;
    const bool aligned = rows_aligned(p.k), aligned_out = p.A.stride[3] == 1 && rows_aligned(p.A);
    const char *name = "chunk_scaled_dot_kkt";
    if (chunk > 64) {
      return launch<kkt_kernel<E, true>>(name, l, blocks, kStageThreads, shared, p, aligned,
                                         aligned_out);
    }
    return launch<kkt_kernel<E, false>>(name, l, blocks, kStageThreads, shared, p, aligned,
                                        aligned_out);
  });
}

}  // namespace gdn::cuda
