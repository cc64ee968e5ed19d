#include "cuda/device/stage.cuh"
#include "cuda/operations.h"

// A block takes a chunk and a value head: w = (T diag(beta e^c)) K, then u = (T diag(beta)) V, 64
// columns at a time. The scaled T enters in two parts of E (its rounding and what that left), so
// that it keeps f32's precision; of its lower triangle of units only that is multiplied.

namespace gdn::cuda {
namespace {

/// Units of a warp: 32 of a [128, 64] panel, 16 of a [64, 64] one.
template <bool kLarge>
constexpr int kMaxUnits = kLarge ? 4 : 2;

/// Scaled T as left operand.
template <class E>
struct ScaledT {
  E *high, *low;
  int ld;
};

template <class E>
__device__ __forceinline__ void scale_t(const ScaledT<E> &s, const RecomputeWU &p,
                                        const ChunkPlace &place, int64_t h, const float *factor,
                                        int chunk, bool aligned) {
  const int shift = 31 - __clz(chunk);
  const int64_t row_stride = p.T.stride[1], column_stride = p.T.stride[3];
  const int64_t base = p.T.offset(place.batch, place.begin, h);
  const auto scale = [&](const auto *from) {
#pragma unroll 4
    for (int i = threadIdx.x * 4; i < chunk * chunk; i += kStageThreads * 4) {
      const int r = i >> shift, c = i & (chunk - 1);
      float t[4] = {}, rest[4];
      if (c <= r && r < place.length) {
        if (aligned) {
          load4(t, from + r * row_stride + c, true);
        } else {
#pragma unroll
          for (int e = 0; e < 4; ++e) {
            if (c + e <= r) t[e] = to_float(from[r * row_stride + (c + e) * column_stride]);
          }
        }
      }
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        t[e] = c + e <= r ? factor[c + e] * t[e] : 0.0F;
        rest[e] = t[e] - to_float(from_float<E>(t[e]));
      }
      store4(s.high + r * s.ld + c, t, true);
      if constexpr (sizeof(E) == 2) store4(s.low + r * s.ld + c, rest, true);
    }
  };
  if (p.T.dtype == DType::f32) {
    scale(static_cast<const float *>(p.T.data) + base);
  } else if (p.T.dtype == DType::bf16) {
    scale(static_cast<const bf16 *>(p.T.data) + base);
  } else {
    scale(static_cast<const f16 *>(p.T.data) + base);
  }
}

/// out = T in, both [B, T, H, D], for one chunk and head.
template <class E, bool kLarge>
__device__ __forceinline__ void multiply_t(const ScaledT<E> &s, E *tile, const Tensor &in,
                                           int64_t in_head, const Tensor &out, int64_t out_head,
                                           int64_t width, const ChunkPlace &place, int chunk,
                                           bool aligned_in, bool aligned_out) {
  constexpr int kLd = padded<E>(kPanel);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  for (int panel = 0; panel < width; panel += kPanel) {
    const int columns = min(kPanel, static_cast<int>(width) - panel);
    // Columns past the width are multiplied too, whatever the tile holds there, and not stored.
    constexpr int kTiles = kPanel / 16;
    const int units = chunk / 16 * kTiles;
    load_tile(tile, kLd, in.at<const E>(place.batch, place.begin, in_head, panel), in.stride[1],
              chunk, place.length, columns, aligned_in, threadIdx.x, kStageThreads);
    copy_commit();
    copy_wait<0>();
    __syncthreads();
    float c[kMaxUnits<kLarge>][2][4] = {};
#pragma unroll
    for (int i = 0; i < kMaxUnits<kLarge>; ++i) {
      const int u = warp + i * kStageWarps;
      if (u < units) {
        const int row = u / kTiles, column = u % kTiles;
        for (int k = 0; k <= row; ++k) {
          const E *right = tile + k * 16 * kLd + column * 16;
          LeftTile<E> a;
          left_from_shared(a, s.high + row * 16 * s.ld + k * 16, s.ld, lane);
          multiply_add<Right::k_major>(c[i][0], c[i][1], a, right, kLd, lane);
          if constexpr (sizeof(E) == 2) {
            left_from_shared(a, s.low + row * 16 * s.ld + k * 16, s.ld, lane);
            multiply_add<Right::k_major>(c[i][0], c[i][1], a, right, kLd, lane);
          }
        }
      }
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kMaxUnits<kLarge>; ++i) {
      const int u = warp + i * kStageWarps;
      if (u < units) {
        const int row = u / kTiles, column = u % kTiles;
        store_unit<E>(tile + row * 16 * kLd + column * 16, kLd, c[i], lane);
      }
    }
    __syncthreads();
    store_tile(out.at<E>(place.batch, place.begin, out_head, panel), out.stride[1], tile, kLd,
               place.length, columns, aligned_out, threadIdx.x, kStageThreads);
    __syncthreads();
  }
}

struct Aligned {
  bool k, v, w, u, T;
};

template <class E, bool kLarge>
__global__ void __launch_bounds__(kStageThreads, kLarge || sizeof(E) == 4 ? 1 : 3)
    recompute_kernel(const __grid_constant__ RecomputeWU p,
                     const __grid_constant__ Aligned aligned) {
  extern __shared__ __align__(16) unsigned char memory[];
  __shared__ float with_decay[kMaxChunk], beta[kMaxChunk];
  const int lane = threadIdx.x & 31;
  const int chunk = static_cast<int>(p.chunk_size);
  const int64_t heads = p.heads.value_heads, h = blockIdx.x % heads;
  const ChunkPlace place = find_chunk(p.sequences, chunk, blockIdx.x / heads, lane);
  if (place.length == 0) return;
  ScaledT<E> s;
  s.ld = padded<E>(chunk);
  s.high = reinterpret_cast<E *>(memory);
  s.low = s.high + chunk * s.ld;
  E *const tile = sizeof(E) == 2 ? s.low + chunk * s.ld : s.low;

  for (int i = threadIdx.x; i < chunk; i += kStageThreads) {
    float b = 0.0F, e = 0.0F;
    if (i < place.length) {
      b = load_any(p.beta, p.beta.offset(place.batch, place.begin + i, h));
      e = b * decay_of(cumsum_at(p.g_cumsum, place.batch, place.begin + i, h));
    }
    beta[i] = b;
    with_decay[i] = e;
  }
  __syncthreads();
  scale_t(s, p, place, h, with_decay, chunk, aligned.T);
  multiply_t<E, kLarge>(s, tile, p.k, p.heads.key_head(h), p.w, h, p.key_dim, place, chunk,
                        aligned.k, aligned.w);
  scale_t(s, p, place, h, beta, chunk, aligned.T);
  multiply_t<E, kLarge>(s, tile, p.v, h, p.u, h, p.value_dim, place, chunk, aligned.v, aligned.u);
}

}  // namespace

