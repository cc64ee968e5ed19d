// A GDN layer's decode step: what causal_conv1d_update, l2norm, fused_gdn_gating,
// fused_recurrent_gated_delta_rule and rms_norm_gated do one after the other, head by head.
//
// Operations and memory are theirs, but for what they hand on: a head's q, k, v and o stay in the
// first-level cache, in f32. The state, which is read and written once, sets the pace; the weights
// of the convolution come next.
// An item is a key head with its value heads, of one sequence: it alone writes its channels of the
// convolution's slot. Items of one sequence follow each other: their states do in memory.

#include GDN_TILE

#include "cpu/kernels/blocks.h"
#include "cpu/kernels/gate_rate.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/strided.h"

#include "cpu/kernels/conv1d.h"
#include "cpu/kernels/gates.h"
#include "cpu/kernels/head_gates.h"
#include "cpu/kernels/row_norm.h"

#include "cpu/kernels/gated_row.h"
#include "cpu/kernels/recurrent_steps.h"

#include "cpu/kernels/conv_step.h"

#include "cpu/kernels/decode_channels.h"

namespace gdn::cpu::GDN_ISA {
namespace {

/// Value heads whose gates are computed together.
constexpr int64_t kGateHeads = 256;
static_assert(kGateHeads % kWidth == 0 && kGateTokens <= kGateHeads);

/// Upper bound of DV.
constexpr int64_t kMaxValueDim = 1024;
static_assert(kMaxValueDim <= kConvChannels && 2 * kMaxKeyDim <= kConvChannels);

/// The items of a call that one thread runs one after the other.
class DecodeItems {
 public:
  explicit DecodeItems(const FusedGdnDecode &p)
      : p_(p), rule_(p.rule), group_(rule_.heads.group()), keys_(p), values_(p) {
    const int64_t fit = kConvChannels / rule_.value_dim;
    together_ = fit < DecodeChannels::kMaxRuns ? fit : DecodeChannels::kMaxRuns;
    if (together_ > group_) together_ = group_;
  }

  void run(int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      if (rule_.initial_state.stride[3] != 1) {
        run_item<ValueFirst>(i, i + 1 < last ? i + 1 : -1);
      } else {
        run_item<KeyFirst>(i, i + 1 < last ? i + 1 : -1);
      }
    }
  }

 private:
  int64_t sequence(int64_t item) const { return item / rule_.heads.key_heads; }
  int64_t key_head(int64_t item) const { return item % rule_.heads.key_heads; }

  template <class Layout>
  void run_item(int64_t item, int64_t next) {
    n_ = sequence(item);
    span_ = rule_.sequences.span(n_);
    if (p_.skipped(n_)) return clear_output(key_head(item));
    open_keys(key_head(item));
    const bool follows = next >= 0 && !p_.skipped(sequence(next));
    for (int64_t i = 0; i < group_; ++i) {
      if (i % together_ == 0) open_values(i);
      const int64_t head = rule_.heads.value_head(key_head_, i);
      const int64_t column = i % together_ * rule_.value_dim;
      with_element(rule_.initial_state.dtype, [&](auto element) {
        using S = decltype(element);
        const S *ahead = nullptr;
        if (!Layout::template worth_fetching<S>(rule_)) {
          ahead = nullptr;
        } else if (i + 1 < group_) {
          ahead = Layout::template rows<S>(rule_.initial_state, rule_.initial_slot(n_),
                                           rule_.heads.value_head(key_head_, i + 1), 0)
                      .data;
        } else if (follows) {
          ahead = Layout::template rows<S>(rule_.initial_state, rule_.initial_slot(sequence(next)),
                                           rule_.heads.value_head(key_head(next), 0), 0)
                      .data;
        }
        if (in_slots<S>()) {
          run_in_slots<Layout, S>(head, column, ahead);
        } else {
          run_in_block<Layout, S>(head, column);
        }
      });
    }
  }

  void clear_output(int64_t key_head) const {
    with_element(rule_.o.dtype, [&](auto element) {
      using E = decltype(element);
      for (int64_t t = 0; t < span_.length; ++t) {
        for (int64_t i = 0; i < group_; ++i) {
          E *o = rule_.o.at<E>(span_.batch, span_.begin + t, rule_.heads.value_head(key_head, i));
          std::memset(static_cast<void *>(o), 0, static_cast<size_t>(rule_.value_dim) * sizeof(E));
        }
      }
    });
  }

