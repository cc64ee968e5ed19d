#ifndef GDN_API_EXEC_CHECK_H_
#define GDN_API_EXEC_CHECK_H_

#include "api/call.h"
#include "core/backend.h"
#include "gdn/gdn.h"

namespace gdn::api {

/// Where and how a call runs.
struct Target {
  const Backend *backend = nullptr;
  Exec exec;
  /// The contents of cu_seqlens and of index arrays are to be checked.
  bool check_contents = false;
};

/// Reads exec (may be NULL) and GDN_BACKEND, GDN_ISA, GDN_CHECK; picks the backend for operands on
/// `device`.
void resolve(Call *call, const gdn_exec *exec, const Device &device, Target *target);

/// Checks that the workspace of target->exec serves a need of `bytes`.
void check_workspace(Call *call, const Target &target, size_t bytes);

}  // namespace gdn::api

#endif  // GDN_API_EXEC_CHECK_H_
