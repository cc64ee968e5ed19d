#ifndef GDN_CPU_KERNELS_DECODE_CHANNELS_H_
#define GDN_CPU_KERNELS_DECODE_CHANNELS_H_

// The convolution of fused_gdn_decode: some channels of one sequence, which stays in f32. Include
// GDN_TILE, conv1d.h, recurrent_steps.h and strided.h first.

#include "core/fused_gdn_decode.h"

namespace gdn::cpu::GDN_ISA {
namespace {

/// Inputs before a token where each channel's slot is four entries.
template <class E>
struct FourEntries {
  static constexpr bool kPushes = false;
  const E *slot;

  void load(int64_t c, Vec *x) const {
    Vec entries[4];
    split_four(slot + c * 4, entries);
    for (int i = 0; i < 3; ++i) x[i] = entries[i + 1];
  }
  /// Moves the slot's kWidth channels from c on by one entry, if that is cheap here.
  void push(int64_t, const E *) const {}
  /// Fetches what load(c) reads.
  void fetch(int64_t c) const {
    constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(E));
    for (int64_t i = 0; i < kWidth * 4; i += kLine) prefetch(slot + c * 4 + i);
  }
};

/// The same where an entry's channels lie side by side; with kPush the slot has three entries.
template <class E, bool kPush>
struct EntryRows {
  static constexpr bool kPushes = kPush;
  E *first;  ///< Of three entries.
  int64_t stride;

  void load(int64_t c, Vec *x) const {
    for (int i = 0; i < 3; ++i) x[i] = GDN_ISA::load(first + i * stride + c);
  }
  void push(int64_t c, const E *newest) const {
    if constexpr (kPush) {
      constexpr size_t kBytes = kWidth * sizeof(E);
      E *p = first + c;
      std::memcpy(p, p + stride, kBytes);
      std::memcpy(p + stride, p + 2 * stride, kBytes);
      std::memcpy(p + 2 * stride, newest + c, kBytes);
    }
  }
  void fetch(int64_t c) const {
    for (int i = 0; i < 3; ++i) prefetch(first + i * stride + c);
  }
};

/// Runs of channels (heads' q, k or v) as the columns of one block.
class DecodeChannels {
 public:
  static constexpr int kMaxRuns = 16;

  explicit DecodeChannels(const FusedGdnDecode &p) : p_(p) {
    const CausalConv1dUpdate &conv = p.conv;
    const Tensor &state = conv.conv_state;
    const bool four = state.shape[2] == 4 && state.stride[1] == 4 && state.stride[2] == 1;
    quick_ = conv.weight.shape[1] == 4 && conv.weight.stride[0] == 4 &&
             conv.weight.stride[1] == 1 && conv.weight.dtype == conv.x.dtype &&
             state.dtype == conv.x.dtype && (four || state.stride[1] == 1);
  }

  void clear() {
    runs_ = columns_ = 0;
    laid_out_ = false;
  }

  /// Appends channels. At most kMaxRuns times, kConvChannels in all.
  void add(int64_t channel, int64_t count) {
    run_[runs_++] = {channel, columns_, count};
    columns_ += count;
  }

  /// Takes the inputs before sequence n out of its slot, where its tokens become the newest.
  void open(int64_t n) {
    span_ = p_.conv.sequences.span(n);
    slot_ = p_.conv.slot(n);
    const CausalConv1dUpdate::Kept kept = p_.conv.kept(n, span_.length);
    const bool one = span_.length == 1 && kept.before == kept.after;
    done_ = one && quick_ && whole_vectors();
    with_element(p_.conv.x.dtype, [&]<class E>(E) {
      if (done_) {
        bool pushed = true;
        for (const Run &run : used()) pushed = convolve_one<E>(run, kept.before) && pushed;
        if (pushed) return;
      }
      with_element(p_.conv.conv_state.dtype, [&]<class S>(S) {
        for (const Run &run : used()) {
          if (!done_) take_history<S>(run, kept.before);
          const Lines<const E> x = inputs<E>(run);
          if (one) {
            push(state<S>(run), kept.after, x.data, run.count);
          } else {
            append(state<S>(run), kept.after, kept.before, true, x, span_.length, run.count);
          }
        }
      });
    });
  }

  /// Outputs of token t in columns [first, end); whole vectors may be read. Valid until the next
  /// call.
  const float *convolve(int64_t t, int64_t first, int64_t end) {
    if (done_) return y_;
    if (!laid_out_) {
      for (const Run &run : used()) {
        load_taps(p_.conv.weight, p_.conv.bias, run.channel, run.count, run.column, &taps_);
      }
      laid_out_ = true;
    }
    with_width(p_.conv.weight.shape[1], [&]<int W>() {
      const float *rows[W];
      for (int i = 0; i < W; ++i) {
        const int64_t at = t - (W - 1) + i;
        if (at < 0) {
          rows[i] = history_[at + W - 1];
        } else {
          load_inputs(at, first, end, i < W - 1 && p_.rule.round_states, x_[i]);
          rows[i] = x_[i];
        }
      }
      float *y = y_;
      with_element(p_.conv.x.dtype, [&]<class E>(E) {
        convolve_tile<float, float, W, 1, E>(taps_, rows, &y, first, end, p_.conv.silu);
      });
    });
    return y_;
  }

