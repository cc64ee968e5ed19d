#include <type_traits>

#include "cuda/device/sequences.cuh"
#include "cuda/launch.h"
#include "cuda/sm80/device/taps.cuh"
#include "cuda/sm80/kernels.h"

// Depthwise causal convolution over whole sequences. Outputs whose window lies inside the sequence
// are computed by tiles of tokens; the first W - 1 of each sequence, which need the convolution
// state, and the new state by one thread a channel and sequence, so that a slot is read before it
// is written. Both kinds of block share one launch.
//
// Bytes are the cost: a thread takes 16 bytes at a time, of neighbouring channels (which the
// projections before the convolution leave contiguous) or of neighbouring tokens.

namespace gdn::cuda::sm80 {
namespace {

constexpr int kThreads = 128;
constexpr int kTile = 64;  ///< Tokens a thread takes of its channels.
constexpr int kLines = 4;  ///< Groups of tokens that a thread takes of its channel.

/// Elements of 16 bytes.
template <class E>
constexpr int kGroup = 16 / static_cast<int>(sizeof(E));

struct ConvPlan {
  int64_t channels;
  bool aligned;            ///< Neighbouring elements of x and of y are one access.
  bool aligned_weight;     ///< The four weights of a channel are one access.
  int64_t tiles;           ///< Tiles of tokens of one batch row, or of one channel.
  int64_t channel_blocks;  ///< Blocks of kThreads channels, for the edges.
  int64_t group_blocks;    ///< Blocks of kThreads groups of channels.
  int64_t tile_blocks;     ///< Blocks of the first kind.
  bool channels_first;     ///< A thread takes neighbouring channels, else tokens.
};

/// Sequence that token t of a batch row belongs to; -1 if none.
__device__ int64_t sequence_of(const Sequences &s, int64_t b, int64_t t) {
  if (!s.packed()) return b;
  int64_t low = 0, high = s.count;  // The first n with end > t.
  while (low < high) {
    const int64_t mid = (low + high) / 2;
    if (clamp64(s.cu_seqlens.at(mid + 1), 0, s.tokens) > t) {
      high = mid;
    } else {
      low = mid + 1;
    }
  }
  return low < s.count && clamped_span(s, low).begin <= t ? low : -1;
}

/// What a thread takes of a token: 16 bytes of neighbouring elements, or one where they are not
/// aligned or not all there. Kept as it lies in memory until it is used.
template <bool kWhole, class E>
struct Group {
  static constexpr int kCount = kWhole ? kGroup<E> : 1;
  std::conditional_t<kWhole, uint4, E> bits;

