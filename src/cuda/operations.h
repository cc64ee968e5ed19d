#ifndef GDN_CUDA_OPERATIONS_H_
#define GDN_CUDA_OPERATIONS_H_

#include "core/operations.h"
#include "cuda/runtime.h"

namespace gdn::cuda {

// Every operation of the backend, launched asynchronously: no allocation, no synchronisation. What
// cu_seqlens and index arrays hold is clamped on the device; a slot past the pool counts as
// negative.

#define GDN_DECLARE_OPERATION(name, problem, args, workspace) \
  Status name(const problem &p, const Launch &l);
GDN_FOR_EACH_OPERATION(GDN_DECLARE_OPERATION)
#undef GDN_DECLARE_OPERATION

/// chunk_fwd_h for the shapes that the first function accepts.
bool chunk_fwd_h_c64_applies(const ChunkFwdH &p, const Launch &l);
Status chunk_fwd_h_c64(const ChunkFwdH &p, const Launch &l);

}  // namespace gdn::cuda

#endif  // GDN_CUDA_OPERATIONS_H_
