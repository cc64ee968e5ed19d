// The chunk operation, step by step; docs/kernels.md has its mathematics and tile shapes.

#include "cpu/kernels/kernels.h"

#include GDN_TILE

#include "cpu/kernels/checkpoint_walk.h"
#include "cpu/kernels/chunk_cut.h"
#include "cpu/kernels/fetch_ahead.h"
#include "cpu/kernels/gate_rate.h"
#include "cpu/kernels/gates.h"
#include "cpu/kernels/row_norm.h"
#include "cpu/kernels/scratch.h"
#include "cpu/kernels/state_panels.h"

#include "cpu/kernels/chunk_operands.h"

#include "cpu/kernels/chunk_decays.h"

#include "cpu/kernels/chunk_panel.h"

namespace gdn::cpu::GDN_ISA {
namespace {

template <class Operand>
class ChunkedDeltaRule {
  using Element = typename Operand::Element;
  static constexpr int64_t kPack = Operand::kPack;

 public:
  /// Lays the buffers out in `scratch`; a null one only counts.
  ChunkedDeltaRule(const DeltaRule &p, int32_t threads, void *scratch)
      : p_(p),
        cut_(cut_chunks(p, threads)),
        arena_(scratch),
        shared_(arena_, p.key_dim),
        decays_(arena_),
        panel_size_(panel_rows(p.key_dim) * kTileColumns) {
    v_ = arena_.take<float>(kStep * kTileColumns);
    write_ = arena_.take<Element>(kStep * kTileColumns);
    write_low_ = kPack == 2 ? arena_.take<Element>(kStep * kTileColumns) : nullptr;
    states_ = arena_.take<float>(cut_.largest() * panel_size_);
    operands_ = kPack == 2 ? arena_.take<Element>(cut_.largest() * panel_size_) : nullptr;
  }

  size_t scratch_bytes() const { return arena_.used(); }

  template <class E>
  void item(int64_t i) {
    item_ = cut_.item(i);
    const int64_t n = item_.sequence;
    const SequenceSpan span = p_.sequences.span(n);
    const int64_t slot = p_.initial_slot(n);
    if (slot < 0) return clear_output<E>(span);
    phase_ = p_.phase(n, kStep);

    const Tensor absent;
    const Tensor &initial = p_.reads_state(n) ? p_.initial_state : absent;
    for_each_unit([&](int64_t key_head, int64_t u) {
      float *panel_state = state(key_head, u);
      load_panel(initial, slot, head(key_head, u), column(u), p_.key_dim, panel_state);
      panel(key_head, u).convert_state();
    });
    CheckpointWalk checkpoints(p_, n);
    for (int64_t t = 0; t < span.length; t += step_tokens(span, t)) {
      for (int64_t key_head = item_.key_first; key_head < item_.key_last; ++key_head) {
        step<E>(span, t, key_head);
      }
      if (checkpoints.passes(step_tokens(span, t))) {
        store_states(checkpoints.target(), checkpoints.next());
      }
    }
    store_states(p_.final_state, p_.final_slot(n));
  }

 private:
  template <class F>
  void for_each_unit(F &&f) const {
    for (int64_t key_head = item_.key_first; key_head < item_.key_last; ++key_head) {
      for (int64_t u = item_.first; u < item_.last; ++u) f(key_head, u);
    }
  }

  int64_t head(int64_t key_head, int64_t unit) const {
    return p_.heads.value_head(key_head, unit / cut_.panels);
  }
  int64_t column(int64_t unit) const { return unit % cut_.panels * kTileColumns; }

  /// Columns of the unit that exist.
  int64_t width(int64_t unit) const {
    const int64_t left = p_.value_dim - column(unit);
    return left < kTileColumns ? left : kTileColumns;
  }

  int64_t state_offset(int64_t key_head, int64_t unit) const {
    return ((key_head - item_.key_first) * item_.units() + unit - item_.first) * panel_size_;
  }
  float *state(int64_t key_head, int64_t unit) const {
    return states_ + state_offset(key_head, unit);
  }

  ChunkPanel<Operand> panel(int64_t key_head, int64_t unit) const {
    const int64_t offset = state_offset(key_head, unit);
    Element *operand;
    if constexpr (kPack == 2) {
      operand = operands_ + offset;
    } else {
      operand = states_ + offset;
    }
    return {shared_,    decays_,     panel_rows(p_.key_dim), states_ + offset, operand, v_, write_,
            write_low_, FetchAhead()};
  }

  /// Nothing if `slot` is negative.
  void store_states(const Tensor &t, int64_t slot) const {
    if (slot < 0) return;
    for_each_unit([&](int64_t key_head, int64_t u) {
      store_panel(t, slot, head(key_head, u), column(u), state(key_head, u));
    });
  }

