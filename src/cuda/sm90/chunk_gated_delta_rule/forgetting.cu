#include "cuda/device/element.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/forms.h"
#include "cuda/sm90/chunk_gated_delta_rule/launch.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segment_growth.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segments.h"

// Calls of which only heads are cut that forget (segments.h), in two kernels:
//
//     cut      a block for each segment. It asks whether all segments of its head but the last
//     forget
//              within `most` steps. If so it starts from nothing, so many steps early that what
//              came before them is forgotten; else it is done.
//     uncut    two half heads for every head that remembers; its other blocks are done at once
//
// Blocks of `cut` let `uncut` start when they have their answers, which is soon. One kernel of both
// is slower by 6 % a step for heads that remember: its code is spread too far.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {
namespace {

constexpr int kWarps = kThreads / 32;
constexpr int kRoom = 2048;     ///< Steps that are looked at together.
constexpr int kMostEarly = 64;  ///< Most steps that a segment may start early.

/// What asking needs of shared memory.
struct Asked {
  float logs[kRoom];       ///< Of the steps' bounds, from the last of each segment back.
  int wanted[kRoom / 8];   ///< Of them, if no token lets the state grow.
  bool missed[kRoom / 8];  ///< What they leave is too much.
  int start;               ///< Of the segment before the block's own.
};

/// Segments of a head, all but the last.
struct Ends {
  int64_t batch, begin;
  int head, count;
  int steps, most;  ///< Of each; so many of them count.

  /// Of steps `step` from the end of segment `segment`.
  __device__ __forceinline__ int64_t token(int segment, int step) const {
    return begin + (int64_t{segment} * steps + steps - 1 - step) * kStep;
  }
};

/// Whether they all forget; leaves where segment `own` has to start. By the whole block.
template <bool kAligned>
__device__ __forceinline__ bool forget(const DeltaRule &p, const Ends &ends, int own, Asked &s,
                                       int thread) {
  const int lane = thread & 31, warp = thread >> 5, batch = kRoom / ends.most;
  for (int base = 0; base < ends.count; base += batch) {
    const int segments = min(ends.count - base, batch), all = segments * ends.most;
    __syncthreads();
    // Steps far from the ends come last, so that those that count come to all warps.
#pragma unroll 2
    for (int i = warp; i < all; i += kWarps) {
      const int64_t token = ends.token(base + i % segments, i / segments);
      const float x = step_decay(p, ends.batch, token, ends.head, lane);
      if (lane == 0) s.logs[i] = x;
    }
    __syncthreads();
    // How many steps suffice if no token lets the state grow; whether they do, by their keys; and
    // if not, whether more would.
#pragma unroll 1
    for (int pass = 0; pass < 3; ++pass) {
      bool found = true;
      if (thread < segments) {
        const int end = pass == 1 ? s.wanted[thread] : ends.most;
        float sum = 0.0F;
        int step = 0;
        found = false;
        while (!found && step < end) {
          sum += s.logs[step++ * segments + thread];
          found = sum <= -kForgotten;
        }
        if (pass == 0) s.wanted[thread] = step;
        s.missed[thread] = !found;
        if (base + thread == own) s.start = ends.steps - step;
      }
      const bool all_found = __syncthreads_and(found);
      if (pass == 1 ? all_found : !all_found) {
        if (pass != 1) return false;
        break;
      }
      if (pass == 2) break;
#pragma unroll 1
      for (int i = warp; i < all; i += kWarps) {
        const int segment = i % segments, step = i / segments;
        const bool is_wanted = step < s.wanted[segment];
        if (pass == 0 ? !is_wanted : is_wanted || !s.missed[segment]) continue;
        const float x =
            step_growth<kAligned>(p, ends.batch, ends.token(base + segment, step), ends.head, lane);
        if (lane == 0) s.logs[i] += x;
      }
      __syncthreads();
    }
  }
  return true;
}

/// The segments' first row of a sequence.
__device__ __forceinline__ int first_row(const Sequences &s, const Segments &all, int sequence) {
  int row = 0;
  for (int n = 0; n < sequence; ++n) row += segments_of(s, all.length, n);
  return row;
}

template <class F, bool kAligned>
__global__ void __launch_bounds__(kThreads, 1)
    cut_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Plan plan,
               const __grid_constant__ Maps maps, int most) {
  extern __shared__ unsigned char memory[];
  unsigned char *const shared = memory + ((1024 - (shared_address(memory) & 1023)) & 1023);
  const Segments &all = plan.segments;
  const int thread = static_cast<int>(threadIdx.x);
  const int heads = static_cast<int>(p.heads.value_heads);
  const int row = static_cast<int>(blockIdx.x) / heads;
  const SegmentPlace place = find_segment(p.sequences, all, row);
  bool forgets = place.sequence >= 0;
  if (forgets) {
    auto &s = *reinterpret_cast<Asked *>(shared);
    const SequenceSpan span = clamped_span(p.sequences, place.sequence);
    const int own = place.offset / all.length, steps = all.length / kStep;
    Ends ends;
    ends.batch = span.batch;
    ends.begin = span.begin;
    ends.head = static_cast<int>(blockIdx.x) - row * heads;
    ends.count = segments_of(p.sequences, all.length, place.sequence) - 1;
    ends.steps = steps;
    ends.most = most;
    forgets = forget<kAligned>(p, ends, own - 1, s, thread);
    __syncthreads();
    if (thread == 0) {
      int *const starts = all.starts + ends.head;
      if (own > 0 && forgets) starts[(row - 1) * heads] = s.start;
      // For the other kernel, in a place that nobody else has a use for.
      if (place.first) starts[(row + ends.count) * heads] = forgets ? 0 : kRemembers;
      __threadfence();
    }
    __syncthreads();
  }
  let_next_start();
  if (!forgets) {
    if (blockIdx.x == 0) wait_for_previous();
    return;
  }
  run_block(p, plan, maps, *reinterpret_cast<Shared<F> *>(shared));
}