  __device__ __forceinline__ void load(const E *p) {
    bits = *reinterpret_cast<const decltype(bits) *>(p);
  }
  __device__ __forceinline__ void values(float (&x)[kCount]) const {
    if constexpr (kWhole) {
      unpack16<E>(x, bits);
    } else {
      x[0] = to_float(bits);
    }
  }
  /// The newest elements, those that a window can need, of the lane below; lane 0 has the last
  /// lane's.
  __device__ __forceinline__ Group turned(int lane) const {
    Group result = {};
    const int from = (lane + 31) & 31;
    if constexpr (sizeof(E) == 4) result.bits.y = __shfl_sync(kFullWarp, bits.y, from);
    result.bits.z = __shfl_sync(kFullWarp, bits.z, from);
    result.bits.w = __shfl_sync(kFullWarp, bits.w, from);
    return result;
  }
  __device__ __forceinline__ static void store(E *p, const float (&x)[kCount]) {
    if constexpr (kWhole) {
      *reinterpret_cast<uint4 *>(p) = pack16<E>(x);
    } else {
      *p = from_float<E>(x[0]);
    }
  }
};

/// Outputs [first, last) of a group of channels, whose windows lie in the same sequence.
template <bool kWhole, class E, int kWidth>
__device__ __forceinline__ void convolve(const CausalConv1dFwd &p,
                                         const Taps<kWidth> (&taps)[Group<kWhole, E>::kCount],
                                         const E *x, E *y, int64_t first, int64_t last) {
  constexpr int kAtOnce = 4, kCount = Group<kWhole, E>::kCount;
  const int64_t x_step = p.x.stride[2], y_step = p.y.stride[2];
  float window[kCount][kWidth] = {};
  x += (first - (kWidth - 1)) * x_step;
  y += first * y_step;
  Group<kWhole, E> in[kAtOnce];
  const auto enter = [&](const Group<kWhole, E> &group) {
    float values[kCount];
    group.values(values);
#pragma unroll
    for (int i = 0; i < kCount; ++i) push(window[i], values[i]);
  };
  const auto take = [&](const Group<kWhole, E> &group) {
    enter(group);
    float out[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) out[i] = taps[i].apply(window[i], p.silu);
    Group<kWhole, E>::store(y, out);
    y += y_step;
  };
  const auto load = [&](Group<kWhole, E> &group) {
    group.load(x);
    x += x_step;
  };
#pragma unroll
  for (int j = 0; j + 1 < kWidth; ++j) {
    load(in[0]);
    enter(in[0]);
  }
  // A token's place is loaded anew as soon as it has been used, so that loads never pause.
  int64_t t = first;
  if (t + kAtOnce <= last) {
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) load(in[j]);
    for (; t + 2 * kAtOnce <= last; t += kAtOnce) {
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        take(in[j]);
        load(in[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) take(in[j]);
    t += kAtOnce;
  }
  for (; t < last; ++t) {
    load(in[0]);
    take(in[0]);
  }
}

/// Outputs [first, last) of a group of channels from c on that need no state; zeros for skipped
/// sequences.
template <bool kWhole, class E, int kWidth>
__device__ __forceinline__ void run_tile(const CausalConv1dFwd &p, bool aligned_weight, int64_t b,
                                         int64_t c, int64_t first, int64_t last) {
  constexpr int kCount = Group<kWhole, E>::kCount;
  Taps<kWidth> taps[kCount];
  load_taps(taps, p, aligned_weight, c);
  const E *const x = static_cast<const E *>(p.x.data) + p.x.offset(b, c);
  E *const y = static_cast<E *>(p.y.data) + p.y.offset(b, c);
  while (first < last) {
    const int64_t n = sequence_of(p.sequences, b, first);
    if (n < 0) {
      ++first;
      continue;
    }
    const SequenceSpan span = clamped_span(p.sequences, n);
    const int64_t end = min(last, span.begin + span.length);
    if (p.slot(n) < 0) {
      const float zeros[kCount] = {};
#pragma unroll 1
      for (; first < end; ++first) Group<kWhole, E>::store(y + first * p.y.stride[2], zeros);
    } else {
      first = max(first, span.begin + kWidth - 1);
      if (first < end) convolve<kWhole, E>(p, taps, x, y, first, end);
    }
    first = end;
  }
}

/// True if the tokens [first, last) of a batch row lie in one sequence, past its first W - 1.
__device__ __forceinline__ bool lies_inside(const CausalConv1dFwd &p, int64_t b, int64_t first,
                                            int64_t last, int width) {
  const int64_t n = first < p.sequences.tokens ? sequence_of(p.sequences, b, first) : -1;
  if (n < 0 || p.slot(n) < 0) return false;
  const SequenceSpan span = clamped_span(p.sequences, n);
  return first - span.begin >= width - 1 && last <= span.begin + span.length;
}

/// Outputs [first, last) of a channel that need no state, token by token.
template <class E, int kWidth>
__device__ __forceinline__ void run_tokens(const CausalConv1dFwd &p, const Taps<kWidth> &taps,
                                           const E *x, E *y, int64_t b, int64_t first,
                                           int64_t last) {
  int64_t n = -1;
  SequenceSpan span = {0, 0, 0};
  for (int64_t t = first; t < last; ++t) {
    if (n < 0 || t >= span.begin + span.length) {
      n = sequence_of(p.sequences, b, t);
      if (n < 0) continue;
      span = clamped_span(p.sequences, n);
    }
    float out = 0.0F;
    if (p.slot(n) >= 0) {
      if (t - span.begin < kWidth - 1) continue;
      float window[kWidth];
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        window[j] = to_float(x[(t + j - (kWidth - 1)) * p.x.stride[2]]);
      }
      out = taps.apply(window, p.silu);
    }
    y[t * p.y.stride[2]] = from_float<E>(out);
  }
}

/// As run_tile, by a warp on kLines * 32 groups of neighbouring tokens of one channel from `first`
/// on.
template <class E, int kWidth>
__device__ __forceinline__ void run_lines(const CausalConv1dFwd &p, const ConvPlan &plan, int64_t b,
                                          int64_t c, int64_t first) {
  constexpr int kCount = kGroup<E>, kStep = 32 * kCount;  // Tokens of a warp's access.
  const int lane = threadIdx.x & 31;
  const int64_t tokens = p.sequences.tokens, own = first + lane * kCount;
  Taps<kWidth> taps[1];
  load_taps(taps, p, plan.aligned_weight, c);
  const E *const x = static_cast<const E *>(p.x.data) + p.x.offset(b, c);
  E *const y = static_cast<E *>(p.y.data) + p.y.offset(b, c);
  // Groups are read wherever they lie; what precedes a lane's tokens is in the lane below, or in
  // the last lane's group of the line before.
  Group<true, E> in[kLines], edge = {};
#pragma unroll
  for (int j = 0; j < kLines; ++j) {
    in[j] = {};
    if (plan.aligned && own + j * kStep + kCount <= tokens) in[j].load(x + own + j * kStep);
  }
  if (plan.aligned && lane == 0 && first > 0) edge.load(x + first - kCount);

  // Mostly one sequence has all of these tokens; else each group is looked up.
  const int64_t n = sequence_of(p.sequences, b, first);
  SequenceSpan span = {0, 0, 0};
  if (n >= 0 && p.slot(n) >= 0) span = clamped_span(p.sequences, n);
  const int64_t end = span.begin + span.length;
  const bool single = end >= min(first + kLines * kStep, tokens);
  unsigned left = 0;  // Lines whose tokens are taken one by one.
#pragma unroll
  for (int j = 0; j < kLines; ++j) {
    const int64_t t = own + j * kStep;
    const Group<true, E> turned = in[j].turned(lane), old = lane == 0 ? edge : turned;
    edge = turned;
    const bool inside = single ? t >= span.begin + kWidth - 1 && t + kCount <= end
                               : lies_inside(p, b, t, t + kCount, kWidth);
    if (!plan.aligned || !inside) {
      left |= 1U << j;
      continue;
    }
    float before[kCount], values[kCount], out[kCount], window[kWidth];
    old.values(before);
    in[j].values(values);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) window[i] = before[kCount - kWidth + i];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      push(window, values[i]);
      out[i] = taps[0].apply(window, p.silu);
    }
    // In one access, as store_group; the line is not needed here again.
    __stcs(reinterpret_cast<uint4 *>(y + t), pack16<E>(out));
  }
#pragma unroll 1
  for (; left != 0; left &= left - 1) {
    const int64_t t = own + (__ffs(static_cast<int>(left)) - 1) * kStep;
    run_tokens<E, kWidth>(p, taps[0], x, y, b, t, min(t + kCount, tokens));
  }
}

