#include "cuda/device/element.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/forms.h"
#include "cuda/sm90/chunk_gated_delta_rule/launch.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segment_growth.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segments.h"

// Calls of which only heads are cut that forget (segments.h):
//
//     ask      whether all segments of a head but the last forget within `most` steps, and where
//              each would have to start
//     uncut    two half heads for every head that remembers; the other blocks are done at once
//     cut      a block for each segment of a head that forgets: from nothing, and so many steps
//              early that what came before them is forgotten
//
// Each is launched beside the one before. Blocks of `uncut` wait for `ask` and only then let `cut`
// start, whose blocks thus have the answers without waiting for uncut heads. One kernel of both
// forms is slower by 4 to 6 % a step, of heads that remember: its code is spread too far.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {
namespace {

constexpr int kAskThreads = 512;
constexpr int kAskWarps = kAskThreads / 32;
constexpr int kRoom = 2048;     ///< Steps that are looked at together.
constexpr int kMostEarly = 64;  ///< Most steps that a segment may start early.

/// The state that comes into a sequence.
__device__ __forceinline__ void copy_state(const DeltaRule &p, const Segments &all, int64_t slot,
                                           int row, int head, int thread) {
  const Tensor &from = p.initial_state;
#pragma unroll 1
  for (int i = thread; i < kDim * kDim; i += kAskThreads) {
    const int key = i / kDim, value = i % kDim;
    *all.transfers.at<float>(row, head, key, value) =
        load_any(from, from.offset(slot, head, key, value));
  }
}

/// The segments' first row of a sequence.
__device__ __forceinline__ int first_row(const Sequences &s, const Segments &all, int sequence) {
  int row = 0;
  for (int n = 0; n < sequence; ++n) row += segments_of(s, all.length, n);
  return row;
}

/// A block a head of a sequence. Leaves in starts, for all of its rows, kRemembers or the step that
/// what comes into the segment is forgotten from.
template <bool kAligned>
__global__ void __launch_bounds__(kAskThreads)
    ask_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Segments all,
               int most) {
  __shared__ float logs[kRoom];      // Of the steps' bounds, from the last of each segment back.
  __shared__ int wanted[kRoom / 8];  // Of them, from the decays alone.
  __shared__ bool missed[kRoom / 8];
  let_next_start();
  const int thread = static_cast<int>(threadIdx.x), lane = thread & 31, warp = thread >> 5;
  const int heads = static_cast<int>(p.heads.value_heads);
  const int sequence = static_cast<int>(blockIdx.x) / heads;
  const int head = static_cast<int>(blockIdx.x) - sequence * heads;
  const int row = first_row(p.sequences, all, sequence);
  const int last = segments_of(p.sequences, all.length, sequence) - 1;
  const int steps = all.length / kStep, batch = kRoom / most;
  const SequenceSpan span = clamped_span(p.sequences, sequence);
  if (row + last >= all.count) return;
  const int64_t slot = p.initial_slot(sequence);
  if (all.initial_copied && slot >= 0 && p.reads_state(sequence)) {
    copy_state(p, all, slot, row, head, thread);
  }
  bool remembers = false;
  for (int base = 0; base < last && !remembers; base += batch) {
    const int segments = min(last - base, batch);
    const auto token_of = [&](int i) {
      return span.begin + int64_t{base + i / most} * all.length + (steps - 1 - i % most) * kStep;
    };
    __syncthreads();
    for (int i = warp; i < segments * most; i += kAskWarps) {
      const float x = step_decay(p, span.batch, token_of(i), head, lane);
      if (lane == 0) logs[i] = x;
    }
    __syncthreads();
    // How many steps suffice if no token lets the state grow; whether they do, by their keys; and
    // if not, whether more would.
    for (int pass = 0; pass < 3 && !remembers; ++pass) {
      bool found = true;
      if (thread < segments) {
        const int end = pass == 1 ? wanted[thread] : most;
        float sum = 0.0F;
        int step = 0;
        found = false;
        while (!found && step < end) found = (sum += logs[thread * most + step++]) <= -kForgotten;
        if (pass == 0) wanted[thread] = step;
        missed[thread] = !found;
        if (found) all.starts[(row + base + thread) * heads + head] = steps - step;
      }
      const bool all_found = __syncthreads_and(found);
      if (pass == 1 ? all_found : !all_found) {
        remembers = pass != 1;
        break;
      }
      if (pass == 2) break;
      for (int i = warp; i < segments * most; i += kAskWarps) {
        const bool is_wanted = i % most < wanted[i / most];
        if (pass == 0 ? !is_wanted : is_wanted || !missed[i / most]) continue;
        const float x = step_growth<kAligned>(p, span.batch, token_of(i), head, lane);
        if (lane == 0) logs[i] += x;
      }
      __syncthreads();
    }
  }
  __syncthreads();
  if (remembers) {
    for (int i = thread; i <= last; i += kAskThreads)
      all.starts[(row + i) * heads + head] = kRemembers;
  } else if (thread == 0) {
    all.starts[(row + last) * heads + head] = 0;
  }
}