  /// Tokens of the step at t: steps lie on a grid that starts with the sequence, not with the call.
  int64_t step_tokens(const SequenceSpan &span, int64_t t) const {
    const int64_t whole = kStep - (phase_ + t) % kStep;
    return span.length - t < whole ? span.length - t : whole;
  }

  /// The tokens that the item will read or write after this key head's step at t: the next key
  /// head's, then the next step's. Unit u fetches its share.
  template <class E>
  FetchAhead next_rows(const SequenceSpan &span, int64_t t, int64_t key_head, int64_t u) const {
    FetchAhead ahead;
    const bool last = key_head + 1 == item_.key_last;
    const int64_t next_head = last ? item_.key_first : key_head + 1;
    const int64_t next_t = last ? t + step_tokens(span, t) : t;
    if (next_t >= span.length) return ahead;
    const int64_t token = span.begin + next_t;
    const int64_t rows = step_tokens(span, next_t);
    const int64_t begin = (u - item_.first) * rows / item_.units();
    const int64_t end = (u - item_.first + 1) * rows / item_.units();
    const int64_t h = head(next_head, u);
    constexpr int64_t size = sizeof(E);
    const int64_t b = span.batch;
    ahead.add(p_.v.at<E>(b, token, h, column(u)), p_.v.stride[1] * size, rows, width(u) * size);
    ahead.add(p_.o.at<E>(b, token, h, column(u)), p_.o.stride[1] * size, rows, width(u) * size);
    ahead.add(p_.q.at<E>(b, token + begin, next_head), p_.q.stride[1] * size, end - begin,
              p_.key_dim * size);
    ahead.add(p_.k.at<E>(b, token + begin, next_head), p_.k.stride[1] * size, end - begin,
              p_.key_dim * size);
    return ahead;
  }

  /// The step that starts at the sequence's token t, of one key head.
  template <class E>
  void step(const SequenceSpan &span, int64_t t, int64_t key_head) {
    const int64_t token = span.begin + t;
    const int64_t n = step_tokens(span, t);
    shared_.template pack<E>(p_, span.batch, token, key_head, n);
    shared_.multiply(n);
    for (int64_t u = item_.first; u < item_.last; ++u) {
      const int64_t h = head(key_head, u);
      if (u == item_.first || column(u) == 0) {
        decays_.prepare(p_, shared_, span.batch, token, h, n);
      }
      ChunkPanel<Operand> unit = panel(key_head, u);
      unit.ahead = next_rows<E>(span, t, key_head, u);
      unit.run(n, width(u), p_.v.at<E>(span.batch, token, h, column(u)), p_.v.stride[1],
               p_.o.at<E>(span.batch, token, h, column(u)), p_.o.stride[1]);
    }
  }

  /// A skipped sequence.
  template <class E>
  void clear_output(const SequenceSpan &span) const {
    for_each_unit([&](int64_t key_head, int64_t u) {
      for (int64_t t = 0; t < span.length; ++t) {
        E *row = p_.o.at<E>(span.batch, span.begin + t, head(key_head, u), column(u));
        std::memset(static_cast<void *>(row), 0, static_cast<size_t>(width(u)) * sizeof(E));
      }
    });
  }

  const DeltaRule &p_;
  ChunkCut cut_;
  Arena arena_;
  ChunkOperands<Operand> shared_;
  ChunkDecays decays_;
  int64_t panel_size_;
  ChunkItem item_ = {};
  int64_t phase_ = 0;  ///< Tokens of the first step that came before the call.
  float *v_;
  Element *write_;
  Element *write_low_;
  float *states_;
  Element *operands_;
};

int64_t items(const DeltaRule &p, int32_t threads) {
  return p.sequences.count * cut_chunks(p, threads).parts();
}

size_t scratch(const DeltaRule &p, int32_t threads) {
  size_t bytes = 0;
  with_element(p.q.dtype, [&](auto element) {
    using Operand = typename OperandOf<decltype(element)>::type;
    bytes = ChunkedDeltaRule<Operand>(p, threads, nullptr).scratch_bytes();
  });
  return bytes;
}

void run(const DeltaRule &p, int32_t threads, int64_t first, int64_t last, void *scratch) {
  with_element(p.q.dtype, [&](auto element) {
    using E = decltype(element);
    ChunkedDeltaRule<typename OperandOf<E>::type> kernel(p, threads, scratch);
    for (int64_t i = first; i < last; ++i) kernel.template item<E>(i);
  });
}

}  // namespace

const Kernel<op::chunk_gated_delta_rule> kernel::chunk_gated_delta_rule = {items, run, scratch};

}  // namespace gdn::cpu::GDN_ISA
