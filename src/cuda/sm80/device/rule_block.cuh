#ifndef GDN_CUDA_SM80_DEVICE_RULE_BLOCK_CUH_
#define GDN_CUDA_SM80_DEVICE_RULE_BLOCK_CUH_

#include "cuda/device/functions.cuh"
#include "cuda/sm80/device/state_part.cuh"

// The recurrence of a block that holds 16 kPlaces bytes of each row of one head's state
// (state_part.cuh). Both projections of a token, S^T k and S^T q, are taken of the state before it,
// so that a token passes over the state twice and sums over DK once:
//
//     v' = beta (v - e^g S^T k)      o = scale (e^g S^T q + (k . q) v')      S <- e^g S + k v'^T
//
// Tokens lie in shared memory, several at a time. The sums over the 16 groups of rows are a tree:
// by shuffles where a warp has groups 2 i and 2 i + 1, and so on, then through shared memory. A
// V-first state has all groups of a column in one warp.

namespace gdn::cuda::sm80 {

/// Tokens of one head, for all threads of a block. Columns lie as Columns::position says.
template <class Part, int kTokenCount>
struct alignas(16) TokenBatch {
  static constexpr int kTokens = kTokenCount;
  float k[kTokens][Part::kKeyDim], q[kTokens][Part::kKeyDim];
  float v[kTokens][Part::kColumns];
  float2 decay[kTokens];  ///< Decay::factor, Decay::keep.
  float beta[kTokens];
  float4 norms[kTokens];  ///< k . q, norm of k, scale * norm of q.

  __device__ __forceinline__ Decay decay_of(int t) const { return {decay[t].x, decay[t].y}; }
};

/// A TokenBatch of one token whose columns are those of a part among several.
template <class Part>
struct PartToken {
  const TokenBatch<Part, 1> &token;
  const float (&v)[1][Part::kColumns];
  const float (&k)[1][Part::kKeyDim] = token.k;
  const float (&q)[1][Part::kKeyDim] = token.q;
  const float (&beta)[1] = token.beta;
  const float4 (&norms)[1] = token.norms;

  __device__ __forceinline__ Decay decay_of(int t) const { return token.decay_of(t); }
};

/// In which order the columns of a part lie in shared memory: one in which a warp meets no bank
/// conflict, be it that its lanes have a column or four each. It is that of a split part's columns.
template <class Part>
struct Columns {
  static constexpr int kQuads = Part::kVector / 4;

