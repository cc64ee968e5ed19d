// The recurrence token by token, for decode and speculative verify; docs/kernels.md describes it.

#include "cpu/kernels/kernels.h"

#include GDN_TILE

#include "cpu/kernels/gate_rate.h"
#include "cpu/kernels/gates.h"
#include "cpu/kernels/row_norm.h"

#include "cpu/kernels/recurrent_steps.h"

namespace gdn::cpu::GDN_ISA {
namespace {

/// An item is a run of value columns, whole blocks, of one value head of one sequence. Columns do
/// not depend on each other, so the cut does not change a bit.
struct Cut {
  int64_t blocks;  ///< Blocks of one head.
  int64_t slices;

  int64_t first(int64_t slice) const { return slice * blocks / slices * kTileColumns; }
};

Cut cut(const DeltaRule &p, int32_t threads) {
  const int64_t blocks = (p.value_dim + kTileColumns - 1) / kTileColumns;
  const int64_t heads = p.sequences.count * p.heads.value_heads;
  int64_t slices = (p.value_dim + kMaxColumns - 1) / kMaxColumns;
  while (slices < blocks && heads * slices < 2 * static_cast<int64_t>(threads)) slices *= 2;
  return {blocks, slices < blocks ? slices : blocks};
}

struct Item {
  int64_t sequence;
  int64_t head;
  int64_t first;  ///< Value columns.
  int64_t last;
};

Item item_at(const DeltaRule &p, const Cut &c, int64_t i) {
  const int64_t slice = i % c.slices;
  const int64_t head = i / c.slices % p.heads.value_heads;
  const int64_t end = c.first(slice + 1);
  return {i / c.slices / p.heads.value_heads, head, c.first(slice),
          end < p.value_dim ? end : p.value_dim};
}

/// One item with elements of type E and states laid out as Layout says.
template <class Layout, class E>
class Recurrence {
 public:
  Recurrence(const DeltaRule &p, const Item &item)
      : p_(p), item_(item), span_(p.sequences.span(item.sequence)) {}

  /// True when each state element is read and written once, from and to a tensor of one type.
  bool direct() const {
    return span_.length == 1 && !p_.slot_per_token() && p_.reads_state(item_.sequence) &&
           p_.final_slot(item_.sequence) >= 0 && p_.initial_state.dtype == p_.final_state.dtype;
  }

  void clear_output() const {
    for (int64_t t = 0; t < span_.length; ++t) {
      E *o = p_.o.at<E>(span_.batch, span_.begin + t, item_.head, item_.first);
      const auto bytes = static_cast<size_t>(item_.last - item_.first) * sizeof(E);
      std::memset(static_cast<void *>(o), 0, bytes);
    }
  }

  /// One token, straight from initial_state's entry `slot` to final_state.
  template <class S>
  void run_direct(int64_t slot, const S *ahead) const {
    RecurrentToken token;
    float g[kGateTokens];
    float beta[kGateTokens];
    load_gates(p_, span_.batch, span_.begin, item_.head, 1, g, beta);
    prepare(0, g[0], beta[0], &token);
    step(token, 0, item_.first, item_.last - item_.first,
         Layout::template rows<S>(p_.initial_state, slot, item_.head, item_.first),
         Layout::template rows<S>(p_.final_state, p_.final_slot(item_.sequence), item_.head,
                                  item_.first),
         ahead);
  }

  /// Any number of tokens, each block of columns in f32 on the stack.
  void run_blocks(int64_t slot) const {
    alignas(64) float block[kMaxKeyDim * Layout::kBlockColumns];
    constexpr bool kKeyRows = Layout::kBlockColumns == kTileColumns;
    const Rows<float> rows{block, kKeyRows ? Layout::kBlockColumns : kMaxKeyDim};
    for (int64_t c = item_.first; c < item_.last; c += Layout::kBlockColumns) {
      const int64_t left = item_.last - c;
      const int64_t columns = left < Layout::kBlockColumns ? left : Layout::kBlockColumns;
      std::memset(block, 0, sizeof block);
      if (p_.reads_state(item_.sequence)) move_in(slot, c, columns, rows);
      float g[kGateTokens];
      float beta[kGateTokens];
      for (int64_t t = 0; t < span_.length; ++t) {
        const int64_t at = t % kGateTokens;
        if (at == 0) {
          const int64_t rest = span_.length - t;
          load_gates(p_, span_.batch, span_.begin + t, item_.head,
                     rest < kGateTokens ? rest : kGateTokens, g, beta);
        }
        RecurrentToken token;
        prepare(t, g[at], beta[at], &token);
        step<float>(token, t, c, columns, rows, rows, nullptr);
        if (p_.round_states) round(columns, rows);
        if (p_.slot_per_token()) move_out(p_.token_slot(item_.sequence, t), c, columns, rows);
      }
      if (!p_.slot_per_token()) move_out(p_.final_slot(item_.sequence), c, columns, rows);
    }
  }