template <class F>
__global__ void __launch_bounds__(kThreads, 1)
    uncut_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Plan plan,
                 const __grid_constant__ Maps maps) {
  extern __shared__ unsigned char memory[];
  const int index = static_cast<int>(blockIdx.x);
  if (index == plan.items) {  // Who waits for this kernel waits for the other.
    wait_for_previous();
    return;
  }
  const Segments &all = plan.segments;
  const int heads = static_cast<int>(p.heads.value_heads);
  const int sequence = index / (2 * heads), head = index / 2 - sequence * heads;
  const int last = first_row(p.sequences, all, sequence + 1) - 1;
  if (__ldcg(&all.starts[last * heads + head]) != kRemembers) return;
  run_block(
      p, plan, maps,
      *reinterpret_cast<Shared<F> *>(memory + ((1024 - (shared_address(memory) & 1023)) & 1023)));
}

constexpr int kCopyThreads = 256;

/// Copies the states that first segments start from.
__global__ void __launch_bounds__(kCopyThreads)
    copy_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Segments all) {
  let_next_start();
  const int heads = static_cast<int>(p.heads.value_heads);
  const int sequence = static_cast<int>(blockIdx.x) / heads;
  const int head = static_cast<int>(blockIdx.x) - sequence * heads;
  const int64_t slot = p.initial_slot(sequence);
  if (slot < 0 || !p.reads_state(sequence)) return;
  const int row = first_row(p.sequences, all, sequence);
  const Tensor &from = p.initial_state;
  for (int i = static_cast<int>(threadIdx.x); i < kDim * kDim; i += kCopyThreads) {
    const int key = i / kDim, value = i % kDim;
    *all.transfers.at<float>(row, head, key, value) =
        load_any(from, from.offset(slot, head, key, value));
  }
}

template <class Cut, bool kAligned>
Status launch_cut(const DeltaRule &p, const Launch &l, const Prepared &cut, int most) {
  constexpr size_t kBytes = std::max(kSharedBytes<Cut>, sizeof(Asked) + 1024);
  // One item a block, whatever the device has: a block has one head.
  if (!cut.plan.segments.initial_copied) {
    return launch<cut_kernel<Cut, kAligned>>("chunk_gated_delta_rule", l, cut.plan.items, kThreads,
                                             kBytes, p, cut.plan, cut.maps, most);
  }
  const Status s =
      launch<copy_kernel>("chunk_gated_delta_rule", l, p.sequences.count * p.heads.value_heads,
                          kCopyThreads, 0, p, cut.plan.segments);
  if (!s.ok()) return s;
  return launch_beside_previous<cut_kernel<Cut, kAligned>>(l, cut.plan.items, kThreads, kBytes, p,
                                                           cut.plan, cut.maps, most);
}

template <class Uncut, class Cut, bool kAligned>
Status launch_both(const DeltaRule &p, const Launch &l, const Prepared &uncut, const Prepared &cut,
                   int most) {
  const Status s = launch_cut<Cut, kAligned>(p, l, cut, most);
  if (!s.ok()) return s;
  return launch_beside_previous<uncut_kernel<Uncut>>(
      l, uncut.plan.items + 1, kThreads, kSharedBytes<Uncut>, p, uncut.plan, uncut.maps);
}

}  // namespace

Status launch_forgetting(const DeltaRule &p, const Launch &l, int64_t length) {
  Segments all = lay_out_segments(p, l, length, false);
  if (all.count == 0) return {};
  // In place the last segment of a sequence may be done before the first has begun.
  all.initial_copied = p.initial_state.present() && p.final_state.present() &&
                       p.initial_state.data == p.final_state.data;
  // A quarter of a segment, or 256 tokens.
  const int most = std::clamp(all.length / kStep / 4, 8, kMostEarly);
  const Prepared uncut = prepare<HalfHead>(p, l, all), cut = prepare<WarmSegment>(p, l, all);
  if (is_straight(p, cut.plan)) {
    return launch_both<Straight<HalfHead>, Straight<WarmSegment>, true>(p, l, uncut, cut, most);
  }
  return launch_both<HalfHead, WarmSegment, false>(p, l, uncut, cut, most);
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
