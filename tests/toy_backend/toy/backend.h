#ifndef GDN_TESTS_TOY_BACKEND_TOY_BACKEND_H_
#define GDN_TESTS_TOY_BACKEND_TOY_BACKEND_H_

#include "core/backend.h"

namespace gdn::toy {

/// A backend of two operations: what a new one needs at least.
const Backend &backend();

}  // namespace gdn::toy

#endif  // GDN_TESTS_TOY_BACKEND_TOY_BACKEND_H_