/// The first W - 1 outputs and the new state of a channel of sequence n.
template <int kWidth>
__device__ void run_edge(const CausalConv1dFwd &p, bool aligned_weight, int64_t n, int64_t c) {
  const SequenceSpan span = clamped_span(p.sequences, n);
  const int64_t slot = p.slot(n);
  if (slot < 0) return;
  const bool has_state = p.conv_state.present();
  const bool initial = has_state && p.has_initial_state.at(n);
  const int64_t kept = has_state ? p.conv_state.shape[2] : 0;
  Taps<kWidth> taps[1];
  load_taps(taps, p, aligned_weight, c);
  float window[kWidth] = {};
  for (int64_t i = kept - (kWidth - 1); initial && i < kept; ++i) {
    push(window, load_any(p.conv_state, p.conv_state.offset(slot, c, i)));
  }
  for (int64_t t = 0; t < min(int64_t{kWidth - 1}, span.length); ++t) {
    push(window, load_any(p.x, p.x.offset(span.batch, c, span.begin + t)));
    store_any(p.y, p.y.offset(span.batch, c, span.begin + t), taps[0].apply(window, p.silu));
  }
  if (!has_state) return;
  // Ascending: entry i comes from entry i + length of the old state, which is still unwritten.
  for (int64_t i = 0; i < kept; ++i) {
    const int64_t t = i + span.length - kept;
    float x = 0.0F;
    if (t >= 0) {
      x = load_any(p.x, p.x.offset(span.batch, c, span.begin + t));
    } else if (initial) {
      x = load_any(p.conv_state, p.conv_state.offset(slot, c, i + span.length));
    }
    store_any(p.conv_state, p.conv_state.offset(slot, c, i), x);
  }
}

