#ifndef GDN_API_STATE_SLOTS_CHECK_H_
#define GDN_API_STATE_SLOTS_CHECK_H_

#include <cstdint>

#include "api/call.h"
#include "core/delta_rule.h"

namespace gdn::api {

// Checks of index contents of the gated delta rule. The problem's index arrays are readable on the
// host, and its cu_seqlens has been checked.

/// positions are 0 or more. Those of skipped sequences are not looked at.
void check_positions(Call *call, const DeltaRule &p);

/// Checkpoints of all sequences together.
int64_t count_checkpoints(const DeltaRule &p);

/// num_accepted_tokens is in range; every index that the call uses names a slot of the pool or
/// none; no slot is written twice, or read by one sequence and written by another. What belongs to
/// a skipped sequence, and entries that the call does not use, may hold anything.
void check_state_slots(Call *call, const DeltaRule &p);

}  // namespace gdn::api

#endif  // GDN_API_STATE_SLOTS_CHECK_H_
