#include <type_traits>

#include "cuda/device/sequences.cuh"
#include "cuda/launch.h"
#include "cuda/sm80/device/divisor.cuh"
#include "cuda/sm80/device/taps.cuh"
#include "cuda/sm80/kernels.h"

// Depthwise causal convolution of a few new tokens a sequence; one thread a channel and sequence,
// or 16 bytes of neighbouring channels where tokens and states have them so, as engines do.

namespace gdn::cuda::sm80 {
namespace {

constexpr int kThreads = 128;
constexpr int kMaxWidth = 4;

__global__ void __launch_bounds__(kThreads)
    conv1d_update_kernel(const __grid_constant__ CausalConv1dUpdate p) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t channels = p.x.shape[1];
  const int64_t n = item / channels, c = item - n * channels;
  if (n >= p.sequences.count) return;
  const int64_t width = p.weight.shape[1];
  const SequenceSpan span = clamped_span(p.sequences, n);
  const int64_t tokens = span.length, slot = p.slot(n);
  if (slot < 0) {
    for (int64_t t = 0; t < tokens; ++t) {
      store_any(p.y, p.y.offset(span.batch, c, span.begin + t), 0.0F);
    }
    return;
  }
  // The line is the first `before` entries of the state, then x.
  const auto [before, after] = p.kept(n, tokens);
  float weight[kMaxWidth], window[kMaxWidth] = {};
#pragma unroll
  for (int i = 0; i < kMaxWidth; ++i) {
    const int64_t at = i - (kMaxWidth - width);
    weight[i] = at >= 0 ? load_any(p.weight, p.weight.offset(c, at)) : 0.0F;
    const int64_t from = before - kMaxWidth + i;  // The last width - 1 count.
    if (i > kMaxWidth - width && from >= 0) {
      window[i] = load_any(p.conv_state, p.conv_state.offset(slot, c, from));
    }
  }
  const float bias = p.bias.present() ? load_any(p.bias, p.bias.offset(c)) : 0.0F;
  for (int64_t t = 0; t < tokens; ++t) {
#pragma unroll
    for (int i = 0; i + 1 < kMaxWidth; ++i) window[i] = window[i + 1];
    window[kMaxWidth - 1] = load_any(p.x, p.x.offset(span.batch, c, span.begin + t));
    float sum = bias;
#pragma unroll
    for (int i = 0; i < kMaxWidth; ++i) {
      if (i >= kMaxWidth - width) sum = fmaf(weight[i], window[i], sum);
    }
    store_any(p.y, p.y.offset(span.batch, c, span.begin + t), p.silu ? silu(sum) : sum);
  }
  // The new state is the end of the line; ascending, so that old entries are read before they are
  // overwritten.
  const int64_t shift = before + tokens - after;
  for (int64_t i = 0; i < after; ++i) {
    const int64_t at = i + shift;
    const float x = at < before
                        ? load_any(p.conv_state, p.conv_state.offset(slot, c, at))
                        : load_any(p.x, p.x.offset(span.batch, c, span.begin + at - before));
    store_any(p.conv_state, p.conv_state.offset(slot, c, i), x);
  }
}

/// The group of channels of entry i.
template <class E>
__device__ __forceinline__ uint4 *group_at(E *first, int64_t i, int64_t stride) {
  return reinterpret_cast<uint4 *>(first + i * stride);
}
template <class E>
__device__ __forceinline__ const uint4 *group_at(const E *first, int64_t i, int64_t stride) {
  return reinterpret_cast<const uint4 *>(first + i * stride);
}

/// Four weights of W.
template <class W>
__device__ __forceinline__ void set_weights(float (&weight)[kMaxWidth], const uint4 &bits) {
  unpack16<W>(weight, bits);
}
template <class W>
__device__ __forceinline__ void set_weights(float (&weight)[kMaxWidth], const uint2 &bits) {
  float values[8];
  unpack16<W>(values, make_uint4(bits.x, bits.y, 0, 0));
#pragma unroll
  for (int i = 0; i < kMaxWidth; ++i) weight[i] = values[i];
}

/// The same for groups of channels: x, y and the states are of E, with the channels contiguous and
/// whole groups, and the four weights of a channel, of W, are one access. The same bits. A call of
/// a few tokens is one journey to memory for the slot and what does not follow from it, and one for
/// what the slot holds: all is asked for before any of it is looked at. `blocks` share a sequence.
template <class E, class W>
__global__ void __launch_bounds__(kThreads, 3)
    conv1d_update_groups_kernel(const __grid_constant__ CausalConv1dUpdate p,
                                const __grid_constant__ Divisor blocks) {
  constexpr int kCount = 16 / static_cast<int>(sizeof(E)), kHistory = kMaxWidth - 1;
  constexpr int kTokens = 4;   // At a time.
  constexpr int kEntries = 6;  // That a slot is left with, in registers.
  using Quad = std::conditional_t<sizeof(W) == 4, uint4, uint2>;
  const int64_t n = blocks.quotient(blockIdx.x);
  const int64_t c =
      (static_cast<int64_t>(blocks.remainder(blockIdx.x)) * kThreads + threadIdx.x) * kCount;
  if (c >= p.x.shape[1]) return;
  Quad quads[kCount];
  const W *const weight = static_cast<const W *>(p.weight.data) + p.weight.offset(c);
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    quads[i] = *reinterpret_cast<const Quad *>(weight + i * p.weight.stride[0]);
  }
  const SequenceSpan span = clamped_span(p.sequences, n);
  const int64_t tokens = span.length, slot = p.slot(n);
  const E *const x = static_cast<const E *>(p.x.data) + p.x.offset(span.batch, c, span.begin);
  E *const y = static_cast<E *>(p.y.data) + p.y.offset(span.batch, c, span.begin);
  const int64_t x_step = p.x.stride[2], y_step = p.y.stride[2];
  uint4 inputs[kTokens];
  const auto load_inputs = [&](int64_t first) {
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      inputs[t] = first + t < tokens ? *group_at(x, first + t, x_step) : uint4{};
    }
  };
  load_inputs(0);
  float bias[kCount] = {};
  if (p.bias.present()) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) bias[i] = load_any(p.bias, p.bias.offset(c + i));
  }
  if (slot < 0) {
    for (int64_t t = 0; t < tokens; ++t) *group_at(y, t, y_step) = {};
    return;
  }
  const auto [before, after] = p.kept(n, tokens);
  E *const state = static_cast<E *>(p.conv_state.data) + p.conv_state.offset(slot, c);
  const int64_t state_step = p.conv_state.stride[2], shift = before + tokens - after;
  /// Entry i of the slot after the call.
  const auto entry = [&](int64_t i) {
    const int64_t from = i + shift;
    const E *const at = from < before ? state + from * state_step : x + (from - before) * x_step;
    return *reinterpret_cast<const uint4 *>(at);
  };
  uint4 history[kHistory], entries[kEntries];
