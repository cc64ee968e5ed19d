#include "cuda/sm90/chunk_gated_delta_rule/forms.h"
#include "cuda/sm90/chunk_gated_delta_rule/launch.cuh"

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

Status launch_half_heads(const DeltaRule &p, const Launch &l) {
  return launch_form<HalfHead>(p, l);
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