 private:
  void prepare(int64_t t, float g, float beta, RecurrentToken *token) const {
    const int64_t key_head = p_.heads.key_head(item_.head);
    prepare_token(p_.q.at<const E>(span_.batch, span_.begin + t, key_head),
                  p_.k.at<const E>(span_.batch, span_.begin + t, key_head), p_.key_dim,
                  p_.qk_l2norm, p_.scale, token);
    token->decay = decay_of(g);
    token->beta = beta;
  }

  template <class S>
  void step(const RecurrentToken &token, int64_t t, int64_t column, int64_t columns, Rows<S> source,
            Rows<S> target, const S *ahead) const {
    alignas(64) float v[kMaxColumns];
    alignas(64) float o[kMaxColumns];
    const int64_t at = span_.begin + t;
    const E *v_row = p_.v.at<E>(span_.batch, at, item_.head, column);
    for_each_vec(columns,
                 [&](int64_t j, int64_t lanes) { store(v + j, load_n(v_row + j, lanes)); });
    Layout::step(token, p_.key_dim, columns, source, target, ahead, v, o);
    convert_row(o, columns, p_.o.at<E>(span_.batch, at, item_.head, column));
  }

  void move_in(int64_t slot, int64_t c, int64_t columns, Rows<float> rows) const {
    with_element(p_.initial_state.dtype, [&](auto element) {
      using S = decltype(element);
      const auto from = Layout::template rows<S>(p_.initial_state, slot, item_.head, c);
      copy_rows(from, rows, Layout::extent(p_.key_dim, columns));
    });
  }

  void round(int64_t columns, Rows<float> rows) const {
    with_element(p_.final_state.dtype, [&](auto element) {
      round_rows<decltype(element)>(rows, Layout::extent(p_.key_dim, columns));
    });
  }

  /// Nothing if `slot` is negative.
  void move_out(int64_t slot, int64_t c, int64_t columns, Rows<float> rows) const {
    if (slot < 0) return;
    with_element(p_.final_state.dtype, [&](auto element) {
      using S = decltype(element);
      const auto to = Layout::template rows<S>(p_.final_state, slot, item_.head, c);
      copy_rows(rows, to, Layout::extent(p_.key_dim, columns));
    });
  }

  const DeltaRule &p_;
  const Item &item_;
  SequenceSpan span_;
};

/// Where the item after this one will read its state: worth fetching while this one computes.
template <class Layout, class S>
const S *state_ahead(const DeltaRule &p, const Item &item) {
  const int64_t slot = p.initial_slot(item.sequence);
  if (slot < 0 || !p.reads_state(item.sequence)) return nullptr;
  if (!Layout::template worth_fetching<S>(p)) return nullptr;
  return Layout::template rows<S>(p.initial_state, slot, item.head, item.first).data;
}

template <class Layout, class E>
void run_items(const DeltaRule &p, const Cut &c, int64_t first, int64_t last) {
  for (int64_t i = first; i < last; ++i) {
    const Item item = item_at(p, c, i);
    const Recurrence<Layout, E> recurrence(p, item);
    const int64_t slot = p.initial_slot(item.sequence);
    if (slot < 0) {
      recurrence.clear_output();
    } else if (recurrence.direct()) {
      with_element(p.initial_state.dtype, [&](auto element) {
        using S = decltype(element);
        const S *ahead = i + 1 < last ? state_ahead<Layout, S>(p, item_at(p, c, i + 1)) : nullptr;
        recurrence.template run_direct<S>(slot, ahead);
      });
    } else {
      recurrence.run_blocks(slot);
    }
  }
}

int64_t items(const DeltaRule &p, int32_t threads) {
  return p.sequences.count * p.heads.value_heads * cut(p, threads).slices;
}

void run(const DeltaRule &p, int32_t threads, int64_t first, int64_t last, void *) {
  const Cut c = cut(p, threads);
  const Tensor &state = p.initial_state.present() ? p.initial_state : p.final_state;
  const bool value_first = state.present() && state.stride[3] != 1;
  with_element(p.q.dtype, [&](auto element) {
    using E = decltype(element);
    if (value_first) {
      run_items<ValueFirst, E>(p, c, first, last);
    } else {
      run_items<KeyFirst, E>(p, c, first, last);
    }
  });
}

}  // namespace

const Kernel<op::fused_recurrent_gated_delta_rule> kernel::fused_recurrent_gated_delta_rule = {
    items, run};

}  // namespace gdn::cpu::GDN_ISA
