// The causal convolution of new tokens (decode: one, speculative verify: a few) of each of N
// sequences, their last L inputs kept in a pool.
//
// Operations: as causal_conv1d_fwd; memory: x, y, the slot read and written, and the weights, which
// at T = 1 are the largest part.
// An item is one sequence by 1024 channels, channels along the vector lanes. Items of the same
// channels follow each other, so that a thread lays out their weights once. The window is laid out
// as rows of channels (conv1d.h) before the slot is overwritten; where a slot of x's type is such
// rows already, one token moves it on in one pass.

#include GDN_TILE

#include "cpu/kernels/blocks.h"
#include "cpu/kernels/conv1d.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/strided.h"

#include "cpu/kernels/conv_step.h"

namespace gdn::cpu::GDN_ISA {
namespace {

/// Stores the last `entries` rows of the window of one token, the newest of which is x. False if
/// another type is stored than the window has.
template <int W, class S, class E, class H>
bool store_window(Lines<S> state, int64_t entries, const H (*history)[kConvChannels],
                  Lines<const E> x, int64_t count) {
  if constexpr (std::is_same_v<S, E> && std::is_same_v<H, E>) {
    const E *rows[W];
    for (int i = 0; i < W - 1; ++i) rows[i] = history[i];
    rows[W - 1] = x.data;
    merge(rows + (W - entries), entries, count, state.data, state.channel_stride,
          state.token_stride);
    return true;
  }
  return false;
}

/// One token of `count` channels that lie side by side: `window` is its first input in the slot,
/// `state` where the slot begins, whose `entries` entries are the end of the window afterwards.
template <class E, int W>
void step_in_place(const Taps &taps, const E *x, E *y, const E *window, E *state,
                   int64_t entry_stride, int64_t entries, int64_t count, bool use_silu) {
  const auto run = [&]<bool kWhole>(int64_t c, int64_t lanes) {
    const E *rows[W];
    for (int i = 0; i < W - 1; ++i) rows[i] = window + i * entry_stride;
    rows[W - 1] = x;
    convolve_vec<E, E, W, 1, kWhole, E>(taps, rows, &y, c, lanes, use_silu);
    const size_t bytes = sizeof(E) * static_cast<size_t>(kWhole ? int64_t{kWidth} : lanes);
    for (int64_t i = 0; i < entries; ++i) {
      std::memmove(state + i * entry_stride + c, rows[W - entries + i] + c, bytes);
    }
  };
  int64_t c = 0;
  for (; c + kWidth <= count; c += kWidth) run.template operator()<true>(c, kWidth);
  if (c < count) run.template operator()<false>(c, count - c);
}

template <class E, class H, int W>
void run_block(const CausalConv1dUpdate &p, const Taps &taps, int64_t n, int64_t channel,
               int64_t count) {
  const SequenceSpan span = p.sequences.span(n);
  const int64_t tokens = span.length;
  const int64_t slot = p.slot(n);
  const Lines<const E> x = {p.x.at<const E>(span.batch, channel, span.begin), p.x.stride[1],
                            p.x.stride[2]};
  const Lines<E> y = {p.y.at<E>(span.batch, channel, span.begin), p.y.stride[1], p.y.stride[2]};
  if (slot < 0) return fill_zero(y, 0, tokens, count);

  const CausalConv1dUpdate::Kept kept = p.kept(n, tokens);
  with_state<E, H>(p.conv_state, [&]<class S>(S) {
    const Lines<S> state = {p.conv_state.at<S>(slot, channel), p.conv_state.stride[1],
                            p.conv_state.stride[2]};
    const S *window = state.data + (kept.before - (W - 1)) * state.token_stride;
    const bool one_step = tokens == 1 && x.channel_stride == 1 && kept.after <= W;
    if constexpr (std::is_same_v<S, E> && std::is_same_v<H, E>) {
      if (one_step && y.channel_stride == 1 && state.channel_stride == 1 &&
          kept.after <= kept.before) {
        return step_in_place<E, W>(taps, x.data, y.data, window, state.data, state.token_stride,
                                   kept.after, count, p.silu);
      }
    }
    H history[kMaxWidth - 1][kConvChannels];
    split(window, state.channel_stride, state.token_stride, W - 1, count, &history[0][0],
          kConvChannels);
    convolve<W>(taps, x, y, history, 0, tokens, count, p.silu);

    // The new state is the end of the window that is at hand.
    if (one_step && store_window<W>(state, kept.after, history, x, count)) return;
    append(state, kept.after, kept.before, true, x, tokens, count);
  });
}

/// Whether the only sequence has one token that comes after all of its slot.
bool is_one_step(const CausalConv1dUpdate &p) {
  return p.sequences.span(0).length == 1 && p.kept(0, 1).before == p.conv_state.shape[2] &&
         p.kept(0, 1).after == p.conv_state.shape[2];
}

int64_t channel_blocks(const CausalConv1dUpdate &p) {
  return divide_up(p.x.shape[1], kConvChannels);
}

int64_t items(const CausalConv1dUpdate &p, int32_t) {
  return p.sequences.count * channel_blocks(p);
}

void run(const CausalConv1dUpdate &p, int32_t, int64_t first, int64_t last, void *) {
  const int64_t sequences = p.sequences.count;
  Taps taps;
  for (int64_t i = first; i < last; ++i) {
    const int64_t channel = i / sequences * kConvChannels;
    const int64_t rest = p.x.shape[1] - channel;
    const int64_t count = rest < kConvChannels ? rest : kConvChannels;
    if (sequences == 1 && is_one_step(p) && step_alone(p, p.slot(0), channel, count)) continue;
    if (i == first || i % sequences == 0) load_taps(p.weight, p.bias, channel, count, 0, &taps);
    with_types(p.x, p.conv_state, p.weight.shape[1], [&]<class E, class H, int W>() {
      run_block<E, H, W>(p, taps, i % sequences, channel, count);
    });
  }
}

}  // namespace

const Kernel<op::causal_conv1d_update> kernel::causal_conv1d_update = {items, run};

}  // namespace gdn::cpu::GDN_ISA
