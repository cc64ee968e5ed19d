#ifndef GDN_CPU_KERNELS_CONV1D_H_
#define GDN_CPU_KERNELS_CONV1D_H_

// What the two causal convolutions share: a block of channels of one sequence, channels along the
// vector lanes. Included after GDN_TILE.
//
// One output is fma(w[W-1], x[t], .. fma(w[0], x[t-W+1], bias)), then silu, in f32 (silu as exact
// as the result needs) and rounded once, whichever way the lanes run: bits do not depend on
// strides.

#include <type_traits>

#include "core/layer.h"

namespace gdn::cpu::GDN_ISA {
namespace {

constexpr int64_t kConvChannels = 1024;  ///< Channels of a block.
constexpr int kConvTokens = 4;           ///< Outputs that share one pass over the weights.
constexpr int kMaxWidth = 4;

template <class From, class To>
inline To convert(From x, To) {
  if constexpr (std::is_same_v<From, To>) {
    return x;
  } else {
    return round_to(to_f32(x), To{});
  }
}

/// rows[i][c] = p[c * kStride + i]; with constants the compiler makes shuffles of it.
template <int kStride, int kEntries, class From, class To>
void split_fixed(const From *__restrict p, int64_t count, To *__restrict rows, int64_t row_stride) {
  for (int64_t c = 0; c < count; ++c) {
    if constexpr (kStride == 4 && kEntries == 4 && std::is_same_v<From, Bf16> &&
                  std::is_same_v<To, float>) {
      // As 32-bit words (little endian), the upper half of which is an f32 but for its last bits.
      for (int i = 0; i < 4; i += 2) {
        uint32_t word;
        std::memcpy(&word, p + c * kStride + i, sizeof word);
        const uint32_t both[] = {word << 16, word & 0xffff0000U};
        std::memcpy(rows + i * row_stride + c, both, sizeof(float));
        std::memcpy(rows + (i + 1) * row_stride + c, both + 1, sizeof(float));
      }
    } else {
#pragma GCC unroll 4
      for (int i = 0; i < kEntries; ++i) {
        rows[i * row_stride + c] = convert(p[c * kStride + i], To{});
      }
    }
  }
}

/// rows[i][c] = p[c * channel_stride + i * entry_stride] for i < entries, c < count.
template <class From, class To>
void split(const From *p, int64_t channel_stride, int64_t entry_stride, int64_t entries,
           int64_t count, To *rows, int64_t row_stride) {
  if (entry_stride == 1 && channel_stride == 4 && entries == 4) {
    return split_fixed<4, 4>(p, count, rows, row_stride);
  }
  if (entry_stride == 1 && channel_stride == 4 && entries == 3) {
    return split_fixed<4, 3>(p, count, rows, row_stride);
  }
  if (entry_stride == 1 && channel_stride == 3 && entries == 3) {
    return split_fixed<3, 3>(p, count, rows, row_stride);
  }
  for (int64_t i = 0; i < entries; ++i) {
    const From *from = p + i * entry_stride;
    To *to = rows + i * row_stride;
    if (channel_stride == 1) {
      split_fixed<1, 1>(from, count, to, 0);
    } else {
      for (int64_t c = 0; c < count; ++c) to[c] = convert(from[c * channel_stride], To{});
    }
  }
}

/// p[c * kEntries + i] = rows[i][c].
template <int kEntries, class E>
void merge_fixed(const E *const *rows, int64_t count, E *__restrict p) {
  const E *source[kEntries];
  for (int i = 0; i < kEntries; ++i) source[i] = rows[i];
  for (int64_t c = 0; c < count; ++c) {
    if constexpr (kEntries == 4 && sizeof(E) == 2) {
      // As 32-bit words (little endian), which compilers interleave twice as fast as 16-bit ones.
      for (int i = 0; i < 4; i += 2) {
        const uint32_t word = source[i][c].bits | static_cast<uint32_t>(source[i + 1][c].bits)
                                                      << 16;
        std::memcpy(p + c * kEntries + i, &word, sizeof word);
      }
    } else {
#pragma GCC unroll 4
      for (int i = 0; i < kEntries; ++i) p[c * kEntries + i] = source[i][c];
    }
  }
}

/// p[c * channel_stride + i * entry_stride] = rows[i][c] for i < entries, c < count.
template <class E>
void merge(const E *const *rows, int64_t entries, int64_t count, E *p, int64_t channel_stride,
           int64_t entry_stride) {
  if (entry_stride == 1 && channel_stride == 4 && entries == 4) {
    return merge_fixed<4>(rows, count, p);
  }
  if (entry_stride == 1 && channel_stride == 3 && entries == 3) {
    return merge_fixed<3>(rows, count, p);
  }
  for (int64_t i = 0; i < entries; ++i) {
    E *to = p + i * entry_stride;
    if (channel_stride == 1) {
      merge_fixed<1>(rows + i, count, to);
    } else {
      for (int64_t c = 0; c < count; ++c) to[c * channel_stride] = rows[i][c];
    }
  }
}

/// Weights and biases of a block of channels, a row of channels for each tap. Whole vectors of them
/// may be read; past the block's last channel they hold anything.
struct Taps {
  alignas(64) float weight[kMaxWidth][kConvChannels];
  alignas(64) float bias[kConvChannels];
};
static_assert(kConvChannels % kWidth == 0);

/// Lays out channels [channel, channel + count) from column `at` of the block on.
inline void load_taps(const Tensor &weight, const Tensor &bias, int64_t channel, int64_t count,
                      int64_t at, Taps *taps) {
  with_element(weight.dtype, [&](auto element) {
    using E = decltype(element);
    split(weight.at<const E>(channel, 0), weight.stride[0], weight.stride[1], weight.shape[1],
          count, &taps->weight[0][at], kConvChannels);
  });
  if (!bias.present()) {
    std::memset(taps->bias + at, 0, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  with_element(bias.dtype, [&](auto element) {
    using E = decltype(element);
    split(bias.at<const E>(channel), bias.stride[0], 0, 1, count, taps->bias + at, kConvChannels);
  });
}

/// Part of a [.., C, T] tensor: channels from some first one on, tokens of one sequence.
template <class E>
struct Lines {
  E *data;  ///< First channel, token 0.
  int64_t channel_stride;
  int64_t token_stride;
};

/// kTokens outputs of `lanes` channels from c on; rows and y as for convolve_tile.
template <class H, class E, int W, int kTokens, bool kWhole, class Exact>
[[gnu::always_inline]] inline void convolve_vec(const Taps &taps, const H *const *rows, E *const *y,
                                                int64_t c, int64_t lanes, bool use_silu) {
  Vec x[kTokens + W - 1];
#pragma GCC unroll 8
  for (int i = 0; i < kTokens + W - 1; ++i) {
    x[i] = kWhole ? load(rows[i] + c) : load_n(rows[i] + c, lanes);
  }
  Vec sum[kTokens];
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; ++t) sum[t] = load(taps.bias + c);
#pragma GCC unroll 4
  for (int w = 0; w < W; ++w) {
    const Vec weight = load(taps.weight[w] + c);
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) sum[t] = fma(weight, x[t + w], sum[t]);
  }
  if (use_silu) {
#pragma GCC unroll 4
    for (int t = 0; t < kTokens; ++t) sum[t] = silu_to<Exact>(sum[t]);
  }
#pragma GCC unroll 4
  for (int t = 0; t < kTokens; ++t) {
    if constexpr (kWhole) {
      store(y[t] + c, sum[t]);
    } else {
      store_n(y[t] + c, sum[t], lanes);
    }
  }
}

/// kTokens outputs of columns [first, end) of a block. rows[i] are the inputs of token i - (W - 1),
/// channels side by side; y[i] likewise. silu is as exact as results of type Exact need.
template <class H, class E, int W, int kTokens, class Exact = E>
void convolve_tile(const Taps &taps, const H *const *rows, E *const *y, int64_t first, int64_t end,
                   bool use_silu) {
  int64_t c = first;
  for (; c + kWidth <= end; c += kWidth) {
    convolve_vec<H, E, W, kTokens, true, Exact>(taps, rows, y, c, kWidth, use_silu);
  }
  if (c < end) convolve_vec<H, E, W, kTokens, false, Exact>(taps, rows, y, c, end - c, use_silu);
}

/// Rows of inputs and outputs for convolve_tile: the tensors' own where channels lie side by side,
/// copies where they do not or where the inputs are of another type than H.
template <class H, class E>
struct Staging {
  H x[kConvTokens + kMaxWidth - 1][kConvChannels];
  E y[kConvTokens][kConvChannels];
};

/// Outputs [begin, begin + kTokens).
template <class H, class E, int W, int kTokens>
void convolve_tokens(const Taps &taps, Lines<const E> x, Lines<E> y,
                     const H (*history)[kConvChannels], int64_t begin, int64_t count, bool use_silu,
                     Staging<H, E> *staging) {
  const H *rows[kTokens + W - 1];
  E *out[kTokens];
  for (int i = 0; i < kTokens + W - 1; ++i) {
    const int64_t t = begin + i - (W - 1);
    if (t < 0) {
      rows[i] = history[t + W - 1];
      continue;
    }
    if constexpr (std::is_same_v<H, E>) {
      if (x.channel_stride == 1) {
        rows[i] = x.data + t * x.token_stride;
        continue;
      }
    }
    split(x.data + t * x.token_stride, x.channel_stride, 0, 1, count, staging->x[i], 0);
    rows[i] = staging->x[i];
  }
  for (int i = 0; i < kTokens; ++i) {
    out[i] = y.channel_stride == 1 ? y.data + (begin + i) * y.token_stride : staging->y[i];
  }
  convolve_tile<H, E, W, kTokens>(taps, rows, out, 0, count, use_silu);
  if (y.channel_stride == 1) return;
  for (int i = 0; i < kTokens; ++i) {
    const E *row = out[i];
    merge(&row, 1, count, y.data + (begin + i) * y.token_stride, y.channel_stride, 0);
  }
}

/// Outputs [begin, end) of `count` channels. history[i] is the input of token i - (W - 1), in the
/// type of x or, where the state is of another one, in float; it is read only if begin < W - 1.
template <int W, class E, class H>
void convolve(const Taps &taps, Lines<const E> x, Lines<E> y, const H (*history)[kConvChannels],
              int64_t begin, int64_t end, int64_t count, bool use_silu) {
  int64_t t = begin;
  if constexpr (!std::is_same_v<H, E>) {
    const int64_t mixed = end < W - 1 ? end : W - 1;
    Staging<H, E> staging;
    for (; t < mixed; ++t) {
      convolve_tokens<H, E, W, 1>(taps, x, y, history, t, count, use_silu, &staging);
    }
    const E(*const none)[kConvChannels] = nullptr;
    if (t < end) convolve<W>(taps, x, y, none, t, end, count, use_silu);
  } else {
    Staging<E, E> staging;
    for (; t + kConvTokens <= end; t += kConvTokens) {
      convolve_tokens<E, E, W, kConvTokens>(taps, x, y, history, t, count, use_silu, &staging);
    }
    for (; t < end; ++t) {
      convolve_tokens<E, E, W, 1>(taps, x, y, history, t, count, use_silu, &staging);
    }
  }
}

/// Calls f.operator()<W>() for a width of 2, 3 or 4.
template <class F>
void with_width(int64_t width, F &&f) {
  switch (width) {
    case 2:
      return f.template operator()<2>();
    case 3:
      return f.template operator()<3>();
    case 4:
      return f.template operator()<4>();
    default:
      return;
  }
}

/// Calls f(S{}) for the element type S of the state, where x has type E and history H.
template <class E, class H, class F>
void with_state(const Tensor &state, F &&f) {
  if constexpr (std::is_same_v<E, H> && !std::is_same_v<E, float>) {
    f(E{});
  } else {
    with_element(state.dtype, f);
  }
}

/// Calls f.operator()<E, H, W>() for the type E of x and a width W. H is that of history: E, or
/// float for a state of another type.
template <class F>
void with_types(const Tensor &x, const Tensor &state, int64_t width, F &&f) {
  [[maybe_unused]] const bool same = !state.present() || state.dtype == x.dtype;
  with_element(x.dtype, [&](auto element) {
    using E = decltype(element);
    with_width(width, [&]<int W>() {
      if constexpr (!std::is_same_v<E, float>) {
        if (!same) return f.template operator()<E, float, W>();
      }
      f.template operator()<E, E, W>();
    });
  });
}

/// to[c * to_stride] = from[c * from_stride] for c < count.
template <class From, class To>
void copy_entry(const From *from, int64_t from_stride, int64_t count, To *to, int64_t to_stride) {
  if (from_stride == 1 && to_stride == 1) {
    if constexpr (std::is_same_v<From, To>) {
      std::memmove(to, from, static_cast<size_t>(count) * sizeof(To));
    } else {
      for (int64_t c = 0; c < count; ++c) to[c] = convert(from[c], To{});
    }
  } else {
    for (int64_t c = 0; c < count; ++c) to[c * to_stride] = convert(from[c * from_stride], To{});
  }
}

/// The first `entries` entries of the state of `count` channels become the newest ones of: its
/// first `kept` entries (zeros if not `valid`), then tokens [0, tokens) of x. entries - kept <=
/// tokens.
template <class S, class E>
void append(Lines<S> state, int64_t entries, int64_t kept, bool valid, Lines<const E> x,
            int64_t tokens, int64_t count) {
  // Entry i takes entry i + shift of the longer line, so going upwards overwrites nothing needed.
  const int64_t shift = kept + tokens - entries;
  for (int64_t i = 0; i < entries; ++i) {
    S *to = state.data + i * state.token_stride;
    if (i + shift >= kept) {
      copy_entry(x.data + (i + shift - kept) * x.token_stride, x.channel_stride, count, to,
                 state.channel_stride);
    } else if (valid) {
      copy_entry<S>(state.data + (i + shift) * state.token_stride, state.channel_stride, count, to,
                    state.channel_stride);
    } else {
      for (int64_t c = 0; c < count; ++c) to[c * state.channel_stride] = S{};
    }
  }
}

/// p[c * kEntries ..] moves up by one entry, and x[c] becomes the last of them.
template <int kEntries, class S, class E>
void push_fixed(const E *__restrict x, int64_t count, S *__restrict p) {
  for (int64_t c = 0; c < count; ++c) {
    const S newest = convert(x[c], S{});
    if constexpr (kEntries == 4 && sizeof(S) == 2) {
      // As one 64-bit word (little endian), which needs no shuffle.
      uint64_t word;
      std::memcpy(&word, p + c * kEntries, sizeof word);
      word = word >> 16 | static_cast<uint64_t>(newest.bits) << 48;
      std::memcpy(p + c * kEntries, &word, sizeof word);
    } else {
#pragma GCC unroll 4
      for (int i = 0; i + 1 < kEntries; ++i) p[c * kEntries + i] = p[c * kEntries + i + 1];
      p[c * kEntries + kEntries - 1] = newest;
    }
  }
}

/// append() of one token to all `entries` entries, x with channels side by side.
template <class S, class E>
void push(Lines<S> state, int64_t entries, const E *x, int64_t count) {
  if (state.token_stride == 1 && state.channel_stride == 4 && entries == 4) {
    return push_fixed<4>(x, count, state.data);
  }
  if (state.token_stride == 1 && state.channel_stride == 3 && entries == 3) {
    return push_fixed<3>(x, count, state.data);
  }
  append(state, entries, entries, true, Lines<const E>{x, 1, 0}, 1, count);
}

template <class E>
void fill_zero(Lines<E> y, int64_t begin, int64_t end, int64_t count) {
  for (int64_t t = begin; t < end; ++t) {
    for (int64_t c = 0; c < count; ++c) y.data[t * y.token_stride + c * y.channel_stride] = E{};
  }
}

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_CONV1D_H_
