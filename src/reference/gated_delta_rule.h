#ifndef GDN_REFERENCE_GATED_DELTA_RULE_H_
#define GDN_REFERENCE_GATED_DELTA_RULE_H_

#include <cstdint>

#include "core/delta_rule.h"

namespace gdn::reference {

/// The recurrence, token by token: the meaning of the chunked and of the recurrent operation.
void gated_delta_rule(const DeltaRule &p, int32_t threads);

}  // namespace gdn::reference

#endif  // GDN_REFERENCE_GATED_DELTA_RULE_H_