template <class F>
__global__ void __launch_bounds__(kThreads, 1)
    uncut_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Plan plan,
                 const __grid_constant__ Maps maps) {
  extern __shared__ unsigned char memory[];
  const int heads = static_cast<int>(p.heads.value_heads);
  const int sequence = static_cast<int>(blockIdx.x) / (2 * heads);
  const int head = static_cast<int>(blockIdx.x) / 2 - sequence * heads;
  const int row = first_row(p.sequences, plan.segments, sequence);
  wait_for_previous();
  let_next_start();
  if (plan.segments.starts[row * heads + head] != kRemembers) return;
  run_block(
      p, plan, maps,
      *reinterpret_cast<Shared<F> *>(memory + ((1024 - (shared_address(memory) & 1023)) & 1023)));
}

template <class F>
__global__ void __launch_bounds__(kThreads, 1)
    cut_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Plan plan,
               const __grid_constant__ Maps maps) {
  extern __shared__ unsigned char memory[];
  if (plan.segments.starts[blockIdx.x] == kRemembers) {
    if (blockIdx.x == 0) wait_for_previous();  // As in run_block().
    return;
  }
  run_block(
      p, plan, maps,
      *reinterpret_cast<Shared<F> *>(memory + ((1024 - (shared_address(memory) & 1023)) & 1023)));
}

template <class Uncut, class Cut>
Status launch_both(const DeltaRule &p, const Launch &l, const Prepared &uncut,
                   const Prepared &cut) {
  // One item a block, whatever the device has.
  const Status s = launch_beside_previous<uncut_kernel<Uncut>>(
      l, uncut.plan.items, kThreads, kSharedBytes<Uncut>, p, uncut.plan, uncut.maps);
  if (!s.ok()) return s;
  return launch_beside_previous<cut_kernel<Cut>>(l, cut.plan.items, kThreads, kSharedBytes<Cut>, p,
                                                 cut.plan, cut.maps);
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
  const int64_t heads = p.sequences.count * p.heads.value_heads;
  const Status s = keys_aligned(p) ? launch<ask_kernel<true>>("chunk_gated_delta_rule", l, heads,
                                                              kAskThreads, 0, p, all, most)
                                   : launch<ask_kernel<false>>("chunk_gated_delta_rule", l, heads,
                                                               kAskThreads, 0, p, all, most);
  if (!s.ok()) return s;
  const Prepared uncut = prepare<HalfHead>(p, l, all), cut = prepare<WarmSegment>(p, l, all);
  return is_straight(p, cut.plan)
             ? launch_both<Straight<HalfHead>, Straight<WarmSegment>>(p, l, uncut, cut)
             : launch_both<HalfHead, WarmSegment>(p, l, uncut, cut);
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
