#ifndef GDN_API_OPERATION_H_
#define GDN_API_OPERATION_H_

#include <cstring>

#include "api/args_struct.h"
#include "api/call.h"
#include "api/exec_check.h"
#include "api/last_error.h"
#include "api/overlap_check.h"
#include "core/backend.h"
#include "gdn/gdn.h"

namespace gdn::api {

/// How one entry point checks its arguments and runs.
template <class Args, class Problem>
struct Operation {
  const char *name;
  /// Checks everything that follows from the args struct and the tensors' headers; fills the
  /// problem. Reads no tensor's memory.
  void (*shapes)(Call *call, const Args &args, Problem *problem);
  /// Checks the contents of index arrays; nullptr if there are none.
  void (*contents)(Call *call, const Target &target, const Problem &problem);
  Status (Backend::*run)(const Problem &problem, const Exec &exec) const;
  /// nullptr: needs no workspace.
  size_t (Backend::*workspace)(const Problem &problem, const Exec &exec) const = nullptr;
};

/// Refuses a head width that the backend does not serve; `extent` (DK or DV) is the last dimension
/// of `operand`. A stage without that width has 0 there.
void check_head_dim(Call *call, const Backend &backend, const char *operand, const char *extent,
                    int64_t found);

template <class Problem>
void check_head_dims(Call *call, const Backend &backend, const Problem &p) {
  constexpr bool has_q = requires { p.q; };
  constexpr bool has_v = requires { p.v; };
  constexpr bool has_u = requires { p.u; };
  check_head_dim(call, backend, has_q ? "q" : "k", "DK", p.key_dim);
  check_head_dim(call, backend, has_v ? "v" : has_u ? "u" : "v_new", "DV", p.value_dim);
}

/// The part that a call and its workspace query share.
template <class Args, class Problem>
bool prepare(const Operation<Args, Problem> &op, Call *call, const Args *args, const gdn_exec *exec,
             Problem *problem, Target *target) {
  Args a;
  if (!read_struct(call, "args", args, &a)) return false;
  op.shapes(call, a, problem);
  resolve(call, exec, call->device(), target);
  if constexpr (requires { problem->key_dim; }) {
    if (call->ok()) check_head_dims(call, *target->backend, *problem);
  }
  return call->ok();
}

/// Body of an entry point.
template <class Args, class Problem>
gdn_status perform(const Operation<Args, Problem> &op, const Args *args,
                   const gdn_exec *exec) noexcept {
  return guarded(op.name, [&]() -> Status {
    Call call;
    Problem problem;
    Target target;
    if (!prepare(op, &call, args, exec, &problem, &target)) return call.take();
    size_t workspace = 0;
    if (op.workspace != nullptr) workspace = (target.backend->*op.workspace)(problem, target.exec);
    check_workspace(&call, target, workspace);
    check_memory(&call, target.exec.workspace, workspace);
    if (op.contents != nullptr && target.check_contents && call.ok()) {
      op.contents(&call, target, problem);
    }
    if (!call.ok()) return call.take();
    if (call.nothing_to_write()) return {};
    return (target.backend->*op.run)(problem, target.exec);
  });
}

/// Body of a workspace query.
template <class Args, class Problem>
gdn_status query_workspace(const Operation<Args, Problem> &op, const char *name, const Args *args,
                           const gdn_exec *exec, size_t *bytes) noexcept {
  return guarded(name, [&]() -> Status {
    Call call;
    Problem problem;
    Target target;
    if (bytes == nullptr) {
      call.invalid("bytes is NULL, expected a pointer to a size_t.");
      return call.take();
    }
    if (!prepare(op, &call, args, exec, &problem, &target)) return call.take();
    *bytes = (target.backend->*op.workspace)(problem, target.exec);
    return {};
  });
}

}  // namespace gdn::api

#endif  // GDN_API_OPERATION_H_
