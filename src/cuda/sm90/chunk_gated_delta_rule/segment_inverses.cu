#include "cuda/device/tile.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/forms.h"
#include "cuda/sm90/chunk_gated_delta_rule/launch.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segment_growth.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segments.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/solver_warps.cuh"

// Of the chunks of 64 tokens that the transfers need, a warp a chunk: N and M share it. All of them
// are whole. With 1 and 2 for the first and second 32 tokens
//
//     T1 diag(beta)      T = (I + A)^-1: K K^T on the tensor cores, the substitution in f32
//     T2 diag(beta)
//     -A21               A21[i, j] = exp(c_i - c_j) (k_i . k_j), without beta, which T2's columns
//     have
//
// and whether keys of either step repeat.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {
namespace {

constexpr int kWarps = 4;
/// Blocks of a multiprocessor.
template <bool kAligned>
constexpr int kResident = kAligned ? 5 : 3;

/// Sixteen bytes of a row.
template <bool kAligned>
__device__ __forceinline__ uint4 load_piece(const bf16 *from) {
  if constexpr (kAligned) return *reinterpret_cast<const uint4 *>(from);
  const auto *const x = reinterpret_cast<const uint16_t *>(from);
  const auto pair = [&](int i) { return x[i] | static_cast<uint32_t>(x[i + 1]) << 16; };
  return make_uint4(pair(0), pair(2), pair(4), pair(6));
}

__device__ __forceinline__ float square_sum(uint32_t x) {
  const float2 f = unpack2<bf16>(x);
  return f.x * f.x + f.y * f.y;
}

/// Sixteen bytes of a key at `scale`, a power of two.
__device__ __forceinline__ uint4 rescaled(uint4 x, float scale) {
  const auto pair = [&](uint32_t e) {
    const float2 f = unpack2<bf16>(e);
    return pack2<bf16>(f.x * scale, f.y * scale);
  };
  return make_uint4(pair(x.x), pair(x.y), pair(x.z), pair(x.w));
}

/// Where a lane's piece of the keys lies.
struct Keys {
  const bf16 *k;
  int64_t stride;
  int lane;

  /// Eight elements of row lane / 4 + 8 r.
  template <bool kAligned>
  __device__ __forceinline__ uint4 load(int r, int piece) const {
    return load_piece<kAligned>(k + (r * 8 + lane / 4) * stride + piece * 32 + lane % 4 * 8);
  }
};

/// The units of K K^T on and below the diagonal: of rows 16 i .. columns 8 j .. in d[2 i + j].
/// sums: of squares of the four rows lane / 4 + 8 r, if kSums. The order of keys within a product
/// is free, so that each lane loads 16 bytes at a time. kScaled: each row times its scale.
template <bool kAligned, bool kSums, bool kScaled>
__device__ __forceinline__ void key_products(float (&d)[6][4], float (&sums)[4], const Keys &keys,
                                             const float (&scale)[4]) {
#pragma unroll
  for (int i = 0; i < 6; ++i) d[i][0] = d[i][1] = d[i][2] = d[i][3] = 0.0F;
#pragma unroll
  for (int r = 0; r < 4; ++r) sums[r] = 0.0F;
#pragma unroll(kScaled ? 1 : 2)
  for (int piece = 0; piece < 4; ++piece) {
    uint4 x[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      x[r] = keys.load<kAligned>(r, piece);
      if constexpr (kScaled) x[r] = rescaled(x[r], scale[r]);
      if constexpr (kSums) {
        sums[r] +=
            square_sum(x[r].x) + square_sum(x[r].y) + square_sum(x[r].z) + square_sum(x[r].w);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t low[4], high[4];
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        low[r] = half == 0 ? x[r].x : x[r].z;
        high[r] = half == 0 ? x[r].y : x[r].w;
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint32_t a[4] = {low[2 * i], low[2 * i + 1], high[2 * i], high[2 * i + 1]};
#pragma unroll
        for (int j = 0; j < 2 * i + 2; ++j) mma16816<bf16>(d[2 * i + j], a, low[j], high[j]);
      }
    }
  }
  if constexpr (kSums) {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      sums[r] += __shfl_xor_sync(kFullWarp, sums[r], 1);
      sums[r] += __shfl_xor_sync(kFullWarp, sums[r], 2);
    }
  }
}