 private:
  struct Run {
    int64_t channel;
    int64_t column;
    int64_t count;
  };
  struct Runs {
    const Run *first;
    int64_t count;
    const Run *begin() const { return first; }
    const Run *end() const { return first + count; }
  };

  Runs used() const { return {run_, runs_}; }

  bool whole_vectors() const {
    for (const Run &run : used()) {
      if (run.count % kWidth != 0) return false;
    }
    return true;
  }

  template <class S>
  Lines<S> state(const Run &run) const {
    const Tensor &t = p_.conv.conv_state;
    return {t.at<S>(slot_, run.channel), t.stride[1], t.stride[2]};
  }

  template <class E>
  Lines<const E> inputs(const Run &run) const {
    const Tensor &x = p_.conv.x;
    return {x.at<const E>(span_.batch, run.channel, span_.begin), 1, x.stride[2]};
  }

  /// The last W - 1 of the first `before` entries.
  template <class S>
  void take_history(const Run &run, int64_t before) {
    const Lines<S> from = state<S>(run);
    const int64_t entries = p_.conv.weight.shape[1] - 1;
    split(from.data + (before - entries) * from.token_stride, from.channel_stride,
          from.token_stride, entries, run.count, &history_[0][run.column], kConvChannels);
  }

  /// A decode step in the layouts that models have, from the tensors' own memory: as convolve(),
  /// four taps. True if the slot has moved on.
  template <class E>
  bool convolve_one(const Run &run, int64_t before) {
    const Lines<E> slot = state<E>(run);
    const int64_t stride = slot.token_stride;
    if (stride == 1 && slot.channel_stride == 4) {
      return convolve_one<E>(run, FourEntries<E>{slot.data});
    }
    if (before == 3) return convolve_one<E>(run, EntryRows<E, true>{slot.data, stride});
    return convolve_one<E>(run, EntryRows<E, false>{slot.data + (before - 3) * stride, stride});
  }

  template <class E, class History>
  bool convolve_one(const Run &run, History history) {
    const E *weight = p_.conv.weight.at<const E>(run.channel);
    const E *newest = inputs<E>(run).data;
    const Tensor &bias = p_.conv.bias;
    for (int64_t c = 0; c < run.count; c += kWidth) {
      Vec taps[4];
      Vec x[4];
      split_four(weight + c * 4, taps);
      history.load(c, x);
      // The next key head's.
      history.fetch(c + run.count);
      x[3] = load(newest + c);
      history.push(c, newest);
      Vec sum = zero();
      if (bias.present()) {
        sum = load_strided(bias, bias.offset(run.channel + c), bias.stride[0], kWidth);
      }
      for (int i = 0; i < 4; ++i) sum = fma(taps[i], x[i], sum);
      store(y_ + run.column + c, silu_to<E>(sum));
    }
    return History::kPushes;
  }

  /// Inputs of token t, whole runs that meet the columns [first, end); rounded to the state's type
  /// where a call of their own would have found them there.
  void load_inputs(int64_t t, int64_t first, int64_t end, bool stored, float *x) const {
    for (const Run &run : used()) {
      if (run.column >= end || run.column + run.count <= first) continue;
      with_element(p_.conv.x.dtype, [&](auto element) {
        using E = decltype(element);
        const Lines<const E> from = inputs<E>(run);
        convert_row(from.data + t * from.token_stride, run.count, x + run.column);
      });
      if (!stored) continue;
      with_element(p_.conv.conv_state.dtype, [&](auto element) {
        round_rows<decltype(element)>({x + run.column, run.count}, {1, run.count});
      });
    }
  }

  const FusedGdnDecode &p_;
  bool quick_;             ///< Types and layouts are those of convolve_one().
  bool laid_out_ = false;  ///< taps_ has the runs' weights.
  bool done_ = false;      ///< y_ has the outputs of the only token.
  SequenceSpan span_ = {};
  int64_t slot_ = -1;
  int64_t runs_ = 0;
  int64_t columns_ = 0;
  Run run_[kMaxRuns];
  Taps taps_;
  alignas(64) float history_[kMaxWidth - 1][kConvChannels];
  alignas(64) float x_[kMaxWidth][kConvChannels];
  alignas(64) float y_[kConvChannels + kWidth];
};

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_DECODE_CHANNELS_H_
