#include "cuda/device/stage.cuh"
#include "cuda/operations.h"

// A block takes a chunk and a value head: P = tril(Q K^T e^{c_i - c_j}) once, then for each 64
// value columns O = scale (diag(e^c) Q S0 + P V'). Q and K pass in panels of 64 columns of DK.

namespace gdn::cuda {
namespace {

/// Units that a warp holds: of P 36 at C = 128 and 10 at C = 64, of a panel of O 32 and 16.
template <bool kLarge>
constexpr int kMaxTriangle = kLarge ? 5 : 2;
template <bool kLarge>
constexpr int kMaxUnits = kLarge ? 4 : 2;

struct OutputPlan {
  bool aligned_q, aligned_k, aligned_v, aligned_h, aligned_o;
  bool keys_first;  ///< h has DK contiguous (V first).
};

template <class E>
size_t shared_bytes(int chunk) {
  return static_cast<size_t>((2 * chunk + kPanel) * padded<E>(kPanel) + chunk * padded<E>(chunk)) *
         sizeof(E);
}

/// A [rows, columns] block of h into a tile of E: its unit-stride dimension along the tile's rows.
template <class E>
__device__ __forceinline__ void load_h(E *tile, int ld, const Tensor &h, int64_t base,
                                       int64_t row_stride, int rows, int columns, bool aligned) {
  if (sizeof(E) == dtype_size(h.dtype)) {
    load_tile(tile, ld, static_cast<const E *>(h.data) + base, row_stride, rows, rows, columns,
              aligned, threadIdx.x, kStageThreads);
    return;
  }
  const float *from = static_cast<const float *>(h.data) + base;
  for (int i = threadIdx.x; i < rows * columns; i += kStageThreads) {
    const int r = i / columns, c = i - r * columns;
    tile[r * ld + c] = from_float<E>(from[r * row_stride + c]);
  }
}

template <class E, bool kLarge>
__global__ void __launch_bounds__(kStageThreads, kLarge || sizeof(E) == 4 ? 1 : 3)
    output_kernel(const __grid_constant__ ChunkFwdO p, const __grid_constant__ OutputPlan plan) {
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ float c[kMaxChunk];
  constexpr int kLd = padded<E>(kPanel);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int chunk = static_cast<int>(p.chunk_size), tiles = chunk / 16;
  const int key_dim = static_cast<int>(p.key_dim), value_dim = static_cast<int>(p.value_dim);
  const int64_t heads = p.heads.value_heads, h = blockIdx.x % heads, index = blockIdx.x / heads;
  const int64_t hk = p.heads.key_head(h);
  const ChunkPlace place = find_chunk(p.sequences, chunk, index, lane);
  if (place.length == 0) return;
  const int ldp = padded<E>(chunk);
  E *const q = reinterpret_cast<E *>(memory);
  E *const kv = q + chunk * kLd;  // A panel of K, later of V', at last of O.
  E *const state = kv + chunk * kLd;
  E *const scores = state + kPanel * kLd;
  load_cumsum(c, p.g_cumsum, place, h, chunk, threadIdx.x, kStageThreads);

  const auto load_rows = [&](E *tile, const Tensor &t, int64_t head, int panel, int columns,
                             bool aligned) {
    load_tile(tile, kLd, t.at<const E>(place.batch, place.begin, head, panel), t.stride[1], chunk,
              place.length, columns, aligned, threadIdx.x, kStageThreads);
  };

  {
    const int units = tiles * (tiles + 1) / 2;
    float s[kMaxTriangle<kLarge>][2][4] = {};
    for (int panel = 0; panel < key_dim; panel += kPanel) {
      const int columns = min(kPanel, key_dim - panel);
      __syncthreads();
      load_rows(q, p.q, hk, panel, columns, plan.aligned_q);
      load_rows(kv, p.k, hk, panel, columns, plan.aligned_k);
      copy_commit();
      copy_wait<0>();
      __syncthreads();
#pragma unroll
      for (int i = 0; i < kMaxTriangle<kLarge>; ++i) {
        const int u = warp + i * kStageWarps;
        if (u < units) {
          int row, column;
          triangle_unit(u, &row, &column);
          for (int d = 0; d < columns; d += 16) {
            LeftTile<E> a;
            left_from_shared(a, q + row * 16 * kLd + d, kLd, lane);
            multiply_add<Right::n_major>(s[i][0], s[i][1], a, kv + column * 16 * kLd + d, kLd,
                                         lane);
          }
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kMaxTriangle<kLarge>; ++i) {
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
            s[i][j][e] =
                r >= n && r < place.length ? p.scale * decay_of(c[r] - c[n]) * s[i][j][e] : 0.0F;
          }
        }
        store_unit<E>(scores + row * 16 * ldp + column * 16, ldp, s[i], lane);
      }
    }
  }

