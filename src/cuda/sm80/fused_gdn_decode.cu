#include "cuda/sm80/kernels.h"

namespace gdn::cuda::sm80 {

Status fused_gdn_decode(const FusedGdnDecode &, const Launch &) {
  return {Code::unsupported, "the cuda backend does not have fused_gdn_decode."};
}

}  // namespace gdn::cuda::sm80