  /// The column, counted from the part's first, that lies at position i.
  __device__ __forceinline__ static int column(unsigned i) {
    if (Part::kSplit) return static_cast<int>(i);
    const unsigned quad = i / (4 * Part::kPlaces), place = i / 4 % Part::kPlaces;
    return static_cast<int>(place * Part::kVector + quad * 4 + i % 4);
  }
  /// The inverse.
  __device__ __forceinline__ static int position_of(int column) {
    const int place = column / Part::kVector, e = column % Part::kVector;
    return Part::kSplit ? column : e / 4 * 4 * Part::kPlaces + place * 4 + e % 4;
  }
  /// Position of column e of this thread.
  __device__ __forceinline__ static int position(int e) {
    return e / 4 * 4 * Part::kPlaces + Part::place() * 4 + e % 4;
  }
  /// This thread's columns.
  __device__ __forceinline__ static void load(float (&x)[Part::kVector], const float *row) {
#pragma unroll
    for (int j = 0; j < kQuads; ++j) {
      const float4 f = *reinterpret_cast<const float4 *>(row + position(4 * j));
      x[4 * j] = f.x, x[4 * j + 1] = f.y, x[4 * j + 2] = f.z, x[4 * j + 3] = f.w;
    }
  }
};

/// |x| from which on l2norm brings a row near 2^20 first: squares of more would leave f32's range.
/// At 2^20 eps does not count.
constexpr float kFarElement = 0x1p40F;
__device__ __forceinline__ bool is_far(float x) { return !(fabsf(x) < kFarElement); }

/// Brings rows with far elements near by a power of two. For a whole block, once all rows are
/// there; a warp takes a row at a time.
template <class Part, int kTokens>
__device__ __forceinline__ void rescale(TokenBatch<Part, kTokens> &batch, int count, int warps) {
  const int thread = fresh_thread(), lane = thread & 31;
#pragma unroll 1
  for (int i = thread >> 5; i < 2 * count; i += warps) {
    float *const row = (i & 1) != 0 ? batch.q[i >> 1] : batch.k[i >> 1];
    float most = 0.0F;
#pragma unroll 1
    for (int d = lane; d < Part::kKeyDim; d += 32) most = fmaxf(most, fabsf(row[d]));
    most = warp_max(most);
    if (most < kFarElement) continue;
    const float scale = 0x1p20F * row_scale(most);
#pragma unroll 1
    for (int d = lane; d < Part::kKeyDim; d += 32) row[d] *= scale;
  }
  __syncthreads();
}

/// What a token's q and k give by themselves. A warp takes a token at a time; a barrier has to
/// follow before step() needs them.
template <class Part, int kTokens>
__device__ __forceinline__ void take_norms(TokenBatch<Part, kTokens> &batch, int count, bool l2norm,
                                           float scale, int warps) {
  const int thread = fresh_thread(), lane = thread & 31;
#pragma unroll 1
  for (int t = thread >> 5; t < count; t += warps) {
    float kq = 0.0F, kk = 0.0F, qq = 0.0F;
#pragma unroll
    for (int d = 0; d < Part::kKeyDim; d += 128) {
      const float4 k = *reinterpret_cast<const float4 *>(batch.k[t] + d + 4 * lane);
      const float4 q = *reinterpret_cast<const float4 *>(batch.q[t] + d + 4 * lane);
      kq = fmaf(k.w, q.w, fmaf(k.z, q.z, fmaf(k.y, q.y, fmaf(k.x, q.x, kq))));
      kk = fmaf(k.w, k.w, fmaf(k.z, k.z, fmaf(k.y, k.y, fmaf(k.x, k.x, kk))));
      qq = fmaf(q.w, q.w, fmaf(q.z, q.z, fmaf(q.y, q.y, fmaf(q.x, q.x, qq))));
    }
    kq = warp_sum(kq);
    float norm = 1.0F;
    if (l2norm) {
      norm = rsqrtf(warp_sum(kk) + kL2NormEps);
      scale *= rsqrtf(warp_sum(qq) + kL2NormEps);
    }
    if (lane == 0) batch.norms[t] = make_float4(kq, norm, scale, 0.0F);
  }
}

/// Halves the values of a lane: of two lanes whose numbers differ by kLane, the one without that
/// bit keeps the first half, each value being the sum of both lanes'.
template <int kLane, int kCount>
__device__ __forceinline__ void share(float (&x)[kCount], int count, int lane) {
  const bool upper = (lane & kLane) != 0;
#pragma unroll
  for (int i = 0; i < kCount / 2; ++i) {
    if (i >= count / 2) break;
    const float kept = upper ? x[i + count / 2] : x[i], given = upper ? x[i] : x[i + count / 2];
    x[i] = kept + __shfl_xor_sync(kFullWarp, given, kLane);
  }
}

/// Sums over the groups, and what follows for a token.
template <class Part, bool kRowsFirst, int kTokens>
struct RuleStep {
  static constexpr int kVector = Part::kVector, kColumns = Part::kColumns;
  static constexpr int kWarps = Part::kPlaces * kPartGroups / 32;

  /// Parts of the sums of a warp, S^T k before S^T q; two of them, for tokens in turn.
  struct alignas(16) Shared {
    float part[kTokens > 1 ? 2 : 1][kRowsFirst ? 1 : kWarps][kRowsFirst ? 4 : 2 * kColumns];
  };

  /// A token of the batch, a TokenBatch or what has its members. update becomes v' of this thread's
  /// columns. put(e, o) is called by one thread for column e of a place. K-first: with one barrier,
  /// which all threads meet; after it what was in shared memory before is there for all.
  template <class Batch, class Put>
  __device__ __forceinline__ static void run(float (&update)[kVector], Part &state, Shared &shared,
                                             const Batch &batch, int t, Put put) {
    float sums[2 * kVector];  // S^T k before S^T q.
    {
      float k_sum[kVector] = {}, q_sum[kVector] = {};
      state.project(k_sum, q_sum, batch.k[t], batch.q[t]);
      state.forget_values();
#pragma unroll
      for (int e = 0; e < kVector; ++e) sums[e] = k_sum[e], sums[kVector + e] = q_sum[e];
    }
    if constexpr (kRowsFirst) {
      finish_in_warp(update, sums, batch, t, put);
    } else {
      finish_in_block(update, sums, shared.part[kTokens > 1 ? t & 1 : 0], batch, t, put);
    }
  }

 private:
  /// v' out of e^g S^T k. The norm enters twice: the prediction is S^T (norm k), the update (norm
  /// k) v'^T.
  __device__ __forceinline__ static float new_value(const float4 &norms, float beta, float v,
                                                    float sum) {
    return norms.y * beta * (v - norms.y * sum);
  }
  __device__ __forceinline__ static float output(const float4 &norms, float sum, float update) {
    return norms.z * fmaf(norms.x, update, sum);
  }

