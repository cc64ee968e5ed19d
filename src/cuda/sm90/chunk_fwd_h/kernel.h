#ifndef GDN_CUDA_SM90_CHUNK_FWD_H_KERNEL_H_
#define GDN_CUDA_SM90_CHUNK_FWD_H_KERNEL_H_

#include "core/stages.h"
#include "cuda/runtime.h"

namespace gdn::cuda::sm90::chunk_fwd_h {

/// The chain of states on Hopper: bfloat16 with DK = DV = 128 and chunks of 64 tokens. sm80's
/// serves the rest.
Status run(const ChunkFwdH &p, const Launch &l);

}  // namespace gdn::cuda::sm90::chunk_fwd_h

#endif  // GDN_CUDA_SM90_CHUNK_FWD_H_KERNEL_H_
