#ifndef GDN_CASES_STAGE_RUN_H_
#define GDN_CASES_STAGE_RUN_H_

#include <string>
#include <vector>

#include "cases/errors.h"
#include "cases/stage_call.h"

namespace gdn::testing {

/// One stage of a case, or the chain of all stages, held against the float64 reference.
struct StageVerdict {
  std::string part;     ///< The stage's name, or "all stages".
  Error error;          ///< The worst of its outputs.
  std::string failure;  ///< Empty: passed. Else sentences.
  bool served = true;   ///< False: the backend says that it does not serve such a call.
};

/// True if the stages know everything that the case asks for.
bool for_stages(const Case &c);

/// Runs each stage on what the reference makes of the stages before it, rounded to the types that
/// the stage reads, then all stages one on the other's results, which the recurrence is held
/// against. Judges outputs, guards and that no input was written. The latest case is kept, so run
/// all code paths of one before the next. Not for several threads.
std::vector<StageVerdict> run_stages(const Case &c, Element type, const Target &target,
                                     uint64_t seed = 0);

}  // namespace gdn::testing

#endif  // GDN_CASES_STAGE_RUN_H_
