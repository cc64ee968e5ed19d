#ifndef GDN_ASCEND_MODEL_FLAGS_H_
#define GDN_ASCEND_MODEL_FLAGS_H_

#include <deque>
#include <vector>

#include "ascend/model/access.h"

namespace gdn::ascend::model {

/// What a flag carries from who sets it to who waits for it.
struct Signal {
  Clock clock;          ///< What had finished.
  double cycle = 0.0;   ///< When.
  uint32_t setter = 0;  ///< Number of the instruction.
};

/// One event of a pair of pipes.
struct Event {
  bool set = false;
  Signal signal;
  int64_t sets = 0;
  int64_t waits = 0;
  uint32_t last_wait = 0;  ///< Its time on the pipe that waits.
};

/// What one core has added to a flag between cores and another has not taken yet. Both are in
/// order, so the k-th wait takes the k-th addition, whatever the schedule.
struct CrossFlag {
  std::deque<Signal> pending;
  int32_t setter = -1;               ///< The one agent that adds to it.
  std::vector<uint32_t> wait_times;  ///< On the scalar unit that waits.
  int64_t sets = 0;
};

}  // namespace gdn::ascend::model

#endif  // GDN_ASCEND_MODEL_FLAGS_H_
