#ifndef GDN_CUDA_BACKEND_H_
#define GDN_CUDA_BACKEND_H_

#include "core/backend.h"

namespace gdn::cuda {

/// The backend "cuda". Code paths: "sm80" (every operation, any GPU from Ampere on) and "sm90a"
/// (the same, with the kernels of sm90/ where they apply; Hopper only). On a machine without a
/// driver none is supported and every call says so.
const Backend &backend();

}  // namespace gdn::cuda

#endif  // GDN_CUDA_BACKEND_H_
