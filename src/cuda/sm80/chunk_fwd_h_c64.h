#ifndef GDN_CUDA_SM80_CHUNK_FWD_H_C64_H_
#define GDN_CUDA_SM80_CHUNK_FWD_H_C64_H_

#include "core/stages.h"
#include "cuda/runtime.h"

namespace gdn::cuda::sm80 {

/// chunk_fwd_h for 16-bit types, chunks of 64 tokens and DK up to 128, where the first function
/// says that the device has the shared memory for it.
bool chunk_fwd_h_c64_applies(const ChunkFwdH &p, const Launch &l);
Status chunk_fwd_h_c64(const ChunkFwdH &p, const Launch &l);

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_CHUNK_FWD_H_C64_H_
