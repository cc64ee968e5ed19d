#ifndef GDN_CUDA_SM80_FUSED_GDN_DECODE_LARGE_H_
#define GDN_CUDA_SM80_FUSED_GDN_DECODE_LARGE_H_

#include "core/fused_gdn_decode.h"
#include "cuda/runtime.h"

namespace gdn::cuda::sm80 {

/// fused_gdn_decode in two launches, for calls of one token a sequence that have more states than a
/// GPU works on at a time; the same bits. The first function says by shapes and types how many
/// bytes of Launch::workspace a call gets, 0 for one of another kind; the second whether the device
/// and the strides of a call allow it.
size_t fused_gdn_decode_workspace(const FusedGdnDecode &p, bool no_split);
bool fused_gdn_decode_large_applies(const FusedGdnDecode &p, const Launch &l);
Status fused_gdn_decode_large(const FusedGdnDecode &p, const Launch &l);

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_FUSED_GDN_DECODE_LARGE_H_
