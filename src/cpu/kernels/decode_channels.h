#ifndef GDN_CPU_KERNELS_DECODE_CHANNELS_H_
#define GDN_CPU_KERNELS_DECODE_CHANNELS_H_

// The convolution of fused_gdn_decode: some channels of one sequence, which stays in f32. Include
// GDN_TILE, conv_step.h and recurrent_steps.h first.

#include "core/fused_gdn_decode.h"

namespace gdn::cpu::GDN_ISA {
namespace {

/// Runs of channels (heads' q, k or v) as the columns of one block.
class DecodeChannels {
 public:
  static constexpr int kMaxRuns = 16;

  explicit DecodeChannels(const FusedGdnDecode &p) : p_(p) {
    const CausalConv1dUpdate &conv = p.conv;
    const Tensor &state = conv.conv_state;
    const bool four = state.shape[2] == 4 && state.stride[1] == 4 && state.stride[2] == 1;
    quick_ = has_four_taps(conv.weight, conv.x.dtype) && state.dtype == conv.x.dtype &&
             (four || state.stride[1] == 1);
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
    convolve_step<E>(p_.conv.weight, p_.conv.bias, run.channel, run.count, history,
                     inputs<E>(run).data, p_.conv.silu, y_ + run.column);
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