  void open_keys(int64_t key_head) {
    if (key_head != key_head_) {
      key_head_ = key_head;
      first_value_ = -1;
      keys_.clear();
      keys_.add(p_.q_channel(key_head), rule_.key_dim);
      keys_.add(p_.k_channel(key_head), rule_.key_dim);
    }
    keys_.open(n_);
    prepared_ = false;
  }

  /// Value heads [first, first + together_) of the key head.
  void open_values(int64_t first) {
    if (first != first_value_) {
      first_value_ = first;
      const int64_t rest = group_ - first;
      const int64_t count = rest < together_ ? rest : together_;
      values_.clear();
      if (rule_.heads.interleaved) {
        for (int64_t i = first; i < first + count; ++i) {
          values_.add(p_.v_channel(rule_.heads.value_head(key_head_, i)), rule_.value_dim);
        }
      } else {
        const int64_t head = rule_.heads.value_head(key_head_, first);
        values_.add(p_.v_channel(head), count * rule_.value_dim);
      }
    }
    values_.open(n_);
  }

  /// True if every state goes to a slot as it would in calls of one token each.
  template <class S>
  bool in_slots() const {
    if (span_.length == 0) return false;
    if (!rule_.slot_per_token()) {
      return rule_.final_slot(n_) >= 0 && (span_.length == 1 || rounds_alike<S>());
    }
    for (int64_t t = 0; t < span_.length; ++t) {
      if (rule_.token_slot(n_, t) < 0) return false;
    }
    return span_.length == 1 || rounds_alike<S>();
  }
  /// True if a state that stays in a slot is what it is in f32.
  template <class S>
  bool rounds_alike() const {
    return sizeof(S) == sizeof(float) || rule_.round_states;
  }

  /// All tokens of a head, each from one slot of the pool to another or the same.
  template <class Layout, class S>
  void run_in_slots(int64_t head, int64_t column, const S *ahead) {
    Rows<S> source = rows_of<Layout, S>(rule_.initial_slot(n_), head);
    for (int64_t t = 0; t < span_.length; ++t) {
      const bool last = t + 1 == span_.length;
      const Rows<S> target = rows_of<Layout, S>(target_slot(t), head);
      step<Layout, S>(t, head, column, source, target, last ? ahead : nullptr);
      source = target;
    }
  }

  /// All tokens of a head, the state in f32 on the stack.
  template <class Layout, class S>
  [[gnu::noinline]] void run_in_block(int64_t head, int64_t column) {
    const Extent extent = Layout::extent(rule_.key_dim, rule_.value_dim);
    const int64_t stride = divide_up(extent.width, kWidth) * kWidth;
    constexpr size_t kLineBits = 512;
    const Rows<float> block = {
        static_cast<float *>(__builtin_alloca_with_align(
            static_cast<size_t>(extent.rows * stride) * sizeof(float), kLineBits)),
        stride};
    copy_rows(rows_of<Layout, S>(rule_.initial_slot(n_), head), block, extent);
    for (int64_t t = 0; t < span_.length; ++t) {
      step<Layout, float>(t, head, column, block, block, nullptr);
      if (rule_.round_states) round_rows<S>(block, extent);
      const int64_t slot = rule_.slot_per_token() ? target_slot(t) : -1;
      if (slot >= 0) copy_rows(block, rows_of<Layout, S>(slot, head), extent);
    }
    const int64_t slot = rule_.slot_per_token() ? -1 : rule_.final_slot(n_);
    if (slot >= 0) copy_rows(block, rows_of<Layout, S>(slot, head), extent);
  }

  template <class Layout, class S>
  Rows<S> rows_of(int64_t slot, int64_t head) const {
    return Layout::template rows<S>(rule_.initial_state, slot, head, 0);
  }

  int64_t target_slot(int64_t t) const {
    return rule_.slot_per_token() ? rule_.token_slot(n_, t) : rule_.final_slot(n_);
  }

