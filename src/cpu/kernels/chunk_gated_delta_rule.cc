// The fused forward, chunk by chunk; docs/kernels.md has its mathematics and tile shapes.

#include "cpu/kernels/kernels.h"

#include GDN_TILE

#include "cpu/kernels/fetch_ahead.h"
#include "cpu/kernels/gates.h"
#include "cpu/kernels/scratch.h"
#include "cpu/kernels/state_panels.h"

#include "cpu/kernels/chunk_operands.h"

#include "cpu/kernels/chunk_decays.h"

#include "cpu/kernels/chunk_panel.h"

namespace gdn::cpu::GDN_ISA {
namespace {

/// How a call is cut. The state of one key head's value heads consists of `units` panels (value
/// head by value head); an item is one of `slices` runs of them for one sequence and key head.
/// Panels do not depend on each other, so the cut does not change a bit.
struct Cut {
  int64_t panels;  ///< Panels of one value head.
  int64_t units;
  int64_t slices;

  int64_t first(int64_t slice) const { return slice * units / slices; }
  int64_t largest() const { return (units + slices - 1) / slices; }
};

/// State that one slice may keep in the second-level cache, in bytes.
constexpr int64_t kSliceState = int64_t{1} << 20;

Cut cut(const DeltaRule &p, int32_t threads) {
  const int64_t panels = (p.value_dim + kTileColumns - 1) / kTileColumns;
  const int64_t units = panels * p.heads.group();
  const int64_t whole = p.sequences.count * p.heads.key_heads;
  const int64_t panel_bytes = p.key_dim * kTileColumns * static_cast<int64_t>(sizeof(float));
  const int64_t fit = kSliceState / panel_bytes > 1 ? kSliceState / panel_bytes : 1;
  const int64_t fewest = (units + fit - 1) / fit;
  // Packing and the triangles are repeated by every slice; they cost about as much as a panel.
  int64_t best = fewest;
  int64_t best_cost = INT64_MAX;
  for (int64_t s = fewest; s <= units; ++s) {
    const int64_t rounds = (whole * s + threads - 1) / threads;
    const int64_t cost = rounds * ((units + s - 1) / s + 1);
    if (cost < best_cost) {
      best = s;
      best_cost = cost;
    }
  }
  return {panels, units, best};
}

template <class Operand>
class ChunkedDeltaRule {
  using Element = typename Operand::Element;
  static constexpr int64_t kPack = Operand::kPack;

 public:
  /// Lays the buffers out in `scratch`; a null one only counts.
  ChunkedDeltaRule(const DeltaRule &p, int32_t threads, void *scratch)
      : p_(p),
        cut_(cut(p, threads)),
        arena_(scratch),
        shared_(arena_, p.key_dim),
        decays_(arena_),
        panel_size_(p.key_dim * kTileColumns) {
    v_ = arena_.take<float>(kChunk * kTileColumns);
    write_ = arena_.take<Element>(kChunk * kTileColumns);
    write_low_ = kPack == 2 ? arena_.take<Element>(kChunk * kTileColumns) : nullptr;
    states_ = arena_.take<float>(cut_.largest() * panel_size_);
    operands_ = kPack == 2 ? arena_.take<Element>(cut_.largest() * panel_size_) : nullptr;
  }

  size_t scratch_bytes() const { return arena_.used(); }

  template <class E>
  void item(int64_t i) {
    const int64_t slice = i % cut_.slices;
    const int64_t key_head = i / cut_.slices % p_.heads.key_heads;
    const int64_t n = i / cut_.slices / p_.heads.key_heads;
    first_ = cut_.first(slice);
    last_ = cut_.first(slice + 1);
    const SequenceSpan span = p_.sequences.span(n);
    const int64_t slot = p_.state_indices.present ? p_.state_indices.at(n) : n;
    if (slot < 0) return clear_output<E>(span, key_head);

    for (int64_t u = first_; u < last_; ++u) {
      load_panel(p_.initial_state, slot, head(key_head, u), column(u), p_.key_dim, state(u));
      panel(u).convert_state();
    }
    for (int64_t t = 0; t < span.length; t += kChunk) {
      const int64_t left = span.length - t;
      chunk<E>(span.batch, span.begin + t, key_head, left < kChunk ? left : kChunk, left - kChunk);
      const int64_t done = t + kChunk;
      if (p_.checkpoint_every > 0 && done % p_.checkpoint_every == 0 && done <= span.length) {
        const int64_t index = p_.checkpoint_offsets[n] + done / p_.checkpoint_every - 1;
        for (int64_t u = first_; u < last_; ++u) {
          store_panel(p_.checkpoints, index, head(key_head, u), column(u), state(u));
        }
      }
    }
    for (int64_t u = first_; u < last_; ++u) {
      store_panel(p_.final_state, slot, head(key_head, u), column(u), state(u));
    }
  }

