#ifndef GDN_ASCEND_MODEL_CYCLES_H_
#define GDN_ASCEND_MODEL_CYCLES_H_

#include <array>
#include <cstddef>

#include "ascend/model/instruction.h"

namespace gdn::ascend::model {

/// A schedule in model cycles. The cost of each instruction is a guess, so figures serve to see
/// which pipe binds and to compare two versions of a kernel. They are no times.
struct Cycles {
  double total = 0.0;  ///< Until the last pipe has finished.
  /// For each kind of core and each pipe, of the busiest core.
  std::array<std::array<double, kPipes>, 2> busy = {};

  double busy_of(CoreKind kind, Pipe pipe) const {
    return busy[static_cast<size_t>(kind)][static_cast<size_t>(pipe)];
  }
};

/// Model cycles that an instruction keeps its pipe busy.
double cost_of(const Action &action);

}  // namespace gdn::ascend::model

#endif  // GDN_ASCEND_MODEL_CYCLES_H_
