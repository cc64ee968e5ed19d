#include "cuda/sm90/chunk_gated_delta_rule/forms.h"
#include "cuda/sm90/chunk_gated_delta_rule/launch.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segment_growth.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segments.h"

// Calls of more heads than segments.h cuts whatever their decays. A block takes a segment of a head
// that forgets: from nothing, and so many steps early that what came before them is forgotten. Of
// any other head two blocks take half of the value columns each, and the rest have nothing to do.
//
// Each block finds out for itself whether its head forgets, since a kernel before this one would
// cost heads that do not more than the question does: the decays at the ends of all segments are
// one load a thread in most calls, and keys are read where these say that the head may forget.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {
namespace {

constexpr int kWarps = kThreads / 32;

/// The end of one segment, as the warps see it that ask about it.
struct End {
  int64_t batch, token;  ///< The segment's first.
  int head;
  int steps, least;  ///< Steps of the segment; those from `least` on count.
  int warps, rank;   ///< So many ask, a step at a time; which of them this one is.
  bool asked;        ///< Else the warp is one too many.

  /// Sum of the warp's decays.
  __device__ __forceinline__ float decays(const DeltaRule &p, int lane) const {
    float sum = 0.0F;
    if (!asked) return sum;
#pragma unroll 4
    for (int step = steps - 1 - rank; step >= least; step -= warps) {
      sum += token_decay(p, batch, token + step * kStep + lane, head);
    }
    return warp_sum(sum);
  }
};

/// The step that what comes into the segment is forgotten from, or kRemembers. By the whole block,
/// which asks about several segments at once; sums has a place for each warp.
__device__ __forceinline__ int find_start(const DeltaRule &p, const End &end, bool aligned,
                                          float *sums, int warp, int lane) {
  float *const own = &sums[warp - end.rank];
  const float decays = end.decays(p, lane);
  if (lane == 0) sums[warp] = decays;
  __syncthreads();
  float sum = 0.0F;
  for (int i = 0; end.asked && i < end.warps; ++i) sum += own[i];
  // Decays alone tell most segments that remember. NaN remembers.
  bool found = !end.asked;
  if (__syncthreads_or(end.asked && !(sum * kLog2E <= -kForgotten))) return kRemembers;
  int step = end.steps;
  sum = 0.0F;
  do {
    const int next = step - 1 - end.rank;
    const bool counts = !found && next >= end.least;
    const float growth =
        counts ? step_growth(p, end.batch, end.token + next * kStep, end.head, aligned, lane)
               : 0.0F;
    if (lane == 0) sums[warp] = growth;
    __syncthreads();
    for (int i = 0; i < end.warps && !found && step > end.least; ++i) {
      sum += own[i];
      --step;
      found = sum <= -kForgotten;
    }
  } while (__syncthreads_or(!found && step > end.least));
  return found ? step : kRemembers;
}

/// Asks the second-level cache for what the first steps of a sequence read, since whole or half
/// heads are in need of it once they are told apart. By the whole block.
__device__ __forceinline__ void fetch_ahead(const DeltaRule &p, const SequenceSpan &span, int head,
                                            int thread) {
  constexpr int kTokens = 2 * kStep, kLine = 64;
  const int row = thread % kTokens, line = thread / kTokens % 2 * kLine;
  if (row >= span.length) return;
  const int64_t token = span.begin + row, key_head = p.heads.key_head(head);
  const bf16 *from = nullptr;
  switch (thread / (2 * kTokens)) {
    case 0:
      from = p.k.at<const bf16>(span.batch, token, key_head);
      break;
    case 1:
      from = p.q.at<const bf16>(span.batch, token, key_head);
      break;
    case 2:
      from = p.v.at<const bf16>(span.batch, token, head);
      break;
    default:
      return;
  }
  asm volatile("prefetch.global.L2 [%0];" ::"l"(from + line));
}

/// Whether all segments of the block's head but the last forget within so many steps. If so it
/// leaves where the block's own segment has to start for the roles.
__device__ __forceinline__ bool forgets(const DeltaRule &p, const Segments &all, int most,
                                        bool aligned) {
  __shared__ float sums[kWarps];
  const int thread = static_cast<int>(threadIdx.x), lane = thread & 31, warp = thread >> 5;
  const int heads = static_cast<int>(p.heads.value_heads);
  const int row = static_cast<int>(blockIdx.x) / heads;
  const SegmentPlace place = find_segment(p.sequences, all, row);
  if (place.sequence < 0) return true;
  const SequenceSpan span = clamped_span(p.sequences, place.sequence);
  const int own = place.offset / all.length;
  const int count = segments_of(p.sequences, all.length, place.sequence) - 1;
  End end;
  end.batch = span.batch;
  end.head = static_cast<int>(blockIdx.x) - row * heads;
  if (own < 2) fetch_ahead(p, span, end.head, thread);
  end.steps = all.length / kStep;
  end.least = max(end.steps - most, 0);
  for (int base = 0; base < count; base += kWarps) {
    const int segments = min(count - base, kWarps);
    end.warps = kWarps / segments;
    end.rank = warp % end.warps;
    const int segment = base + warp / end.warps;
    end.asked = warp / end.warps < segments;
    end.token = span.begin + int64_t{segment} * all.length;
    const int start = find_start(p, end, aligned, sums, warp, lane);
    if (__syncthreads_or(end.asked && start == kRemembers)) return false;
    if (end.asked && end.rank == 0 && lane == 0 && segment == own - 1) {
      all.starts[(row - 1) * heads + end.head] = start;
    }
  }
  __syncthreads();  // For what was left.
  return true;
}

template <class Cut, class Uncut>
__global__ void __launch_bounds__(kThreads, 1)
    forgetting_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Plan plan,
                      const __grid_constant__ Maps maps, const __grid_constant__ Maps half_maps,
                      int most, bool aligned) {
  extern __shared__ unsigned char memory[];
  unsigned char *const shared = memory + ((1024 - (shared_address(memory) & 1023)) & 1023);
  if (Cut::kStraight && threadIdx.x == 0) {
    for (const Maps *of : {&maps, &half_maps}) {
      for (const CUtensorMap *map : {&of->k, &of->q, &of->v, &of->g, &of->beta}) prefetch_map(map);
    }
  }
  if (forgets(p, plan.segments, most, aligned)) {
    run_block(p, plan, maps, *reinterpret_cast<Shared<Cut> *>(shared));
  } else {
    wait_for_previous();
    run_block(p, plan, half_maps, *reinterpret_cast<Shared<Uncut> *>(shared));
  }
}