template <class E, int kWidth, bool kChannelsFirst>
__global__ void __launch_bounds__(kThreads, kChannelsFirst ? 4 : 8)
    conv1d_fwd_kernel(const __grid_constant__ CausalConv1dFwd p,
                      const __grid_constant__ ConvPlan plan) {
  const int64_t block = blockIdx.x;
  if (block >= plan.tile_blocks) {
    const int64_t edge = block - plan.tile_blocks;
    const int64_t c = (edge % plan.channel_blocks) * kThreads + threadIdx.x;
    if (c < plan.channels) {
      run_edge<kWidth>(p, plan.aligned_weight, edge / plan.channel_blocks, c);
    }
    return;
  }
  if constexpr (kChannelsFirst) {
    const int64_t c = ((block % plan.group_blocks) * kThreads + threadIdx.x) * kGroup<E>;
    const int64_t rest = block / plan.group_blocks;
    const int64_t b = rest / plan.tiles, first = (rest - b * plan.tiles) * kTile;
    const int64_t last = min(p.sequences.tokens, first + kTile);
    if (plan.aligned && c + kGroup<E> <= plan.channels) {
      run_tile<true, E, kWidth>(p, plan.aligned_weight, b, c, first, last);
    } else {
      for (int64_t i = c; i < min(c + kGroup<E>, plan.channels); ++i) {
        run_tile<false, E, kWidth>(p, plan.aligned_weight, b, i, first, last);
      }
    }
  } else {
    const int64_t item = block * (kThreads / 32) + threadIdx.x / 32;
    const int64_t row = item / plan.tiles, b = row / plan.channels;
    if (b >= p.sequences.batch) return;
    run_lines<E, kWidth>(p, plan, b, row - b * plan.channels,
                         (item - row * plan.tiles) * kLines * 32 * kGroup<E>);
  }
}

template <class E, int kWidth>
Status launch_width(const CausalConv1dFwd &p, const Launch &l, int64_t blocks,
                    const ConvPlan &plan) {
  const char *name = "causal_conv1d_fwd";
  if (plan.channels_first) {
    return launch<conv1d_fwd_kernel<E, kWidth, true>>(name, l, blocks, kThreads, 0, p, plan);
  }
  return launch<conv1d_fwd_kernel<E, kWidth, false>>(name, l, blocks, kThreads, 0, p, plan);
}

template <class E>
Status launch_conv(const CausalConv1dFwd &p, const Launch &l) {
  ConvPlan plan;
  plan.channels = p.x.shape[1];
  plan.channel_blocks = (plan.channels + kThreads - 1) / kThreads;
  plan.group_blocks = (plan.channels + kThreads * kGroup<E> - 1) / (kThreads * kGroup<E>);
  plan.channels_first = p.x.stride[1] == 1 || p.x.stride[2] != 1;
  const int dimension = plan.channels_first ? 1 : 2;
  plan.aligned = groups_aligned(p.x, dimension) && groups_aligned(p.y, dimension);
  plan.aligned_weight = taps_aligned(p.weight);
  const int64_t tokens = p.sequences.tokens, batch = p.sequences.batch;
  if (plan.channels_first) {
    plan.tiles = (tokens + kTile - 1) / kTile;
    plan.tile_blocks = batch * plan.tiles * plan.group_blocks;
  } else {
    constexpr int kTokens = kLines * 32 * kGroup<E>, kWarps = kThreads / 32;
    plan.tiles = (tokens + kTokens - 1) / kTokens;
    plan.tile_blocks = (batch * plan.channels * plan.tiles + kWarps - 1) / kWarps;
  }
  const int64_t blocks = plan.tile_blocks + p.sequences.count * plan.channel_blocks;
  switch (p.weight.shape[1]) {
    case 2:
      return launch_width<E, 2>(p, l, blocks, plan);
    case 3:
      return launch_width<E, 3>(p, l, blocks, plan);
    default:
      return launch_width<E, 4>(p, l, blocks, plan);
  }
}

}  // namespace

Status causal_conv1d_fwd(const CausalConv1dFwd &p, const Launch &l) {
  return for_type(p.x.dtype, [&](auto e) { return launch_conv<decltype(e)>(p, l); });
}

}  // namespace gdn::cuda::sm80
