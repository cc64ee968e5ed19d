#ifndef GDN_CUDA_SM90_CHUNK_FWD_H_KERNEL_H_
#define GDN_CUDA_SM90_CHUNK_FWD_H_KERNEL_H_

#include "core/stages.h"
#include "cuda/runtime.h"

namespace gdn::cuda::sm90 {

/// True if the Hopper kernel serves the call: bfloat16, DK = DV = 128 and chunks of 64 tokens.
/// Strides and alignment do not enter, since result bits must not depend on them.
bool chunk_fwd_h_applies(const ChunkFwdH &p);

/// The chain of states on Hopper.
Status chunk_fwd_h(const ChunkFwdH &p, const Launch &l);

}  // namespace gdn::cuda::sm90

#endif  // GDN_CUDA_SM90_CHUNK_FWD_H_KERNEL_H_
