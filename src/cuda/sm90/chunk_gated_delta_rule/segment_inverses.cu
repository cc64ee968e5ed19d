#include "cuda/device/tile.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/forms.h"
#include "cuda/sm90/chunk_gated_delta_rule/launch.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segments.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/solver_warps.cuh"

// T diag(beta) of the steps that the transfers need, a warp a step: N and M share it. All of them
// are whole. K K^T on the tensor cores, the substitution in f32.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {
namespace {

constexpr int kWarps = 4;
/// Blocks of a multiprocessor.
template <bool kAligned>
constexpr int kResident = kAligned ? 5 : 4;

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

/// The products, and 1 / |k| of the lane's token. Rows far from 1 have been brought near
/// it in both.
template <bool kAligned>
__device__ __forceinline__ float normed_products(float (&d)[6][4], const Keys &keys) {
  float sums[4], scale[4] = {1.0F, 1.0F, 1.0F, 1.0F};
  key_products<kAligned, true, false>(d, sums, keys, scale);
  bool far = false;
#pragma unroll
  for (int r = 0; r < 4; ++r) far = far || norm_is_far(sums[r]);
  if (__any_sync(kFullWarp, far)) {
    scales_of<kAligned>(scale, sums, keys);
    key_products<kAligned, true, true>(d, sums, keys, scale);
  }
  float norm = 1.0F;
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const float of_row = inverse_norm(sums[r], scale[r]);
    const float of_lane = __shfl_sync(kFullWarp, of_row, (keys.lane & 7) * 4);
    if (keys.lane >> 3 == r) norm = of_lane;
  }
  return norm;
}

/// T diag(beta) of the step of 32 tokens that starts with `token`, by way of `a`.
template <bool kAligned>
__device__ __forceinline__ void invert_step(const DeltaRule &p, int64_t batch, int64_t token,
                                            int head, float (*a)[kInverseLd],
                                            bf16 (&t)[2][kStep * kStep], int lane) {
  const float decay = token_decay(p, batch, token + lane, head);
  const float beta = token_beta(p, batch, token + lane, head);
  float d[6][4], norm = 1.0F;
  const Keys keys = {p.k.at<const bf16>(batch, token, p.heads.key_head(head)), p.k.stride[1], lane};
  if (p.qk_l2norm) {
    norm = normed_products<kAligned>(d, keys);
  } else {
    float none[4];
    key_products<kAligned, false, false>(d, none, keys, none);
  }
  const float c = warp_scan(decay * kLog2E, lane), factor = beta * norm;
  const float column = p.qk_l2norm ? c - __log2f(norm) : c;

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
  put_column(t, lane, lane & 16, y, beta);
  put_column(t, lane, (lane & 16) + 8, y + 8, beta);
  __syncwarp();
  const CornerPart part(lane);
  float u[2][4];
  invert_corner<false>(u, a, part);
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int column = part.column + 8 * i;
    put_column<4>(t, column, 16 + part.row, u[i], __shfl_sync(kFullWarp, beta, column));
  }
  const float zeros[8] = {};
  put_column(t, 16 + l16, corner, zeros, 0.0F);
  __syncwarp();
}

/// `parts` blocks for each head of a segment.
template <bool kAligned>
__global__ void __launch_bounds__(kWarps * 32, kResident<kAligned>)
    inverses_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Segments all,
                    int parts) {
  __shared__ float memory[kWarps][kStep][kInverseLd];
  let_next_start();
  const int lane = static_cast<int>(threadIdx.x) & 31, warp = static_cast<int>(threadIdx.x) >> 5;
  const int heads = static_cast<int>(p.heads.value_heads), steps = all.length / kStep;
  const int rest = static_cast<int>(blockIdx.x) / heads;
  const int head = static_cast<int>(blockIdx.x) - rest * heads, row = rest / parts;
  const SegmentPlace place = find_segment(p.sequences, all, row);
  wait_for_previous();
  if (place.sequence < 0 || place.last) return;
  const SequenceSpan span = clamped_span(p.sequences, place.sequence);
  int step = max(all.starts[row * heads + head], 0) + (rest - row * parts) * kWarps + warp;
  for (; step < steps; step += parts * kWarps) {
    auto &t = *reinterpret_cast<bf16(*)[2][kStep * kStep]>(inverse_at(all, heads, row, step, head));
    invert_step<kAligned>(p, span.batch, span.begin + place.offset + step * kStep, head,
                          memory[warp], t, lane);
  }
}

}  // namespace

Status launch_segment_inverses(const DeltaRule &p, const Launch &l, const Segments &segments) {
  const int64_t pairs = segments.count * p.heads.value_heads;
  const bool aligned = reinterpret_cast<uintptr_t>(p.k.data) % 16 == 0 && p.k.stride[0] % 8 == 0 &&
                       p.k.stride[1] % 8 == 0 && p.k.stride[2] % 8 == 0;
  // As many blocks as run at once, if there are steps for them.
  const int64_t wanted = std::max<int64_t>(kResident<true> * l.device->multiprocessors / pairs, 1);
  const auto parts = static_cast<int>(
      std::min<int64_t>(wanted, (segments.length + kStep * kWarps - 1) / (kStep * kWarps)));
  const int64_t blocks = pairs * parts;
  return aligned ? launch_beside_previous<inverses_kernel<true>>(l, blocks, kWarps * 32, 0, p,
                                                                 segments, parts)
                 : launch_beside_previous<inverses_kernel<false>>(l, blocks, kWarps * 32, 0, p,
                                                                  segments, parts);
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
