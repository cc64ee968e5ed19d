#ifndef GDN_CASES_RESULTS_H_
#define GDN_CASES_RESULTS_H_

#include "cases/judge.h"

namespace gdn::testing {

/// Appends one line of JSON to the file that the environment variable GDN_TEST_RESULTS names:
/// {"case", "dtype", "backend", "isa", "o", "state", "passed"}. Does nothing without it.
void record_result(const Case &c, Element type, const Target &target, const Verdict &verdict);

}  // namespace gdn::testing

#endif  // GDN_CASES_RESULTS_H_
