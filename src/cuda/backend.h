#ifndef GDN_CUDA_BACKEND_H_
#define GDN_CUDA_BACKEND_H_

#include "core/backend.h"

namespace gdn::cuda {

/// The backend "cuda", whose code paths are the rows of paths.cc. On a machine without a driver
/// none is supported and every call says so.
const Backend &backend();

}  // namespace gdn::cuda

#endif  // GDN_CUDA_BACKEND_H_
