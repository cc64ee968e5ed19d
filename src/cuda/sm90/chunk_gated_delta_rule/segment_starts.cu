#include "cuda/device/element.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/forms.h"
#include "cuda/sm90/chunk_gated_delta_rule/launch.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segments.h"

// Where N of each segment starts. What a token does to a state's length is at most a factor of
//
//     e^g max(1, |1 - beta |k|^2|)
//
// and the product of these from a step to the segment's end bounds what is left of the state that
// comes into that step. The latest step with a product of 2^-kForgotten or less is the first that
// counts. Where there is none among the last `most` steps the segment remembers, and NaN makes it
// remember too.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {
namespace {

constexpr int kStartThreads = 256;
constexpr int kStartWarps = kStartThreads / 32;  ///< Each has a step at a time.

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int i = 16; i > 0; i >>= 1) x += __shfl_xor_sync(kFullWarp, x, i);
  return x;
}

/// |k|^2, as the kernels use k.
__device__ __forceinline__ float key_square(const DeltaRule &p, int64_t batch, int64_t token,
                                            int head, bool aligned) {
  if (p.qk_l2norm) return 1.0F;
  const bf16 *const k = p.k.at<const bf16>(batch, token, p.heads.key_head(head));
  float sum = 0.0F;
  if (aligned) {
#pragma unroll
    for (int i = 0; i < kDim / 8; ++i) {
      const uint4 x = reinterpret_cast<const uint4 *>(k)[i];
      for (const uint32_t e : {x.x, x.y, x.z, x.w}) {
        const float2 f = unpack2<bf16>(e);
        sum = fmaf(f.x, f.x, fmaf(f.y, f.y, sum));
      }
    }
  } else {
#pragma unroll 8
    for (int i = 0; i < kDim; ++i) sum = fmaf(to_float(k[i]), to_float(k[i]), sum);
  }
  return sum;
}

/// Base-2 logarithm of max(1, x); of NaN NaN.
__device__ __forceinline__ float log2_above_one(float x) { return x <= 1.0F ? 0.0F : __log2f(x); }

/// The state that comes into a sequence.
__device__ __forceinline__ void copy_state(const DeltaRule &p, const Segments &all, int64_t slot,
                                           int row, int head, int thread) {
  const Tensor &from = p.initial_state;
  for (int i = thread; i < kDim * kDim; i += kStartThreads) {
    const int key = i % kDim, value = i / kDim;
    *all.transfers.at<float>(row, head, key, value) =
        load_any(from, from.offset(slot, head, key, value));
  }
}

__global__ void __launch_bounds__(kStartThreads)
    starts_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Segments all,
                  int most, bool aligned, bool copy_states) {
  __shared__ float sums[kStartWarps];
  let_next_start();
  const int thread = static_cast<int>(threadIdx.x), lane = thread & 31, warp = thread >> 5;
  const int heads = static_cast<int>(p.heads.value_heads);
  const int row = static_cast<int>(blockIdx.x) / heads;
  const int head = static_cast<int>(blockIdx.x) - row * heads;
  const SegmentPlace place = find_segment(p.sequences, all, row);
  if (place.sequence < 0) return;
  if (copy_states && place.first && p.reads_state(place.sequence)) {
    const int64_t slot = p.initial_slot(place.sequence);
    if (slot >= 0) copy_state(p, all, slot, row, head, thread);
  }
  if (place.last) return;  // Nobody asks.
  const SequenceSpan span = clamped_span(p.sequences, place.sequence);
  const int64_t begin = span.begin + place.offset;
  int *const start = &all.starts[row * heads + head];
  int step = all.length / kStep;  // Those from it on have been looked at.
  const int least = max(step - most, 0);

  // Decays alone, which are read at once, tell most segments that remember.
  float sum = 0.0F;
#pragma unroll 4
  for (int t = least * kStep + thread; t < all.length; t += kStartThreads) {
    sum += token_decay(p, span.batch, begin + t, head);
  }
  sum = warp_sum(sum);
  if (lane == 0) sums[warp] = sum;
  __syncthreads();
  sum = 0.0F;
  for (const float x : sums) sum += x;
  __syncthreads();
  bool found = false;
  if (sum * kLog2E <= -kForgotten) {
    sum = 0.0F;
    while (!found && step > least) {
      const int own = step - 1 - warp;
      float x = 0.0F;
      if (own >= least) {
        const int64_t token = begin + own * kStep + lane;
        const float beta = token_beta(p, span.batch, token, head);
        x = token_decay(p, span.batch, token, head) * kLog2E +
            log2_above_one(fabsf(1.0F - beta * key_square(p, span.batch, token, head, aligned)));
      }
      x = warp_sum(x);
      if (lane == 0) sums[warp] = x;
      __syncthreads();
      for (int i = 0; i < kStartWarps && !found && step > least; ++i) {
        sum += sums[i];
        --step;
        found = sum <= -kForgotten;
      }
      __syncthreads();
    }
  }
  if (thread == 0) *start = found ? step : kRemembers;
}

}  // namespace

Status launch_segment_starts(const DeltaRule &p, const Launch &l, const Segments &segments,
                             int most, bool copy_states) {
  const bool aligned = reinterpret_cast<uintptr_t>(p.k.data) % 16 == 0 && p.k.stride[0] % 8 == 0 &&
                       p.k.stride[1] % 8 == 0 && p.k.stride[2] % 8 == 0;
  return launch<starts_kernel>("chunk_gated_delta_rule", l, segments.count * p.heads.value_heads,
                               kStartThreads, 0, p, segments, most, aligned, copy_states);
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
