#ifndef GDN_REFERENCE_OPERATIONS_H_
#define GDN_REFERENCE_OPERATIONS_H_

#include "core/operations.h"

namespace gdn::reference {

// Every operation in double, from its definition in gdn.h, in a file of its name. `threads` 0: what
// the process may use.
#define GDN_DECLARE_OPERATION(name, problem, args, workspace) \
  void name(const problem &p, int32_t threads);
GDN_FOR_EACH_OPERATION(GDN_DECLARE_OPERATION)
#undef GDN_DECLARE_OPERATION

}  // namespace gdn::reference

#endif  // GDN_REFERENCE_OPERATIONS_H_
