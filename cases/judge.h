#ifndef GDN_CASES_JUDGE_H_
#define GDN_CASES_JUDGE_H_

#include <string>
#include <vector>

#include "cases/delta_rule_call.h"
#include "cases/errors.h"

namespace gdn::testing {

/// What the float64 reference makes of a call, in row-major order.
struct Expected {
  std::vector<float> o, state, checkpoints;
  std::string failure;  ///< Not empty: the reference refused the call.
};

/// Runs the reference on the widened call, so that nothing is rounded to 16 bits.
Expected expect(const DeltaRuleCall &call);

/// Bounds on Error: of everything, and of each block (one head of one sequence).
struct Tolerance {
  double total;
  double block;
};

/// The bounds for a case with results stored as `type` from inputs of type `inputs`.
Tolerance tolerance_of(const Case &c, Element inputs, Element type);

/// Errors of a call's outputs, and whether they are within the bounds.
struct Verdict {
  Error o, state, checkpoints;
  std::string failure;  ///< Empty: passed. Else sentences.
  bool served = true;   ///< False: the backend says that it does not serve such a call.
};

/// Empty if an error is within its bounds, else a sentence about `what`.
std::string complaint(const char *what, const Error &error, const Tolerance &tolerance);

/// Judges the outputs that a run of `call` has left.
Verdict judge(const Case &c, const DeltaRuleCall &call, const Expected &expected);

}  // namespace gdn::testing

#endif  // GDN_CASES_JUDGE_H_
