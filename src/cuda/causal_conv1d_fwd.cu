#include "cuda/device/sequences.cuh"
#include "cuda/launch.h"
#include "cuda/operations.h"

// Depthwise causal convolution over whole sequences. Outputs whose window lies inside the sequence
// are computed by tiles of tokens; the first W - 1 of each sequence, which need the convolution
// state, and the new state by one thread a channel and sequence, so that a slot is read before it
// is written. Both kinds of block share one launch.

namespace gdn::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kTile = 32;  ///< Tokens a tile.
constexpr int kMaxWidth = 4;
constexpr int kGroup = 4;  ///< Channels of a thread of a tile.

struct ConvPlan {
  int64_t channels;
  bool aligned;            ///< Four channels of x and of y are one access.
  int64_t tiles;           ///< Tiles of tokens of one batch row.
  int64_t channel_blocks;  ///< Blocks of kThreads channels, for the edges.
  int64_t group_blocks;    ///< Blocks of kThreads groups of kGroup channels.
  int64_t tile_blocks;     ///< Blocks of the first kind.
  bool channels_first;     ///< Neighbouring threads take neighbouring channels, else tokens.
};

struct Taps {
  float weight[kMaxWidth];  ///< weight[kMaxWidth - 1] meets the newest input.
  float bias;
  int unused;  ///< Leading entries that the width leaves out.

  __device__ __forceinline__ void load(const Tensor &w, const Tensor &b, int64_t c) {
    unused = kMaxWidth - static_cast<int>(w.shape[1]);
#pragma unroll
    for (int i = 0; i < kMaxWidth; ++i) {
      weight[i] = i >= unused ? load_any(w, w.offset(c, i - unused)) : 0.0F;
    }
    bias = b.present() ? load_any(b, b.offset(c)) : 0.0F;
  }

  /// window[kMaxWidth - 1] is the newest input. Entries before the width may be another sequence's
  /// and do not enter, not even times 0.
  __device__ __forceinline__ float apply(const float (&window)[kMaxWidth], bool use_silu) const {
    float sum = bias;
#pragma unroll
    for (int i = 0; i < kMaxWidth; ++i) {
      if (i >= unused) sum = fmaf(weight[i], window[i], sum);
    }
    return use_silu ? silu(sum) : sum;
  }
};

__device__ __forceinline__ void push(float (&window)[kMaxWidth], float x) {
#pragma unroll
  for (int i = 0; i + 1 < kMaxWidth; ++i) window[i] = window[i + 1];
  window[kMaxWidth - 1] = x;
}

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

__device__ __forceinline__ int64_t slot_of(const CausalConv1dFwd &p, int64_t n) {
  const int64_t slot = p.state_indices.present ? p.state_indices.at(n) : n;
  if (!p.conv_state.present()) return slot < 0 ? -1 : slot;
  return checked_slot(slot, p.conv_state.shape[0]);
}

/// x[c .. c + kCount) at token t; channels from `limit` on are not read.
template <class E, int kCount>
__device__ __forceinline__ void load_channels(float (&x)[kCount], const Tensor &t, int64_t offset,
                                              int limit, bool aligned) {
  const E *p = static_cast<const E *>(t.data) + offset;
  if constexpr (kCount == 4) {
    if (aligned && limit >= 4) {
      load4(x, p, true);
      return;
    }
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) x[i] = i < limit ? to_float(p[i * t.stride[1]]) : 0.0F;
}

template <class E, int kCount>
__device__ __forceinline__ void store_channels(const float (&x)[kCount], const Tensor &t,
                                               int64_t offset, int limit, bool aligned) {
  E *p = static_cast<E *>(t.data) + offset;
  if constexpr (kCount == 4) {
    if (aligned && limit >= 4) {
      store4(p, x, true);
      return;
    }
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (i < limit) p[i * t.stride[1]] = from_float<E>(x[i]);
  }
}

/// Outputs first .. first + count - 1 of kCount channels (`limit` of them) that need no state;
/// zeros for skipped sequences.
template <class E, int kCount>
__device__ __forceinline__ void run_tile(const CausalConv1dFwd &p, int64_t b, int64_t c, int limit,
                                         int64_t first, int count, bool aligned) {
  const int64_t width = p.weight.shape[1];
  Taps taps[kCount];
  float window[kCount][kMaxWidth] = {};
#pragma unroll
  for (int i = 0; i < kCount; ++i) taps[i].load(p.weight, p.bias, i < limit ? c + i : c);
  const auto take = [&](int64_t t) {
    float x[kCount];
    load_channels<E>(x, p.x, p.x.offset(b, c, t), limit, aligned);
#pragma unroll
    for (int i = 0; i < kCount; ++i) push(window[i], x[i]);
  };
  for (int64_t t = max(first - (width - 1), int64_t{0}); t < first; ++t) take(t);
  int64_t n = -1, slot = -1;
  SequenceSpan span = {0, 0, 0};
#pragma unroll 4
  for (int64_t t = first; t < first + count; ++t) {
    take(t);
    if (t == first || t >= span.begin + span.length) {
      n = sequence_of(p.sequences, b, t);
      if (n < 0) continue;
      span = clamped_span(p.sequences, n);
      slot = slot_of(p, n);
    }
    if (slot >= 0 && t - span.begin < width - 1) continue;
    float y[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) y[i] = slot < 0 ? 0.0F : taps[i].apply(window[i], p.silu);
    store_channels<E>(y, p.y, p.y.offset(b, c, t), limit, aligned);
  }
}

