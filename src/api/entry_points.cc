// The C functions of all operations, from the list of core/operations.h.

#include "api/head_dims_check.h"
#include "api/last_error.h"
#include "api/operation.h"
#include "api/overlap_check.h"

namespace gdn::api {
namespace {

/// The part that a call and its workspace query share; the operation's service by the chosen
/// backend, or nullptr after a failure.
template <class Op, class Args>
const Service<Op> *prepare(const Checks<Op, Args> &checks, Call *call, const Args *args,
                           const gdn_exec *exec, typename Op::Problem *problem, Target *target) {
  Args a;
  if (!read_struct(call, "args", args, &a)) return nullptr;
  checks.shapes(call, a, problem);
  resolve(call, exec, call->device(), target);
  if (!call->ok()) return nullptr;
  const Service<Op> &service = target->backend->operations().template at<Op>();
  if (service.run == nullptr) {
    call->fail(Code::unsupported, "the ", target->backend->name(),
               " backend does not have this operation.");
    return nullptr;
  }
  if constexpr (requires { problem->key_dim; }) {
    check_head_dims(call, *target->backend, service.head_dims, *problem);
  } else if constexpr (requires { problem->rule; }) {
    check_head_dims(call, *target->backend, service.head_dims, problem->rule, "state", "state");
  }
  return call->ok() ? &service : nullptr;
}

template <class Op>
size_t workspace_bytes(const Service<Op> &service, const typename Op::Problem &problem,
                       const Exec &exec) {
  return service.workspace != nullptr ? service.workspace(problem, exec) : 0;
}

/// Body of an entry point.
template <class Op, class Args>
gdn_status perform(const Checks<Op, Args> &checks, const char *name, const Args *args,
                   const gdn_exec *exec) noexcept {
  return guarded(name, [&]() -> Status {
    Call call;
    typename Op::Problem problem;
    Target target;
    const Service<Op> *service = prepare(checks, &call, args, exec, &problem, &target);
    if (service == nullptr) return call.take();
    const size_t workspace = workspace_bytes(*service, problem, target.exec);
    check_workspace(&call, target, workspace);
    check_memory(&call, target.exec.workspace, workspace);
    if (checks.contents != nullptr && target.check_contents && call.ok()) {
      checks.contents(&call, target, problem);
    }
    if (!call.ok()) return call.take();
    if (call.nothing_to_write()) return {};
    return service->run(problem, target.exec);
  });
}

/// Body of a workspace query.
template <class Op, class Args>
gdn_status query_workspace(const Checks<Op, Args> &checks, const char *name, const Args *args,
                           const gdn_exec *exec, size_t *bytes) noexcept {
  return guarded(name, [&]() -> Status {
    Call call;
    typename Op::Problem problem;
    Target target;
    if (bytes == nullptr) {
      call.invalid("bytes is NULL, expected a pointer to a size_t.");
      return call.take();
    }
    const Service<Op> *service = prepare(checks, &call, args, exec, &problem, &target);
    if (service == nullptr) return call.take();
    *bytes = workspace_bytes(*service, problem, target.exec);
    return {};
  });
}

}  // namespace
}  // namespace gdn::api

// The assertions name the functions before they are defined: those that gdn.h does not declare do
// not compile.
#define GDN_WORKSPACE_QUERY_true(name, args_struct)                                                \
  static_assert(requires { &gdn_##name##_workspace_size; });                                       \
  gdn_status gdn_##name##_workspace_size(const args_struct *args, const gdn_exec *exec,            \
                                         size_t *bytes) {                                          \
    return gdn::api::query_workspace(gdn::api::checks::name, "gdn_" #name "_workspace_size", args, \
                                     exec, bytes);                                                 \
  }
#define GDN_WORKSPACE_QUERY_false(name, args_struct)

#define GDN_ENTRY_POINT(name, problem, args_struct, workspace)                  \
  static_assert(requires { &gdn_##name; });                                     \
  gdn_status gdn_##name(const args_struct *args, const gdn_exec *exec) {        \
    return gdn::api::perform(gdn::api::checks::name, "gdn_" #name, args, exec); \
  }                                                                             \
  GDN_WORKSPACE_QUERY_##workspace(name, args_struct)

GDN_FOR_EACH_OPERATION(GDN_ENTRY_POINT)
