#ifndef GDN_CPU_KERNELS_CHECKPOINT_WALK_H_
#define GDN_CPU_KERNELS_CHECKPOINT_WALK_H_

#include "core/delta_rule.h"

namespace gdn::cpu::GDN_ISA {
namespace {

/// The checkpoints of one sequence in order, while a kernel passes over its tokens.
class CheckpointWalk {
 public:
  CheckpointWalk(const DeltaRule &p, int64_t sequence)
      : p_(p),
        sequence_(sequence),
        left_(p.checkpoint_every > 0 ? p.checkpoint_every - p.phase(sequence, p.checkpoint_every)
                                     : 0) {}

  /// True if the next `tokens`, which reach no further than to the next checkpoint, end on it.
  bool passes(int64_t tokens) {
    if (p_.checkpoint_every == 0) return false;
    left_ -= tokens;
    if (left_ > 0) return false;
    left_ = p_.checkpoint_every;
    return true;
  }

  /// Where checkpoints go.
  const Tensor &target() const {
    return p_.checkpoint_indices.present ? p_.final_state : p_.checkpoints;
  }

  /// Entry of target() that takes the checkpoint that was passed; negative: nobody wants it.
  int64_t next() {
    const int64_t j = number_++;
    if (p_.checkpoint_indices.present) return p_.checkpoint_slot(sequence_, j);
    return p_.checkpoint_offsets[sequence_] + j;
  }

 private:
  const DeltaRule &p_;
  int64_t sequence_;
  int64_t left_;
  int64_t number_ = 0;
};

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_CHECKPOINT_WALK_H_