 private:
  int64_t head(int64_t key_head, int64_t unit) const {
    return p_.heads.value_head(key_head, unit / cut_.panels);
  }
  int64_t column(int64_t unit) const { return unit % cut_.panels * kTileColumns; }
  float *state(int64_t unit) const { return states_ + (unit - first_) * panel_size_; }

  ChunkPanel<Operand> panel(int64_t unit) const {
    Element *operand;
    if constexpr (kPack == 2) {
      operand = operands_ + (unit - first_) * panel_size_;
    } else {
      operand = state(unit);
    }
    return {shared_, decays_, state(unit), operand, v_, write_, write_low_, FetchAhead()};
  }

  /// The tokens of the next chunk that unit u will read or write. The units share out q and k.
  template <class E>
  FetchAhead next_rows(int64_t batch, int64_t token, int64_t key_head, int64_t u,
                       int64_t rows) const {
    FetchAhead ahead;
    const int64_t h = head(key_head, u);
    const int64_t left = p_.value_dim - column(u);
    const int64_t units = last_ - first_;
    const int64_t begin = (u - first_) * rows / units;
    const int64_t end = (u - first_ + 1) * rows / units;
    constexpr int64_t size = sizeof(E);
    const int64_t width = (left < kTileColumns ? left : kTileColumns) * size;
    ahead.add(p_.v.at<E>(batch, token, h, column(u)), p_.v.stride[1] * size, rows, width);
    ahead.add(p_.o.at<E>(batch, token, h, column(u)), p_.o.stride[1] * size, rows, width);
    ahead.add(p_.q.at<E>(batch, token + begin, key_head), p_.q.stride[1] * size, end - begin,
              p_.key_dim * size);
    ahead.add(p_.k.at<E>(batch, token + begin, key_head), p_.k.stride[1] * size, end - begin,
              p_.key_dim * size);
    return ahead;
  }

  /// One chunk of n tokens; `after` tokens of the sequence follow.
  template <class E>
  void chunk(int64_t batch, int64_t token, int64_t key_head, int64_t n, int64_t after) {
    shared_.template pack<E>(p_, batch, token, key_head, n);
    shared_.multiply(n);
    for (int64_t u = first_; u < last_; ++u) {
      const int64_t h = head(key_head, u);
      if (u == first_ || column(u) == 0) decays_.prepare(p_, shared_, batch, token, h, n);
      ChunkPanel<Operand> chunk_panel = panel(u);
      if (after > 0) {
        chunk_panel.ahead =
            next_rows<E>(batch, token + kChunk, key_head, u, after < kChunk ? after : kChunk);
      }
      chunk_panel.run(n, p_.value_dim - column(u), p_.v.at<E>(batch, token, h, column(u)),
                      p_.v.stride[1], p_.o.at<E>(batch, token, h, column(u)), p_.o.stride[1]);
    }
  }

  /// A skipped sequence.
  template <class E>
  void clear_output(const SequenceSpan &span, int64_t key_head) const {
    for (int64_t u = first_; u < last_; ++u) {
      const int64_t left = p_.value_dim - column(u);
      const int64_t width = left < kTileColumns ? left : kTileColumns;
      for (int64_t t = 0; t < span.length; ++t) {
        E *row = p_.o.at<E>(span.batch, span.begin + t, head(key_head, u), column(u));
        std::memset(static_cast<void *>(row), 0, static_cast<size_t>(width) * sizeof(E));
      }
    }
  }

  const DeltaRule &p_;
  Cut cut_;
  Arena arena_;
  ChunkOperands<Operand> shared_;
  ChunkDecays decays_;
  int64_t panel_size_;
  int64_t first_ = 0;  ///< Units of the current item.
  int64_t last_ = 0;
  float *v_;
  Element *write_;
  Element *write_low_;
  float *states_;
  Element *operands_;
};

int64_t items(const DeltaRule &p, int32_t threads) {
  return p.sequences.count * p.heads.key_heads * cut(p, threads).slices;
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

const Kernel<DeltaRule> kChunkGatedDeltaRule = {items, scratch, run};

}  // namespace gdn::cpu::GDN_ISA
