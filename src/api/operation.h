#ifndef GDN_API_OPERATION_H_
#define GDN_API_OPERATION_H_

#include "api/args_struct.h"
#include "api/call.h"
#include "api/exec_check.h"
#include "core/operations.h"
#include "gdn/gdn.h"

namespace gdn::api {

/// What the api checks before a backend runs the operation.
template <class Op, class ArgsStruct>
struct Checks {
  using Args = ArgsStruct;
  using Problem = typename Op::Problem;

  /// Checks everything that follows from the args struct and the tensors' headers; fills the
  /// problem. Reads no tensor's memory.
  void (*shapes)(Call *call, const Args &args, Problem *problem);
  /// Checks the contents of index arrays; nullptr if there are none.
  void (*contents)(Call *call, const Target &target, const Problem &problem) = nullptr;
};

/// The checks of every operation, each beside the functions that it names.
namespace checks {
#define GDN_DECLARE_CHECKS(name, problem, args, workspace) extern const Checks<op::name, args> name;
GDN_FOR_EACH_OPERATION(GDN_DECLARE_CHECKS)
#undef GDN_DECLARE_CHECKS
}  // namespace checks

}  // namespace gdn::api

#endif  // GDN_API_OPERATION_H_
