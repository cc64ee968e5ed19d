#ifndef GDN_ASCEND_KERNELS_GATE_ROWS_H_
#define GDN_ASCEND_KERNELS_GATE_ROWS_H_

#include "ascend/kernels/head_rows.h"

namespace gdn::ascend::kernels {

/// c and beta of up to 8 heads of a chunk, on a Vector core: while V uses the rows of one group of
/// heads, MTE2 may load the next. Past a chunk's end both are zero. B: float, f16 or bf16.
template <class B, int64_t C>
class GateRows {
 public:
  /// Of the events between MTE2 and V, `event` and the next one are its own.
  GDN_NPU GateRows(Core &core, int event)
      : core_(core), event_(event), c_(core, "c"), beta_(core, "beta") {}

  GDN_NPU void begin() {
    for (int slot = 0; slot < kSlots; ++slot) free_slot(slot);
  }

  /// The heads from first_head on. g_cumsum and beta have a row of value_heads a token.
  GDN_NPU void load(Gm<const float> g_cumsum, Gm<const B> beta, const Chunk &chunk,
                    int64_t first_head, int64_t heads, int64_t value_heads) {
    const int64_t at = chunk.begin * value_heads + first_head;
    wait_flag(core_, Pipe::v, Pipe::mte2, event_ + slot_);
    c_.load_slot(slot_, g_cumsum + at, chunk.length, heads, value_heads);
    beta_.load_slot(slot_, beta + at, chunk.length, heads, value_heads);
    set_flag(core_, Pipe::mte2, Pipe::v, event_ + slot_);
  }

  /// Rows of what was loaded last, and its slot free for the load after the next.
  GDN_NPU void split() {
    wait_flag(core_, Pipe::mte2, Pipe::v, event_ + slot_);
    // beta first, which in 16 bits needs a barrier on its way.
    beta_.split_slot(slot_);
    c_.split_slot(slot_);
    pipe_barrier(core_, Pipe::v);
    free_slot(slot_);
    slot_ ^= 1;
  }

  GDN_NPU void end() {
    for (int slot = 0; slot < kSlots; ++slot) {
      wait_flag(core_, Pipe::v, Pipe::mte2, event_ + slot);
    }
  }

  /// C numbers of head `head` of the group.
  GDN_NPU Ub<float> c(int64_t head) const { return c_.row(head); }
  GDN_NPU Ub<float> beta(int64_t head) const { return beta_.row(head); }

 private:
  GDN_NPU void free_slot(int slot) {
    c_.clear_slot(slot);
    beta_.clear_slot(slot);
    set_flag(core_, Pipe::v, Pipe::mte2, event_ + slot);
  }

  Core &core_;
  int event_;
  int slot_ = 0;
  HeadRows<float, C> c_;
  HeadRows<B, C> beta_;
};

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_GATE_ROWS_H_
