#include "cuda/sm90/chunk_gated_delta_rule/forms.h"
#include "cuda/sm90/chunk_gated_delta_rule/launch.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segments.h"

// Calls of more heads than segments.h cuts whatever their decays. A block takes a segment of a head
// that forgets: from nothing, and so many steps early that what came before them is forgotten. Of
// any other head two blocks take half of the value columns each, and the rest have nothing to do.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {
namespace {

/// Whether all segments of the head but the last forget.
__device__ __forceinline__ bool forgets(const DeltaRule &p, const Segments &all, int row,
                                        int head) {
  const int heads = static_cast<int>(p.heads.value_heads);
  const SegmentPlace place = find_segment(p.sequences, all, row);
  if (place.sequence < 0) return true;
  const int first = row - place.offset / all.length;
  const int end = first + segments_of(p.sequences, all.length, place.sequence) - 1;
  for (int r = first; r < end; ++r) {
    if (all.starts[r * heads + head] == kRemembers) return false;
  }
  return true;
}

template <class Cut, class Uncut>
__global__ void __launch_bounds__(kThreads, 1)
    forgetting_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Plan plan,
                      const __grid_constant__ Maps maps, const __grid_constant__ Maps half_maps) {
  extern __shared__ unsigned char memory[];
  unsigned char *const shared = memory + ((1024 - (shared_address(memory) & 1023)) & 1023);
  wait_for_previous();
  const int heads = static_cast<int>(p.heads.value_heads);
  const int row = static_cast<int>(blockIdx.x) / heads;
  if (forgets(p, plan.segments, row, static_cast<int>(blockIdx.x) - row * heads)) {
    run_block(p, plan, maps, *reinterpret_cast<Shared<Cut> *>(shared));
  } else {
    run_block(p, plan, half_maps, *reinterpret_cast<Shared<Uncut> *>(shared));
  }
}

template <class Cut, class Uncut>
Status launch_pair(const DeltaRule &p, const Launch &l, const Prepared &cut, const Maps &half) {
  constexpr size_t kBytes = std::max(kSharedBytes<Cut>, kSharedBytes<Uncut>);
  // One item a block, whatever the device has: a block has one form.
  return launch_beside_previous<forgetting_kernel<Cut, Uncut>>(l, cut.plan.items, kThreads, kBytes,
                                                               p, cut.plan, cut.maps, half);
}

}  // namespace

Status launch_forgetting(const DeltaRule &p, const Launch &l, int64_t length) {
  const Segments all = lay_out_segments(p, l, length, false);
  if (all.count == 0) return {};
  // Steps that a segment may start early: up to 256 tokens or a quarter of it.
  const int most = std::max(8, all.length / kStep / 4);
  const Status s = launch_segment_starts(p, l, all, most, true);
  if (!s.ok()) return s;
  const Prepared cut = prepare<WarmSegment>(p, l, all);
  const Maps half = prepare<HalfOfForgetting>(p, l, all).maps;
  return is_straight(p, cut.plan)
             ? launch_pair<Straight<WarmSegment>, Straight<HalfOfForgetting>>(p, l, cut, half)
             : launch_pair<WarmSegment, HalfOfForgetting>(p, l, cut, half);
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
