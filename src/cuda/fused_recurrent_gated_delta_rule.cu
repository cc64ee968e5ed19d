#include <string>

#include "cuda/device/functions.cuh"
#include "cuda/device/sequences.cuh"
#include "cuda/device/state_part.cuh"
#include "cuda/launch.h"
#include "cuda/operations.h"

// The recurrence token by token, for decode and speculative verify. The state is the traffic: it is
// read once and written once a call (with a slot per token, written once a token).
//
// A block of two warps owns 32 value columns of one head and keeps its part of the state in
// registers (state_part.cuh), so that each row of it is a whole line of memory. Sums over DK are
// fused multiply-adds of a thread, two shuffles, and one addition over the two warps.

namespace gdn::cuda {
namespace {

/// A thread's share of a token: elements thread, thread + 64, .. of q and k, its four value
/// columns, the gates.
template <int kChunks>
struct TokenPart {
  static constexpr int kCount = kChunks * 32 / kPartThreads;
  float q[kCount], k[kCount], v[4], decay, beta;

  __device__ __forceinline__ void load(const DeltaRule &p, int64_t b, int64_t t, int64_t h,
                                       int column) {
    const int64_t hk = p.heads.key_head(h);
    const int key_dim = static_cast<int>(p.key_dim), thread = static_cast<int>(threadIdx.x);
    read(q, p.q, p.q.offset(b, t, hk), thread, kPartThreads, key_dim);
    read(k, p.k, p.k.offset(b, t, hk), thread, kPartThreads, key_dim);
    const int value_dim = static_cast<int>(p.value_dim);
    read(v, p.v, p.v.offset(b, t, h), column, 1, value_dim);
    decay = token_decay(p, b, t, h);
    beta = token_beta(p, b, t, h);
  }

 private:
  /// Elements first + i step as floats, 0 from `limit` on; the type is decided once.
  template <int kWanted>
  __device__ __forceinline__ static void read(float (&x)[kWanted], const Tensor &t, int64_t offset,
                                              int first, int step, int limit) {
    const auto from = [&](const auto *p) {
#pragma unroll
      for (int i = 0; i < kWanted; ++i) {
        x[i] = first + i * step < limit ? to_float(p[first + i * step]) : 0.0F;
      }
    };
    if (t.dtype == DType::f32) {
      from(static_cast<const float *>(t.data) + offset);
    } else if (t.dtype == DType::bf16) {
      from(static_cast<const bf16 *>(t.data) + offset);
    } else {
      from(static_cast<const f16 *>(t.data) + offset);
    }
  }
};

struct RecurrentPlan {
  int column_tiles;  ///< Blocks that share a value head.
  bool aligned_state;
};

/// Sums over DK: of the four groups of a warp by shuffles, of the two warps through shared memory.
struct ColumnSums {
  float part[2][kPartColumns];

  /// First half: this warp's sums are on their way to the other.
  __device__ __forceinline__ void give(float (&x)[4]) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      x[c] += __shfl_xor_sync(kFullWarp, x[c], 8);
      x[c] += __shfl_xor_sync(kFullWarp, x[c], 16);
    }
    if (lane < 8) {
      *reinterpret_cast<float4 *>(&part[warp][lane * 4]) = make_float4(x[0], x[1], x[2], x[3]);
    }
  }
  /// Second half, after a barrier: the whole sums.
  __device__ __forceinline__ void take(float (&x)[4]) const {
    const int c = (threadIdx.x & 7) * 4;
    const float4 a = *reinterpret_cast<const float4 *>(&part[0][c]);
    const float4 b = *reinterpret_cast<const float4 *>(&part[1][c]);
    x[0] = a.x + b.x, x[1] = a.y + b.y, x[2] = a.z + b.z, x[3] = a.w + b.w;
  }
};