  template <class Layout, class S>
  void step(int64_t t, int64_t head, int64_t column, Rows<S> source, Rows<S> target,
            const S *ahead) {
    prepare(t, head);
    const int64_t width = rule_.value_dim;
    const float *v = values_.convolve(t, column, column + width) + column;
    alignas(64) float o[kMaxValueDim];
    for (int64_t c = 0; c < width; c += kMaxColumns) {
      const int64_t columns = width - c < kMaxColumns ? width - c : kMaxColumns;
      const int64_t offset = Layout::column_offset(source, c);
      const int64_t to = Layout::column_offset(target, c);
      Layout::step(token_, rule_.key_dim, columns, Rows<S>{source.data + offset, source.stride},
                   Rows<S>{target.data + to, target.stride},
                   ahead != nullptr ? ahead + offset : nullptr, v + c, o + c);
    }
    normalise(t, head, o);
  }

  /// Fills token_. A single token's q and k serve all heads of the group.
  void prepare(int64_t t, int64_t head) {
    if (!prepared_ || span_.length > 1) {
      const int64_t width = rule_.key_dim;
      const float *y = keys_.convolve(t, 0, 2 * width);
      prepare_token(y, y + width, width, rule_.qk_l2norm, rule_.scale, &token_);
      prepared_ = true;
    }
    load_gates_of(t, head);
  }

  /// Fills the token's gates. Those of a single token are computed for many heads at a time, those
  /// of several for many tokens of a head.
  void load_gates_of(int64_t t, int64_t head) {
    int64_t at = t % kGateTokens;
    if (span_.length == 1) {
      at = head % kGateHeads;
      const int64_t first = head - at;
      if (gates_of_sequence_ != n_ || gates_of_head_ != first) {
        const int64_t rest = rule_.heads.value_heads - first;
        load_head_gates(rule_, span_.batch, span_.begin, first,
                        rest < kGateHeads ? rest : kGateHeads, g_, beta_);
        gates_of_sequence_ = n_;
        gates_of_head_ = first;
      }
    } else if (at == 0) {
      const int64_t rest = span_.length - t;
      load_gates(rule_, span_.batch, span_.begin + t, head, rest < kGateTokens ? rest : kGateTokens,
                 g_, beta_);
      gates_of_sequence_ = -1;
    }
    token_.decay = decay_of(g_[at]);
    token_.beta = beta_[at];
  }

  /// The gated norm of o, to where the call wants it.
  void normalise(int64_t t, int64_t head, const float *o) const {
    const int64_t token = span_.begin + t;
    const Tensor &weight = p_.norm_weight;
    with_element(rule_.o.dtype, [&](auto element) {
      using E = decltype(element);
      const E *z = p_.z.at<const E>(span_.batch, token, head);
      E *y = rule_.o.at<E>(span_.batch, token, head);
      with_element(weight.dtype, [&](auto of_weight) {
        using W = decltype(of_weight);
        if constexpr (std::is_same_v<W, E> || std::is_same_v<W, float>) {
          gated_row<true, true>(o, z, static_cast<const W *>(weight.data), weight.stride[0],
                                rule_.value_dim, p_.eps, p_.sigmoid_gate, y);
        }
      });
    });
  }

  const FusedGdnDecode &p_;
  const DeltaRule &rule_;
  int64_t group_;
  int64_t together_;  ///< Value heads whose channels are convolved together.
  int64_t n_ = -1;
  SequenceSpan span_ = {};
  int64_t key_head_ = -1;           ///< Of which keys_ has the channels.
  int64_t first_value_ = -1;        ///< Of the value heads in values_.
  bool prepared_ = false;           ///< token_ has the item's q and k.
  int64_t gates_of_sequence_ = -1;  ///< Whose single token's gates g_ and beta_ have,
  int64_t gates_of_head_ = -1;      ///< from this head on.
  alignas(64) float g_[kGateHeads];
  alignas(64) float beta_[kGateHeads];
  RecurrentToken token_;
  DecodeChannels keys_;
  DecodeChannels values_;
};

int64_t items(const FusedGdnDecode &p, int32_t) {
  return p.rule.sequences.count * p.rule.heads.key_heads;
}

void run(const FusedGdnDecode &p, int32_t, int64_t first, int64_t last, void *) {
  DecodeItems(p).run(first, last);
}

}  // namespace

const Kernel<op::fused_gdn_decode> kernel::fused_gdn_decode = {items, run};

}  // namespace gdn::cpu::GDN_ISA
