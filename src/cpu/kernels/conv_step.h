#ifndef GDN_CPU_KERNELS_CONV_STEP_H_
#define GDN_CPU_KERNELS_CONV_STEP_H_

// One token of channels in the layouts that models have, straight from the tensors' memory: four
// taps, as tensors of one type. Include GDN_TILE, conv1d.h and strided.h first.

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

/// Whether a channel's weights are four of that type, side by side with the next channel's.
inline bool has_four_taps(const Tensor &weight, DType type) {
  return weight.shape[1] == 4 && weight.stride[0] == 4 && weight.stride[1] == 1 &&
         weight.dtype == type;
}

/// y of `count` channels from `channel` on, whole vectors of them; the bits are convolve_tile()'s.
template <class E, class Y, class History>
void convolve_step(const Tensor &weights, const Tensor &bias, int64_t channel, int64_t count,
                   History history, const E *newest, bool use_silu, Y *y) {
  const E *weight = weights.at<const E>(channel);
  for (int64_t c = 0; c < count; c += kWidth) {
    Vec taps[4];
    Vec x[4];
    split_four(weight + c * 4, taps);
    history.load(c, x);
    // The next channels'.
    history.fetch(c + count);
    x[3] = load(newest + c);
    history.push(c, newest);
    Vec sum = zero();
    if (bias.present()) {
      sum = load_strided(bias, bias.offset(channel + c), bias.stride[0], kWidth);
    }
    for (int i = 0; i < 4; ++i) sum = fma(taps[i], x[i], sum);
    store(y + c, use_silu ? silu_to<E>(sum) : sum);
  }
}

/// The only token of a convolution's only sequence, which comes after all entries of its slot: its
/// weights are used once, so they are not worth laying out. False, and nothing done, for other
/// layouts and types than models have.
template <class Problem>
bool step_alone(const Problem &p, int64_t slot, int64_t channel, int64_t count) {
  const Tensor &state = p.conv_state;
  if (slot < 0 || !has_four_taps(p.weight, p.x.dtype) || state.dtype != p.x.dtype ||
      state.shape[2] != 3 || state.stride[1] != 1 || p.x.stride[1] != 1 || p.y.stride[1] != 1 ||
      count % kWidth != 0) {
    return false;
  }
  const SequenceSpan span = p.sequences.span(0);
  with_element(p.x.dtype, [&]<class E>(E) {
    const EntryRows<E, true> history = {state.template at<E>(slot, channel), state.stride[2]};
    convolve_step<E>(p.weight, p.bias, channel, count, history,
                     p.x.template at<const E>(span.batch, channel, span.begin), p.silu,
                     p.y.template at<E>(span.batch, channel, span.begin));
  });
  return true;
}

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_CONV_STEP_H_