template <int kChunks, bool kRowsFirst>
__global__ void __launch_bounds__(kPartThreads, kChunks <= 4 ? 8 : 4)
    recurrent_kernel(const __grid_constant__ DeltaRule p,
                     const __grid_constant__ RecurrentPlan plan) {
  constexpr int kKeyDim = kChunks * 32;
  __shared__ __align__(16) float q[kKeyDim], k[kKeyDim];
  __shared__ __align__(16) ColumnSums predicted, output;
  __shared__ float squares[2][2];  // [q, k][warp].
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int64_t head_item = blockIdx.x / plan.column_tiles;
  const int64_t h = head_item % p.heads.value_heads, n = head_item / p.heads.value_heads;
  const int column =
      static_cast<int>(blockIdx.x % plan.column_tiles) * kPartColumns + (lane & 7) * 4;
  const bool inside = column < p.value_dim;
  const SequenceSpan span = clamped_span(p.sequences, n);

  // The first token's operands are on their way while the slot, and then the state, is fetched.
  TokenPart<kChunks> token;
  if (span.length > 0) token.load(p, span.batch, span.begin, h, column);
  int64_t slot = n;
  if (p.state_indices.present) {
    int64_t at = 0;
    if (p.num_accepted.present) {
      at = clamp64(p.num_accepted.at(n) - 1, 0, p.state_indices.columns - 1);
    }
    slot = checked_slot(p.state_indices.at(n, at), p.initial_state.shape[0]);
    if (slot < 0) {
      for (int64_t t = threadIdx.x >> 3; inside && t < span.length; t += kPartThreads / 8) {
        const int64_t offset = p.o.offset(span.batch, span.begin + t, h, column);
        for (int i = 0; i < 4; ++i) store_any(p.o, offset + i, 0.0F);
      }
      return;
    }
  }
  StatePart<kChunks> state;
  state.clear();
  if (p.initial_state.present()) {
    state.template read<kRowsFirst>(p.initial_state, slot, h, static_cast<int>(p.key_dim), column,
                                    inside, plan.aligned_state);
  }

  for (int64_t i = 0; i < span.length; ++i) {
    const int64_t t = span.begin + i;
    if (p.qk_l2norm) {
      float qq = 0.0F, kk = 0.0F;
#pragma unroll
      for (int j = 0; j < TokenPart<kChunks>::kCount; ++j) {
        qq = fmaf(token.q[j], token.q[j], qq);
        kk = fmaf(token.k[j], token.k[j], kk);
      }
      qq = warp_sum(qq);
      kk = warp_sum(kk);
      if (lane == 0) squares[0][warp] = qq, squares[1][warp] = kk;
    }
#pragma unroll
    for (int j = 0; j < TokenPart<kChunks>::kCount; ++j) {
      q[threadIdx.x + j * kPartThreads] = token.q[j];
      k[threadIdx.x + j * kPartThreads] = token.k[j];
    }
    const float decay = token.decay, beta = token.beta;
    float v[4] = {token.v[0], token.v[1], token.v[2], token.v[3]};
    __syncthreads();
    if (i + 1 < span.length) token.load(p, span.batch, t + 1, h, column);
    float scale = p.scale, norm = 1.0F;
    if (p.qk_l2norm) {
      scale *= rsqrtf(squares[0][0] + squares[0][1] + kL2NormEps);
      norm = rsqrtf(squares[1][0] + squares[1][1] + kL2NormEps);
    }

    float sum[4] = {};
    state.decay_and_project(sum, decay, k);
    predicted.give(sum);
    __syncthreads();
    predicted.take(sum);
    // norm enters twice: the prediction is S^T (norm k), the update (norm k) v'^T.
#pragma unroll
    for (int c = 0; c < 4; ++c) v[c] = norm * beta * (v[c] - norm * sum[c]);
    sum[0] = sum[1] = sum[2] = sum[3] = 0.0F;
    state.update_and_project(sum, k, v, q);
    output.give(sum);
    __syncthreads();
    if (warp == 0 && lane < 8 && inside) {
      output.take(sum);
      const int64_t o_at = p.o.offset(span.batch, t, h, column);
#pragma unroll
      for (int c = 0; c < 4; ++c) store_any(p.o, o_at + c, scale * sum[c]);
    }
    if (p.slot_per_token() && i < p.state_indices.columns) {
      const int64_t to = checked_slot(p.state_indices.at(n, i), p.initial_state.shape[0]);
      if (to >= 0) {
        state.template write<kRowsFirst>(p.initial_state, to, h, static_cast<int>(p.key_dim),
                                         column, inside, plan.aligned_state);
      }
    }
  }
  if (p.slot_per_token()) return;
  const Tensor &out = p.state_indices.present ? p.initial_state : p.final_state;
  if (out.present()) {
    state.template write<kRowsFirst>(out, slot, h, static_cast<int>(p.key_dim), column, inside,
                                     plan.aligned_state);
  }
}

/// True if groups of four state elements of every thread start on four elements' size.
bool state_aligned(const Tensor &t, bool rows_first) {
  if (!t.present()) return true;
  const auto size = static_cast<int64_t>(dtype_size(t.dtype));
  if (reinterpret_cast<uintptr_t>(t.data) % static_cast<uintptr_t>(4 * size) != 0) return false;
  for (int i = 0; i < 4; ++i) {
    const bool unit = i == (rows_first ? 2 : 3);
    if (!unit && t.shape[i] > 1 && t.stride[i] % 4 != 0) return false;
  }
  return true;
}

template <int kChunks>
Status launch_recurrent(const DeltaRule &p, const Launch &l, bool rows_first) {
  RecurrentPlan plan;
  plan.column_tiles = static_cast<int>((p.value_dim + kPartColumns - 1) / kPartColumns);
  plan.aligned_state =
      state_aligned(p.initial_state, rows_first) && state_aligned(p.final_state, rows_first);
  const int64_t blocks = p.sequences.count * p.heads.value_heads * plan.column_tiles;
  const char *name = "fused_recurrent_gated_delta_rule";
  if (rows_first) {
    return launch<recurrent_kernel<kChunks, true>>(name, l, blocks, kPartThreads, 0, p, plan);
  }
  return launch<recurrent_kernel<kChunks, false>>(name, l, blocks, kPartThreads, 0, p, plan);
}

}  // namespace

Status fused_recurrent_gated_delta_rule(const DeltaRule &p, const Launch &l) {
  if (p.key_dim % 16 != 0 || p.value_dim % 16 != 0 || p.key_dim > 256) {
    return {Code::unsupported,
            "fused_recurrent_gated_delta_rule on CUDA takes DK and DV that are multiples of 16, DK "
            "up to 256; found DK = " +
                std::to_string(p.key_dim) + ", DV = " + std::to_string(p.value_dim) + "."};
  }
  const Tensor &state = p.final_state.present() ? p.final_state : p.initial_state;
  const bool rows_first = state.present() && state.stride[3] != 1;
  return p.key_dim <= 128 ? launch_recurrent<4>(p, l, rows_first)
                          : launch_recurrent<8>(p, l, rows_first);
}

}  // namespace gdn::cuda