constexpr int kCopyThreads = 256;

/// Copies the states that first segments start from.
__global__ void __launch_bounds__(kCopyThreads)
    copy_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Segments all) {
  let_next_start();
  const int heads = static_cast<int>(p.heads.value_heads);
  const int row = static_cast<int>(blockIdx.x) / heads;
  const int head = static_cast<int>(blockIdx.x) - row * heads;
  const SegmentPlace place = find_segment(p.sequences, all, row);
  if (place.sequence < 0 || !place.first || !p.reads_state(place.sequence)) return;
  const int64_t slot = p.initial_slot(place.sequence);
  if (slot < 0) return;
  const Tensor &from = p.initial_state;
  for (int i = static_cast<int>(threadIdx.x); i < kDim * kDim; i += kCopyThreads) {
    const int key = i / kDim, value = i % kDim;
    *all.transfers.at<float>(row, head, key, value) =
        load_any(from, from.offset(slot, head, key, value));
  }
}

template <class Cut, class Uncut>
Status launch_pair(const DeltaRule &p, const Launch &l, const Prepared &cut, const Maps &half) {
  constexpr size_t kBytes = std::max(kSharedBytes<Cut>, kSharedBytes<Uncut>);
  // Steps that a segment may start early: up to 256 tokens or a quarter of it.
  const int most = std::max(8, cut.plan.segments.length / kStep / 4);
  // One item a block, whatever the device has: a block has one form.
  const int blocks = cut.plan.items;
  if (!cut.plan.segments.initial_copied) {
    return launch<forgetting_kernel<Cut, Uncut>>("chunk_gated_delta_rule", l, blocks, kThreads,
                                                 kBytes, p, cut.plan, cut.maps, half, most,
                                                 keys_aligned(p));
  }
  const Status s = launch<copy_kernel>("chunk_gated_delta_rule", l, blocks, kCopyThreads, 0, p,
                                       cut.plan.segments);
  if (!s.ok()) return s;
  return launch_beside_previous<forgetting_kernel<Cut, Uncut>>(
      l, blocks, kThreads, kBytes, p, cut.plan, cut.maps, half, most, keys_aligned(p));
}

}  // namespace

Status launch_forgetting(const DeltaRule &p, const Launch &l, int64_t length) {
  Segments all = lay_out_segments(p, l, length, false);
  if (all.count == 0) return {};
  // The last segment of a sequence may be done before the first has begun.
  all.initial_copied = p.initial_state.present() && p.final_state.present() &&
                       p.initial_state.data == p.final_state.data;
  const Prepared cut = prepare<WarmSegment>(p, l, all);
  const Maps half = prepare<HalfOfForgetting>(p, l, all).maps;
  return is_straight(p, cut.plan)
             ? launch_pair<Straight<WarmSegment>, Straight<HalfOfForgetting>>(p, l, cut, half)
             : launch_pair<WarmSegment, HalfOfForgetting>(p, l, cut, half);
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