/// For each row the power of two that the gate warp would multiply it by.
template <bool kAligned>
__device__ __forceinline__ void scales_of(float (&scale)[4], const float (&sums)[4],
                                          const Keys &keys) {
#pragma unroll 1
  for (int r = 0; r < 4; ++r) {
    uint32_t most = 0;  // As bits, whose order is that of magnitudes.
    for (int piece = 0; piece < 4; ++piece) {
      const uint4 x = keys.load<kAligned>(r, piece);
      for (const uint32_t e : {x.x, x.y, x.z, x.w}) {
        most = max(most, max(e & 0x7fffU, e >> 16 & 0x7fffU));
      }
    }
    most = max(most, __shfl_xor_sync(kFullWarp, most, 1));
    most = max(most, __shfl_xor_sync(kFullWarp, most, 2));
    float sum = sums[0];  // By comparisons: an index would take the array to memory.
    if (r == 1) sum = sums[1];
    if (r == 2) sum = sums[2];
    if (r == 3) sum = sums[3];
    const float of_row = norm_is_far(sum) ? row_scale(__uint_as_float(most << 16)) : 1.0F;
    if (r == 0) scale[0] = of_row;
    if (r == 1) scale[1] = of_row;
    if (r == 2) scale[2] = of_row;
    if (r == 3) scale[3] = of_row;
  }
}

/// What ties the steps of a chunk, for each token.
struct alignas(16) Token {
  float c;      ///< Within its step, in base 2.
  float norm;   ///< 1 / |k| under l2norm, else 1.
  float scale;  ///< That its key has been multiplied by.
  int repeats;  ///< Keys of its step repeat.
};

/// The products, and 1 / |k| of the lane's token. Rows far from 1 have been brought near
/// it in both; `far`: there are some, and their scales are left in `tokens`.
template <bool kAligned>
__device__ __forceinline__ void normed_products(float (&d)[6][4], float &norm, bool &far,
                                                Token (&tokens)[kStep], const Keys &keys) {
  float sums[4], scale[4] = {1.0F, 1.0F, 1.0F, 1.0F};
  key_products<kAligned, true, false>(d, sums, keys, scale);
  far = false;
#pragma unroll
  for (int r = 0; r < 4; ++r) far = far || norm_is_far(sums[r]);
  far = __any_sync(kFullWarp, far);
  if (far) {
    scales_of<kAligned>(scale, sums, keys);
    key_products<kAligned, true, true>(d, sums, keys, scale);
    __syncwarp();
#pragma unroll
    for (int r = 0; r < 4; ++r) tokens[keys.lane / 4 + 8 * r].scale = scale[r];
  }
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const float of_row = inverse_norm(sums[r], scale[r]);
    const float of_lane = __shfl_sync(kFullWarp, of_row, (keys.lane & 7) * 4);
    if (keys.lane >> 3 == r) norm = of_lane;
  }
}

/// K1 K2^T of two steps: of rows 16 i .. of the first, 8 j .. of the second in d[i][j]. kScaled:
/// each row times its scale.
template <bool kAligned, bool kScaled>
__device__ __forceinline__ void cross_products(float (&d)[2][4][4], const Keys &first,
                                               const Keys &second,
                                               const Token (&tokens)[2][kStep]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
#pragma unroll
    for (float &x : d[i / 4][i % 4]) x = 0.0F;
  }
