#include "cuda/sm90/chunk_gated_delta_rule/forms.h"
#include "cuda/sm90/chunk_gated_delta_rule/launch.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segment_growth.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segments.h"

// Where N of each segment starts: the latest step from which on a segment's bound
// (segment_growth.cuh) is 2^-kForgotten or less is the first that counts. Where there is none the
// segment remembers, and NaN makes it remember too.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {
namespace {

constexpr int kStartThreads = 512;
constexpr int kStartWarps = kStartThreads / 32;
constexpr int kKeyWarps = 8;  ///< Of these read keys, a step at a time: few steps count.

template <bool kAligned>
__global__ void __launch_bounds__(kStartThreads)
    starts_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Segments all) {
  __shared__ float sums[kStartWarps];
  let_next_start();
  const int thread = static_cast<int>(threadIdx.x), lane = thread & 31, warp = thread >> 5;
  const int heads = static_cast<int>(p.heads.value_heads);
  const int row = static_cast<int>(blockIdx.x) / heads;
  const int head = static_cast<int>(blockIdx.x) - row * heads;
  const SegmentPlace place = find_segment(p.sequences, all, row);
  if (place.sequence < 0 || place.last) return;  // Nobody asks.
  const SequenceSpan span = clamped_span(p.sequences, place.sequence);
  const int64_t begin = span.begin + place.offset;
  int step = all.length / kStep;  // Those from it on have been looked at.

  // Decays alone, which are read at once, tell most segments that remember.
  float sum = 0.0F;
#pragma unroll 4
  for (int t = thread; t < all.length; t += kStartThreads) {
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
    while (!found && step > 0) {
      const int own = step - 1 - warp;
      if (warp < kKeyWarps) {
        const int64_t token = begin + own * kStep;
        const float x = own < 0 ? 0.0F
                                : step_decay(p, span.batch, token, head, lane) +
                                      step_growth<kAligned>(p, span.batch, token, head, lane);
        if (lane == 0) sums[warp] = x;
      }
      __syncthreads();
      for (int i = 0; i < kKeyWarps && !found && step > 0; ++i) {
        sum += sums[i];
        --step;
        found = sum <= -kForgotten;
      }
      __syncthreads();
    }
  }
  if (thread == 0) all.starts[row * heads + head] = found ? step : kRemembers;
}

}  // namespace

Status launch_segment_starts(const DeltaRule &p, const Launch &l, const Segments &segments) {
  const int64_t blocks = segments.count * p.heads.value_heads;
  constexpr const char *kName = "chunk_gated_delta_rule";
  return keys_aligned(p)
             ? launch<starts_kernel<true>>(kName, l, blocks, kStartThreads, 0, p, segments)
             : launch<starts_kernel<false>>(kName, l, blocks, kStartThreads, 0, p, segments);
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
