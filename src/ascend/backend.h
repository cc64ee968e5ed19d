#ifndef GDN_ASCEND_BACKEND_H_
#define GDN_ASCEND_BACKEND_H_

#include "core/backend.h"

namespace gdn::ascend {

/// The backend "ascend": kernels for an Ascend 910B, run on a model of that machine. It is there to
/// test the kernels; its speed is that of a simulator, so it runs only when named.
const Backend &backend();

}  // namespace gdn::ascend

#endif  // GDN_ASCEND_BACKEND_H_