#pragma unroll 1
  for (int piece = 0; piece < 4; ++piece) {
    uint4 x[4], y[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      x[r] = first.load<kAligned>(r, piece);
      y[r] = second.load<kAligned>(r, piece);
      if constexpr (kScaled) {
        const int row = first.lane / 4 + 8 * r;
        x[r] = rescaled(x[r], tokens[0][row].scale);
        y[r] = rescaled(y[r], tokens[1][row].scale);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint4 &low = x[2 * i], &high = x[2 * i + 1];
        const uint32_t a[4] = {half == 0 ? low.x : low.z, half == 0 ? high.x : high.z,
                               half == 0 ? low.y : low.w, half == 0 ? high.y : high.w};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          mma16816<bf16>(d[i][j], a, half == 0 ? y[j].x : y[j].z, half == 0 ? y[j].y : y[j].w);
        }
      }
    }
  }
}

__device__ __forceinline__ Keys keys_of(const DeltaRule &p, int batch, int token, int head,
                                        int lane) {
  return {p.k.at<const bf16>(batch, token, p.heads.key_head(head)), p.k.stride[1], lane};
}

/// T diag(beta) of the step of 32 tokens that starts with `token`, by way of `a`. Returns whether
/// some row is far from 1.
template <bool kAligned>
__device__ __forceinline__ bool invert_step(const DeltaRule &p, int batch, int token, int head,
                                            float (*a)[kInverseLd], bf16 (&t)[2][kStep * kStep],
                                            Token (&tokens)[kStep], int lane) {
  const float decay = token_decay(p, batch, token + lane, head);
  const float beta = token_beta(p, batch, token + lane, head);
  float d[6][4], norm = 1.0F;
  bool far = false;
  const Keys keys = keys_of(p, batch, token, head, lane);
  tokens[lane].scale = 1.0F;
  if (p.qk_l2norm) {
    normed_products<kAligned>(d, norm, far, tokens, keys);
  } else {
    float none[4];
    key_products<kAligned, false, false>(d, none, keys, none);
  }
  const float c = warp_scan(decay * kLog2E, lane), factor = beta * norm;
  const float column = p.qk_l2norm ? c - __log2f(norm) : c;
  tokens[lane].c = c;
  tokens[lane].norm = norm;

#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = 16 * i + 8 * half + lane / 4;
      const float c_row = __shfl_sync(kFullWarp, c, r), f = __shfl_sync(kFullWarp, factor, r);
#pragma unroll
      for (int j = 0; j < 2 * i + 2; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int at = 8 * j + lane % 4 * 2 + e;
          const float c_column = __shfl_sync(kFullWarp, column, at);
          if (at < r) a[at][r] = f * d[2 * i + j][2 * half + e] * exp2_fast(c_row - c_column);
        }
      }
    }
  }
  __syncwarp();
  const int l16 = lane & 15, corner = 8 * (lane >> 4);
  float y[16];
  invert_diagonal(a, lane, y);
  __syncwarp();
  keep_diagonal(a, lane, y);
  uint32_t high[8];
  put_column(t, lane, lane & 16, y, beta, high);
  put_column(t, lane, (lane & 16) + 8, y + 8, beta, high + 4);
  tokens[lane].repeats = keys_repeat(high, beta) ? 1 : 0;
  __syncwarp();
  float u[8];
  invert_corner(u, a, l16, corner);
  put_column(t, l16, 16 + corner, u, __shfl_sync(kFullWarp, beta, l16), high);
  const float zeros[8] = {};
  put_column(t, 16 + l16, corner, zeros, 0.0F, high);
  __syncwarp();
  return far;
}