  /// The lanes of a half warp have the 16 groups of the thread's columns.
  template <class Batch, class Put>
  __device__ __forceinline__ static void finish_in_warp(float (&update)[kVector],
                                                        float (&sums)[2 * kVector],
                                                        const Batch &batch, int t, Put put) {
    const int lane = fresh_lane();
    share<1>(sums, 2 * kVector, lane);
    share<2>(sums, kVector, lane);
    share<4>(sums, kVector / 2, lane);
    if constexpr (kVector == 8) {
      share<8>(sums, 2, lane);
    } else {
      sums[0] += __shfl_xor_sync(kFullWarp, sums[0], 8);
    }
    // Which of its columns this lane has: bits 1, 2 (and 3) of its number, reversed.
    const int e = kVector == 8 ? (lane & 2) << 1 | (lane & 4) >> 1 | (lane & 8) >> 3
                               : (lane & 2) | (lane & 4) >> 2;
    const float4 norms = batch.norms[t];
    const float sum = batch.decay_of(t).apply(sums[0]);
    const float v = batch.v[t][Columns<Part>::position(e)];
    const float mine = new_value(norms, batch.beta[t], v, sum);  // Of lanes that have S^T k.
    const float given = __shfl_xor_sync(kFullWarp, mine, 1);
    if ((lane & 1) != 0 && (kVector == 8 || (lane & 8) == 0)) {
      put(e, output(norms, sum, given));
    }
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const int from =
          kVector == 8 ? (i & 4) >> 1 | (i & 2) << 1 | (i & 1) << 3 : (i & 2) | (i & 1) << 2;
      update[i] = __shfl_sync(kFullWarp, mine, (lane & 16) | from);
    }
  }

  template <class Batch, class Put>
  __device__ __forceinline__ static void finish_in_block(float (&update)[kVector],
                                                         float (&sums)[2 * kVector],
                                                         float (&part)[kWarps][2 * kColumns],
                                                         const Batch &batch, int t, Put put) {
    constexpr int kGroupsOfWarp = 32 / Part::kPlaces;
    static_assert(kGroupsOfWarp == 4 || kGroupsOfWarp == 2);
    const int thread = fresh_thread(), lane = thread & 31;
    float *const own = part[thread >> 5];
    share<Part::kPlaces>(sums, 2 * kVector, lane);
    float *const row = (lane & Part::kPlaces) != 0 ? own + kColumns : own;
    if constexpr (kGroupsOfWarp == 4) {
      share<16>(sums, kVector, lane);
      constexpr int kEach = kVector / 2;
      const int at = Columns<Part>::position((lane & 16) != 0 ? kEach : 0);
      if constexpr (kEach == 4) {
        *reinterpret_cast<float4 *>(row + at) = make_float4(sums[0], sums[1], sums[2], sums[3]);
      } else {
        *reinterpret_cast<float2 *>(row + at) = make_float2(sums[0], sums[1]);
      }
    } else {
#pragma unroll
      for (int e = 0; e < kVector; e += 4) {
        *reinterpret_cast<float4 *>(row + Columns<Part>::position(e)) =
            make_float4(sums[e], sums[e + 1], sums[e + 2], sums[e + 3]);
      }
    }
    __syncthreads();
    const float4 norms = batch.norms[t];
    const float beta = batch.beta[t];
    const Decay decay = batch.decay_of(t);
    float v[kVector];
    Columns<Part>::load(v, batch.v[t]);
#pragma unroll
    for (int e = 0; e < kVector; e += 4) {
      float x[kWarps][4];
#pragma unroll
      for (int w = 0; w < kWarps; ++w) {
        const float4 f = *reinterpret_cast<const float4 *>(part[w] + Columns<Part>::position(e));
        x[w][0] = f.x, x[w][1] = f.y, x[w][2] = f.z, x[w][3] = f.w;
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float y[kWarps];
#pragma unroll
        for (int w = 0; w < kWarps; ++w) y[w] = x[w][i];
        update[e + i] = new_value(norms, beta, v[e + i], decay.apply(sum_of(y)));
      }
    }
    // Groups share the columns of their place.
    const int e = Part::group();
    if (e < kVector) {
      const int at = Columns<Part>::position(e);
      float y[kWarps];
#pragma unroll
      for (int w = 0; w < kWarps; ++w) y[w] = part[w][kColumns + at];
      float mine = update[0];
#pragma unroll
      for (int i = 1; i < kVector; ++i) mine = e == i ? update[i] : mine;
      put(e, output(norms, decay.apply(sum_of(y)), mine));
    }
  }

  __device__ __forceinline__ static float sum_of(float (&x)[kWarps]) {
    if constexpr (kWarps == 8) {
#pragma unroll
      for (int i = 0; i < 4; ++i) x[i] = x[2 * i] + x[2 * i + 1];
    }
    return (x[0] + x[1]) + (x[2] + x[3]);
  }
};

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_RULE_BLOCK_CUH_