/// The first W - 1 outputs and the new state of a channel of sequence n.
__device__ void run_edge(const CausalConv1dFwd &p, int64_t n, int64_t c) {
  const SequenceSpan span = clamped_span(p.sequences, n);
  const int64_t slot = slot_of(p, n), width = p.weight.shape[1];
  if (slot < 0) return;
  const bool has_state = p.conv_state.present();
  const bool initial = has_state && p.has_initial_state.at(n);
  const int64_t kept = has_state ? p.conv_state.shape[2] : 0;
  Taps taps;
  taps.load(p.weight, p.bias, c);
  float window[kMaxWidth] = {};
  for (int64_t i = kept - (width - 1); initial && i < kept; ++i) {
    push(window, load_any(p.conv_state, p.conv_state.offset(slot, c, i)));
  }
  for (int64_t t = 0; t < min(width - 1, span.length); ++t) {
    push(window, load_any(p.x, p.x.offset(span.batch, c, span.begin + t)));
    store_any(p.y, p.y.offset(span.batch, c, span.begin + t), taps.apply(window, p.silu));
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

template <class E>
__global__ void __launch_bounds__(kThreads)
    conv1d_fwd_kernel(const __grid_constant__ CausalConv1dFwd p,
                      const __grid_constant__ ConvPlan plan) {
  const int64_t block = blockIdx.x;
  if (block >= plan.tile_blocks) {
    const int64_t edge = block - plan.tile_blocks;
    const int64_t c = (edge % plan.channel_blocks) * kThreads + threadIdx.x;
    if (c < plan.channels) run_edge(p, edge / plan.channel_blocks, c);
    return;
  }
  if (plan.channels_first) {
    const int64_t c = ((block % plan.group_blocks) * kThreads + threadIdx.x) * kGroup;
    const int64_t rest = block / plan.group_blocks;
    const int64_t b = rest / plan.tiles, first = (rest - b * plan.tiles) * kTile;
    if (c < plan.channels) {
      run_tile<E, kGroup>(p, b, c, static_cast<int>(min(plan.channels - c, int64_t{kGroup})), first,
                          static_cast<int>(min(p.sequences.tokens - first, int64_t{kTile})),
                          plan.aligned);
    }
  } else {
    const int64_t c = block % plan.channels, rest = block / plan.channels;
    const int64_t b = rest / plan.tiles;
    const int64_t t = (rest - b * plan.tiles) * kThreads + threadIdx.x;
    if (t < p.sequences.tokens) run_tile<E, 1>(p, b, c, 1, t, 1, false);
  }
}

/// True if four neighbouring channels start on four elements' size.
bool channels_aligned(const Tensor &t) {
  return t.stride[1] == 1 && (t.shape[0] == 1 || t.stride[0] % 4 == 0) &&
         (t.shape[2] == 1 || t.stride[2] % 4 == 0) &&
         reinterpret_cast<uintptr_t>(t.data) % (4 * dtype_size(t.dtype)) == 0;
}

}  // namespace

Status causal_conv1d_fwd(const CausalConv1dFwd &p, const Launch &l) {
  ConvPlan plan;
  plan.channels = p.x.shape[1];
  plan.channel_blocks = (plan.channels + kThreads - 1) / kThreads;
  plan.group_blocks = (plan.channels + kThreads * kGroup - 1) / (kThreads * kGroup);
  plan.channels_first = p.x.stride[1] == 1 || p.x.stride[2] != 1;
  plan.aligned = channels_aligned(p.x) && channels_aligned(p.y);
  const int64_t per_tile = plan.channels_first ? kTile : kThreads;
  plan.tiles = (p.sequences.tokens + per_tile - 1) / per_tile;
  plan.tile_blocks =
      p.sequences.batch * plan.tiles * (plan.channels_first ? plan.group_blocks : plan.channels);
  const int64_t blocks = plan.tile_blocks + p.sequences.count * plan.channel_blocks;
  const char *name = "causal_conv1d_fwd";
  switch (p.x.dtype) {
    case DType::f32:
      return launch<conv1d_fwd_kernel<float>>(name, l, blocks, kThreads, 0, p, plan);
    case DType::bf16:
      return launch<conv1d_fwd_kernel<bf16>>(name, l, blocks, kThreads, 0, p, plan);
    default:
      return launch<conv1d_fwd_kernel<f16>>(name, l, blocks, kThreads, 0, p, plan);
  }
}

}  // namespace gdn::cuda
