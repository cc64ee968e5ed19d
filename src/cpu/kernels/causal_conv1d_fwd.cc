// y[c, t] = act(bias[c] + sum_w weight[c, w] x[c, t - W + 1 + w]) over whole sequences; what lies
// before a sequence comes from the convolution state, which then takes the last L inputs.
//
// Operations: 2 W an output, and for silu an exponential and a division, which set the pace;
// memory: one read and one write of the tensor, the state once.
// An item is a block of up to 256 tokens of one sequence by 1024 channels. Where channels lie side
// by side they go along the vector lanes, four tokens at a time (conv1d.h); otherwise tokens do.
// The item of a sequence's first block alone touches the state: it needs the old one for its first
// W - 1 outputs and builds the new one from the end of x, so items do not depend on each other.

#include GDN_TILE

#include "cpu/kernels/blocks.h"
#include "cpu/kernels/conv1d.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/strided.h"

#include "cpu/kernels/conv_step.h"

namespace gdn::cpu::GDN_ISA {
namespace {

constexpr int64_t kBlockTokens = 256;
static_assert(kBlockTokens >= kMaxWidth);

/// Outputs [begin, end) of `count` channels, tokens along the lanes.
template <int W, class E, class H>
void convolve_along(const Taps &taps, Lines<const E> x, Lines<E> y,
                    const H (*history)[kConvChannels], int64_t begin, int64_t end, int64_t count,
                    bool use_silu) {
  for (int64_t c = 0; c < count; ++c) {
    const E *in = x.data + c * x.channel_stride;
    E *out = y.data + c * y.channel_stride;
    for (int64_t t = begin; t < end; t += kWidth) {
      const int64_t lanes = end - t < kWidth ? end - t : int64_t{kWidth};
      // The first vector of a sequence reads from history too: lay out its line.
      const bool staged = t < W - 1;
      H line[kWidth + kMaxWidth - 1] = {};
      if (staged) {
        for (int64_t i = 0; i < lanes + W - 1; ++i) {
          const int64_t from = t + i - (W - 1);
          line[i] = from < 0 ? history[from + W - 1][c] : convert(in[from * x.token_stride], H{});
        }
      }
      Vec sum = set1(taps.bias[c]);
#pragma GCC unroll 4
      for (int w = 0; w < W; ++w) {
        const Vec v =
            staged ? load_strided(line + w, 1, lanes)
                   : load_strided(in + (t + w - (W - 1)) * x.token_stride, x.token_stride, lanes);
        // The first `count` channels of all W taps are filled, which the analyzer does not see.
        // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage)
        sum = fma(set1(taps.weight[w][c]), v, sum);
      }
      store_strided(out + t * y.token_stride, y.token_stride, use_silu ? silu_to<E>(sum) : sum,
                    lanes);
    }
  }
}

template <class E, class H, int W>
void run_block(const CausalConv1dFwd &p, const Block &block, int64_t channel, int64_t count) {
  const SequenceSpan span = p.sequences.span(block.sequence);
  const int64_t slot = p.slot(block.sequence);
  const Lines<const E> x = {p.x.at<const E>(span.batch, channel, span.begin), p.x.stride[1],
                            p.x.stride[2]};
  const Lines<E> y = {p.y.at<E>(span.batch, channel, span.begin), p.y.stride[1], p.y.stride[2]};
  const int64_t begin = block.begin - span.begin;
  const int64_t end = begin + block.length;
  if (slot < 0) return fill_zero(y, begin, end, count);

  const bool stateful = block.first && p.conv_state.present();
  const bool valid = stateful && p.has_initial_state.at(block.sequence);
  const int64_t entries = p.conv_state.shape[2];
  const auto with_lines = [&](auto f) {
    with_state<E, H>(p.conv_state, [&]<class S>(S) {
      f(Lines<S>{p.conv_state.at<S>(slot, channel), p.conv_state.stride[1],
                 p.conv_state.stride[2]});
    });
  };

  if (block.length > 0) {
    Taps taps;
    load_taps(p.weight, p.bias, channel, count, 0, &taps);
    H history[kMaxWidth - 1][kConvChannels];
    if (valid) {
      with_lines([&](auto state) {
        split(state.data + (entries - (W - 1)) * state.token_stride, state.channel_stride,
              state.token_stride, W - 1, count, &history[0][0], kConvChannels);
      });
    } else if (block.first) {
      std::memset(history, 0, sizeof history);
    }
    const bool channels_last = x.channel_stride == 1 && y.channel_stride == 1;
    channels_last ? convolve<W>(taps, x, y, history, begin, end, count, p.silu)
                  : convolve_along<W>(taps, x, y, history, begin, end, count, p.silu);
  }
  if (!stateful) return;
  // Of a long sequence the last L inputs alone matter.
  const int64_t tail = span.length < entries ? span.length : entries;
  const Lines<const E> end_of_x = {x.data + (span.length - tail) * x.token_stride, x.channel_stride,
                                   x.token_stride};
  with_lines([&](auto state) { append(state, entries, entries, valid, end_of_x, tail, count); });
}

/// Whether the only sequence has one token that comes after its slot.
bool is_one_step(const CausalConv1dFwd &p) {
  return p.sequences.span(0).length == 1 && p.conv_state.present() && p.slot(0) >= 0 &&
         p.has_initial_state.at(0);
}

int64_t channel_blocks(const CausalConv1dFwd &p) { return divide_up(p.x.shape[1], kConvChannels); }

int64_t items(const CausalConv1dFwd &p, int32_t) {
  return block_count(p.sequences, kBlockTokens) * channel_blocks(p);
}

void run(const CausalConv1dFwd &p, int32_t, int64_t first, int64_t last, void *) {
  const int64_t blocks = channel_blocks(p);
  for (int64_t i = first; i < last; ++i) {
    const Block block = block_at(p.sequences, kBlockTokens, i / blocks);
    const int64_t channel = i % blocks * kConvChannels;
    const int64_t rest = p.x.shape[1] - channel;
    const int64_t count = rest < kConvChannels ? rest : kConvChannels;
    if (p.sequences.count == 1 && is_one_step(p) && step_alone(p, p.slot(0), channel, count)) {
      continue;
    }
    with_types(p.x, p.conv_state, p.weight.shape[1],
               [&]<class E, class H, int W>() { run_block<E, H, W>(p, block, channel, count); });
  }
}

}  // namespace

const Kernel<op::causal_conv1d_fwd> kernel::causal_conv1d_fwd = {items, run};

}  // namespace gdn::cpu::GDN_ISA
