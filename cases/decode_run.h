#ifndef GDN_CASES_DECODE_RUN_H_
#define GDN_CASES_DECODE_RUN_H_

#include "cases/judge.h"

namespace gdn::testing {

/// True if fused_gdn_decode knows everything that the case asks for, and the case is one of decode
/// or verify steps.
bool for_decode(const Case &c);

/// Runs fused_gdn_decode with the shapes, states, indices and options of a case, its other operands
/// drawn, and holds it against the float64 reference: o, states, convolution states, guards, and
/// that no input was written. The reference of the latest case is kept, so run all code paths of
/// one before the next. Not for several threads.
Verdict run_decode(const Case &c, Element type, const Target &target, uint64_t seed = 0);

}  // namespace gdn::testing

#endif  // GDN_CASES_DECODE_RUN_H_
