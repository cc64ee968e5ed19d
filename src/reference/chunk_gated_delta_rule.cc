#include "reference/gated_delta_rule.h"
#include "reference/operations.h"

namespace gdn::reference {

void chunk_gated_delta_rule(const DeltaRule &p, int32_t threads) { gated_delta_rule(p, threads); }

}  // namespace gdn::reference