  for (int panel = 0; panel < value_dim; panel += kPanel) {
    const int columns = min(kPanel, value_dim - panel);
    // Columns past the width are multiplied too, whatever the tiles hold there, and not stored.
    constexpr int kTiles = kPanel / 16;
    const int units = tiles * kTiles;
    float o[kMaxUnits<kLarge>][2][4] = {};
    for (int dk = 0; dk < key_dim; dk += kPanel) {
      const int rows = min(kPanel, key_dim - dk);
      __syncthreads();
      if (panel > 0 || key_dim > kPanel) load_rows(q, p.q, hk, dk, rows, plan.aligned_q);
      if (dk == 0) load_rows(kv, p.v_new, h, panel, columns, plan.aligned_v);
      const int64_t base = p.h.offset(index, h, dk, panel);
      if (plan.keys_first) {
        load_h(state, kLd, p.h, base, p.h.stride[3], columns, rows, plan.aligned_h);
      } else {
        load_h(state, kLd, p.h, base, p.h.stride[2], rows, columns, plan.aligned_h);
      }
      copy_commit();
      copy_wait<0>();
      __syncthreads();
#pragma unroll
      for (int i = 0; i < kMaxUnits<kLarge>; ++i) {
        const int u = warp + i * kStageWarps;
        if (u < units) {
          const int row = u / kTiles, column = u % kTiles;
          for (int d = 0; d < rows; d += 16) {
            LeftTile<E> a;
            left_from_shared(a, q + row * 16 * kLd + d, kLd, lane);
            if (plan.keys_first) {
              multiply_add<Right::n_major>(o[i][0], o[i][1], a, state + column * 16 * kLd + d, kLd,
                                           lane);
            } else {
              multiply_add<Right::k_major>(o[i][0], o[i][1], a, state + d * kLd + column * 16, kLd,
                                           lane);
            }
          }
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kMaxUnits<kLarge>; ++i) {
      const int u = warp + i * kStageWarps;
      if (u < units) {
        const int row = u / kTiles, column = u % kTiles;
#pragma unroll
        for (int j = 0; j < 2; ++j) {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            o[i][j][e] *= p.scale * decay_of(c[row * 16 + (lane >> 2) + (e >> 1) * 8]);
          }
        }
        for (int k = 0; k <= row; ++k) {
          LeftTile<E> a;
          left_from_shared(a, scores + row * 16 * ldp + k * 16, ldp, lane);
          multiply_add<Right::k_major>(o[i][0], o[i][1], a, kv + k * 16 * kLd + column * 16, kLd,
                                       lane);
        }
      }
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kMaxUnits<kLarge>; ++i) {
      const int u = warp + i * kStageWarps;
      if (u < units) {
        const int row = u / kTiles, column = u % kTiles;
        store_unit<E>(kv + row * 16 * kLd + column * 16, kLd, o[i], lane);
      }
    }
    __syncthreads();
    store_tile(p.o.at<E>(place.batch, place.begin, h, panel), p.o.stride[1], kv, kLd, place.length,
               columns, plan.aligned_o, threadIdx.x, kStageThreads);
  }
}

}  // namespace

Status chunk_fwd_o(const ChunkFwdO &p, const Launch &l) {
  Status s = check_width("chunk_fwd_o", "DK", p.key_dim);
  if (s.ok()) s = check_width("chunk_fwd_o", "DV", p.value_dim);
  if (!s.ok()) return s;
  OutputPlan plan;
  plan.aligned_q = rows_aligned(p.q);
  plan.aligned_k = rows_aligned(p.k);
  plan.aligned_v = rows_aligned(p.v_new);
  plan.aligned_o = rows_aligned(p.o);
  plan.keys_first = p.h.stride[3] != 1;
  Tensor rows = p.h;
  if (plan.keys_first) {
    rows.shape[2] = p.h.shape[3], rows.shape[3] = p.h.shape[2];
    rows.stride[2] = p.h.stride[3], rows.stride[3] = p.h.stride[2];
  }
  plan.aligned_h = rows_aligned(rows);
  return for_type(p.q.dtype, [&](auto e) {
    using E = decltype(e);
    const auto chunk = static_cast<int>(p.chunk_size);
    const int64_t blocks = max_chunks(p.sequences, chunk) * p.heads.value_heads;
    const size_t shared = shared_bytes<E>(chunk);
    const char *name = "chunk_fwd_o";
    if (chunk > 64) {
      return launch<output_kernel<E, true>>(name, l, blocks, kStageThreads, shared, p, plan);
    }
    return launch<output_kernel<E, false>>(name, l, blocks, kStageThreads, shared, p, plan);
  });
}

}  // namespace gdn::cuda
