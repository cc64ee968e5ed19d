#ifndef GDN_CASES_SLOT_TABLES_H_
#define GDN_CASES_SLOT_TABLES_H_

#include <cstdint>
#include <vector>

#include "cases/cases.h"

namespace gdn::testing {

/// The contents of an index array: [N], or [N, columns] with columns > 0.
struct IndexTable {
  bool present = false;
  int64_t columns = 0;
  std::vector<int64_t> values = {};
};

/// What says which slots of a pool a case uses, and which of its sequences start from what.
struct SlotTables {
  int64_t slots = 0;  ///< Slots in the pool; 0: the case has none.
  int64_t null_slot = 0;
  IndexTable state_indices, num_accepted_tokens, output_state_indices, has_initial_state;
  IndexTable checkpoint_indices, positions;
};

/// Draws them. Every third sequence or so is skipped, states without a place to go to and entries
/// that no kernel may look at are among them, where the case's options ask for such.
SlotTables draw_slots(const Case &c, uint64_t seed);

}  // namespace gdn::testing

#endif  // GDN_CASES_SLOT_TABLES_H_
