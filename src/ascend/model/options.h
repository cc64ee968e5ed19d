#ifndef GDN_ASCEND_MODEL_OPTIONS_H_
#define GDN_ASCEND_MODEL_OPTIONS_H_

#include <functional>
#include <string>
#include <vector>

#include "ascend/model/cycles.h"
#include "ascend/model/finding.h"
#include "ascend/model/instruction.h"
#include "ascend/model/machine.h"

namespace gdn::ascend::model {

struct Buffer;
struct CoreState;

/// How a launch runs.
struct Options {
  int64_t blocks = kBlocks;
  uint64_t seed = 1;                       ///< Which of the schedules.
  size_t most_findings = Findings::kMost;  ///< A run ends when it has as many.
  Cycles *cycles = nullptr;                ///< Where to leave the schedule; nullptr: nowhere.

  /// Gets the cores' programs and sees the launch's tensors. Nothing runs then.
  std::function<void(std::vector<CoreState> &, const std::vector<Buffer> &)> look;

  // Faults that tests seed.
  /// Changes an instruction before it is issued, or drops it (false).
  std::function<bool(Instruction &)> edit;
  /// All buffers of this name are the first of them.
  std::string one_slot_of;
  /// All buffers of this name are a block smaller than what the kernel asks for.
  std::string smaller;
};

}  // namespace gdn::ascend::model

#endif  // GDN_ASCEND_MODEL_OPTIONS_H_
