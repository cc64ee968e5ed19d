#ifndef GDN_CASES_CASE_RUN_H_
#define GDN_CASES_CASE_RUN_H_

#include <vector>

#include "cases/judge.h"

namespace gdn::testing {

/// The types of a case, as elements.
std::vector<Element> types_of(const Case &c);

/// Floating-point operations of a case: 6 DK DV a token and value head.
double work_of(const Case &c);

/// A drawn case with what the reference makes of it.
struct Prepared {
  const Case *c = nullptr;
  Element type = Element::f32;
  uint64_t seed = 0;
  DeltaRuleCall call;
  Expected expected;
  uint64_t input_hash = 0;
};

/// Draws a case and computes the reference. The latest one is kept: asking again is free, so run
/// all code paths of one case before the next. Not for several threads.
Prepared &prepare(const Case &c, Element type, uint64_t seed = 0);

/// Runs a case on a target and judges the outputs, the guards and that no input was written.
Verdict run_case(Operation operation, const Case &c, Element type, const Target &target,
                 uint64_t seed = 0);

}  // namespace gdn::testing

#endif  // GDN_CASES_CASE_RUN_H_