/// -A21 of the chunk that starts with `token`. far: some row is far from 1.
template <bool kAligned>
__device__ __forceinline__ void tie_steps(const DeltaRule &p, int batch, int token, int head,
                                          const Token (&tokens)[2][kStep], bool far,
                                          bf16 (&t)[2][kStep * kStep], int lane) {
  float d[2][4][4];
  const Keys keys1 = keys_of(p, batch, token, head, lane);
  const Keys keys2 = keys_of(p, batch, token + kStep, head, lane);
  if (far) {
    cross_products<kAligned, true>(d, keys1, keys2, tokens);
  } else {
    cross_products<kAligned, false>(d, keys1, keys2, tokens);
  }
  const float last = tokens[0][kStep - 1].c;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int row = 8 * j + lane % 4 * 2;
    const Token to[2] = {tokens[1][row], tokens[1][row + 1]};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int column = 8 * i + lane / 4;
      const Token from = tokens[0][column];
      const float *const x = &d[i / 2][j][i % 2 * 2];
      const float rest = p.qk_l2norm ? last - from.c + __log2f(from.norm) : last - from.c;
      const float a = -to[0].norm * x[0] * exp2_fast(rest + to[0].c);
      const float b = -to[1].norm * x[1] * exp2_fast(rest + to[1].c);
      const uint32_t high = pack2<bf16>(a, b);
      const float2 rounded = unpack2<bf16>(high);
      const int place = column * kStep + (row ^ swizzle64(column));
      *reinterpret_cast<uint32_t *>(&t[0][place]) = high;
      *reinterpret_cast<uint32_t *>(&t[1][place]) = pack2<bf16>(a - rounded.x, b - rounded.y);
    }
  }
}

/// Chunks of all segments in turn, so that those of the last one, of which nobody asks any, come to
/// all warps.
template <bool kAligned>
__global__ void __launch_bounds__(kWarps * 32, kResident<kAligned>)
    inverses_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Segments all) {
  using Tile = bf16[2][kStep * kStep];
  __shared__ float memory[kWarps][kStep][kInverseLd];
  __shared__ Token tokens[kWarps][2][kStep];
  let_next_start();
  const int lane = static_cast<int>(threadIdx.x) & 31, warp = static_cast<int>(threadIdx.x) >> 5;
  const int heads = static_cast<int>(p.heads.value_heads), chunks = all.length / kSolvedTokens;
  const int count = all.count * chunks * heads, stride = static_cast<int>(gridDim.x) * kWarps;
  wait_for_previous();
#pragma unroll 1
  for (int i = static_cast<int>(blockIdx.x) * kWarps + warp; i < count; i += stride) {
    const int of_all = i / heads, row = of_all / chunks, chunk = of_all - row * chunks;
    const int head = i - of_all * heads;
    const SegmentPlace place = find_segment(p.sequences, all, row);
    if (place.sequence < 0 || place.last) continue;
    if (chunk < all.starts[row * heads + head] / 2) continue;
    const SequenceSpan span = clamped_span(p.sequences, place.sequence);
    const int token = static_cast<int>(span.begin) + place.offset + chunk * kSolvedTokens;
    const int batch = static_cast<int>(span.batch);
    // Chunks are numbered as they lie in memory.
    auto *const t = reinterpret_cast<Tile *>(all.inverses + int64_t{i} * kInverseBytes);
    bool far = false;
#pragma unroll 1
    for (int step = 0; step < 2; ++step) {
      far |= invert_step<kAligned>(p, batch, token + step * kStep, head, memory[warp], t[step],
                                   tokens[warp][step], lane);
    }
    if (lane == 0) {
      *reinterpret_cast<int4 *>(all.repeats + int64_t{i} * kRepeatBytes) =
          make_int4(tokens[warp][0][0].repeats | tokens[warp][1][0].repeats, 0, 0, 0);
    }
    tie_steps<kAligned>(p, batch, token, head, tokens[warp], far, t[2], lane);
    __syncwarp();
  }
}

}  // namespace

Status launch_segment_inverses(const DeltaRule &p, const Launch &l, const Segments &segments) {
  const int64_t count = segments.count * p.heads.value_heads * (segments.length / kSolvedTokens);
  const bool aligned = keys_aligned(p);
  // As many blocks as run at once, if there are chunks for them.
  const int64_t blocks =
      std::min<int64_t>((aligned ? kResident<true> : kResident<false>)*l.device->multiprocessors,
                        (count + kWarps - 1) / kWarps);
  return aligned
             ? launch_beside_previous<inverses_kernel<true>>(l, blocks, kWarps * 32, 0, p, segments)
             : launch_beside_previous<inverses_kernel<false>>(l, blocks, kWarps * 32, 0, p,
                                                              segments);
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
