#ifndef GDN_CPU_KERNELS_DECODE_CHANNELS_H_
#define GDN_CPU_KERNELS_DECODE_CHANNELS_H_

// The convolution of fused_gdn_decode: some channels of one sequence, which stays in f32. Include
// GDN_TILE and conv1d.h first.

#include "core/fused_gdn_decode.h"

namespace gdn::cpu::GDN_ISA {
namespace {

/// Runs of channels (heads' q, k or v) as the columns of one block.
class DecodeChannels {
 public:
  static constexpr int kMaxRuns = 16;

  explicit DecodeChannels(const FusedGdnDecode &p) : p_(p) {}

  void clear() { runs_ = columns_ = 0; }

  /// Appends channels; returns their first column. At most kMaxRuns times, kConvChannels in all.
  int64_t add(int64_t channel, int64_t count) {
    const int64_t column = columns_;
    run_[runs_++] = {channel, column, count};
    load_taps(p_.conv.weight, p_.conv.bias, channel, count, column, &taps_);
    columns_ += count;
    return column;
  }

  /// Takes the inputs before sequence n out of its slot, where its tokens become the newest.
  void open(int64_t n) {
    span_ = p_.conv.sequences.span(n);
    const CausalConv1dUpdate::Kept kept = p_.conv.kept(n, span_.length);
    const int64_t before = p_.conv.weight.shape[1] - 1;
    with_element(p_.conv.conv_state.dtype, [&]<class S>(S) {
      for (const Run &run : used()) {
        const Lines<S> state = {p_.conv.conv_state.at<S>(p_.conv.slot(n), run.channel),
                                p_.conv.conv_state.stride[1], p_.conv.conv_state.stride[2]};
        split(state.data + (kept.before - before) * state.token_stride, state.channel_stride,
              state.token_stride, before, run.count, &history_[0][run.column], kConvChannels);
        with_element(p_.conv.x.dtype, [&]<class E>(E) {
          const Lines<const E> x = {p_.conv.x.at<const E>(span_.batch, run.channel, span_.begin), 1,
                                    p_.conv.x.stride[2]};
          if (span_.length == 1 && kept.before == kept.after) {
            push(state, kept.after, x.data, run.count);
          } else {
            append(state, kept.after, kept.before, true, x, span_.length, run.count);
          }
        });
      }
    });
  }

  /// Outputs of token t in columns [first, end); whole vectors may be read. Valid until the next
  /// call.
  const float *convolve(int64_t t, int64_t first, int64_t end) {
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
      convolve_tile<float, float, W, 1>(taps_, rows, &y, first, end, p_.conv.silu);
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

  /// Inputs of token t, whole runs that meet the columns [first, end); rounded to the state's type
  /// where a call of their own would have found them there.
  void load_inputs(int64_t t, int64_t first, int64_t end, bool stored, float *x) const {
    for (const Run &run : used()) {
      if (run.column >= end || run.column + run.count <= first) continue;
      with_element(p_.conv.x.dtype, [&](auto element) {
        using E = decltype(element);
        convert_row(p_.conv.x.at<const E>(span_.batch, run.channel, span_.begin + t), run.count,
                    x + run.column);
      });
      if (!stored) continue;
      with_element(p_.conv.conv_state.dtype, [&](auto element) {
        round_rows<decltype(element)>({x + run.column, run.count}, {1, run.count});
      });
    }
  }

  const FusedGdnDecode &p_;
  SequenceSpan span_ = {};
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
