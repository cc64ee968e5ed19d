#include "cuda/sm90/chunk_gated_delta_rule/forms.h"
#include "cuda/sm90/chunk_gated_delta_rule/launch.cuh"

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

Status launch_segment_outputs(const DeltaRule &p, const Launch &l, const Segments &segments) {
  // The bits are the same.
  const bool half = 2 * segments.count * p.heads.value_heads <= l.device->multiprocessors;
  return half ? launch_form<SegmentOutput<HalfHead>>(p, l, segments)
              : launch_form<SegmentOutput<WholeHead>>(p, l, segments);
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
