#ifndef GDN_REFERENCE_BACKEND_H_
#define GDN_REFERENCE_BACKEND_H_

#include "core/backend.h"

namespace gdn::reference {

/// The backend "reference": every operation in float64, straight from its definition. It decides
/// what the others mean; speed is no concern.
const Backend &backend();

}  // namespace gdn::reference

#endif  // GDN_REFERENCE_BACKEND_H_
