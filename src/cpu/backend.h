#ifndef GDN_CPU_BACKEND_H_
#define GDN_CPU_BACKEND_H_

#include "core/backend.h"

namespace gdn::cpu {

/// The backend "cpu": kernels for several instruction sets on a pool of threads.
const Backend &backend();

}  // namespace gdn::cpu

#endif  // GDN_CPU_BACKEND_H_