#pragma unroll
  for (int i = 0; i < kHistory; ++i) {
    const int64_t from = before - kHistory + i;
    history[i] = from >= 0 ? *group_at(state, from, state_step) : uint4{};
  }
  const bool few = after <= kEntries;
#pragma unroll
  for (int i = 0; i < kEntries; ++i) entries[i] = few && i < after ? entry(i) : uint4{};
  float window[kCount][kMaxWidth] = {};
  const auto enter = [&](const uint4 &bits) {
    float values[kCount];
    unpack16<E>(values, bits);
#pragma unroll
    for (int i = 0; i < kCount; ++i) push(window[i], values[i]);
  };
#pragma unroll
  for (int i = 0; i < kHistory; ++i) enter(history[i]);
#pragma unroll 1
  for (int64_t t = 0; t < tokens; ++t) {
    if (t % kTokens == 0 && t > 0) load_inputs(t);
    enter(inputs[0]);
#pragma unroll
    for (int i = 0; i + 1 < kTokens; ++i) inputs[i] = inputs[i + 1];
    float out[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      Taps<kMaxWidth> taps;
      set_weights<W>(taps.weight, quads[i]);
      taps.bias = bias[i];
      out[i] = taps.apply(window[i], p.silu);
    }
    store_group(group_at(y, t, y_step), pack16<E>(out));
  }
  if (few) {
#pragma unroll
    for (int i = 0; i < kEntries; ++i) {
      if (i < after) store_group(group_at(state, i, state_step), entries[i]);
    }
  } else {
    for (int64_t i = 0; i < after; ++i) *group_at(state, i, state_step) = entry(i);  // As above.
  }
}

/// True if conv1d_update_groups_kernel serves the call.
bool has_groups(const CausalConv1dUpdate &p) {
  return taps_aligned(p.weight) && (p.weight.dtype == DType::f32 || p.weight.dtype == p.x.dtype) &&
         p.y.dtype == p.x.dtype && p.conv_state.dtype == p.x.dtype &&
         p.x.shape[1] * static_cast<int64_t>(dtype_size(p.x.dtype)) % 16 == 0 &&
         groups_aligned(p.x, 1) && groups_aligned(p.y, 1) && groups_aligned(p.conv_state, 1);
}

}  // namespace

Status causal_conv1d_update(const CausalConv1dUpdate &p, const Launch &l) {
  if (has_groups(p)) {
    return for_type(p.x.dtype, [&](auto e) {
      using E = decltype(e);
      const int64_t groups = p.x.shape[1] * static_cast<int64_t>(sizeof(E)) / 16;
      const int64_t blocks = (groups + kThreads - 1) / kThreads;
      const auto launch_for = [&](auto w) {
        return launch<conv1d_update_groups_kernel<E, decltype(w)>>(
            "causal_conv1d_update", l, p.sequences.count * blocks, kThreads, 0, p,
            Divisor(static_cast<unsigned>(blocks)));
      };
      return p.weight.dtype == DType::f32 ? launch_for(float{}) : launch_for(e);
    });
  }
  const int64_t items = p.sequences.count * p.x.shape[1];
  return launch<conv1d_update_kernel>("causal_conv1d_update", l, (items + kThreads - 1) / kThreads,
                                      kThreads, 0, p);
}

}  // namespace gdn::cuda::sm80