Status recompute_w_u(const RecomputeWU &p, const Launch &l) {
  Status s = check_width("recompute_w_u", "DK", p.key_dim);
  if (s.ok()) s = check_width("recompute_w_u", "DV", p.value_dim);
  if (!s.ok()) return s;
  const Aligned aligned = {rows_aligned(p.k), rows_aligned(p.v), rows_aligned(p.w),
                           rows_aligned(p.u), p.T.stride[3] == 1 && rows_aligned(p.T)};
  return for_type(p.k.dtype, [&](auto e) {
    using E = decltype(e);
    const auto chunk = static_cast<int>(p.chunk_size);
    const int parts = sizeof(E) == 2 ? 2 : 1;
    const size_t shared = static_cast<size_t>(chunk) *
                          static_cast<size_t>(parts * padded<E>(chunk) + padded<E>(kPanel)) *
                          sizeof(E);
    const int64_t blocks = max_chunks(p.sequences, chunk) * p.heads.value_heads;
    const char *name = "recompute_w_u";
    if (chunk > 64) {
      return launch<recompute_kernel<E, true>>(name, l, blocks, kStageThreads, shared, p, aligned);
    }
    return launch<recompute_kernel<E, false>>(name, l, blocks, kStageThreads, shared, p, aligned);
  });
}

}  // namespace gdn::cuda
