#ifndef GDN_CUDA_SM80_DEVICE_CONV_CHANNEL_CUH_
#define GDN_CUDA_SM80_DEVICE_CONV_CHANNEL_CUH_

#include "core/layer.h"
#include "cuda/device/functions.cuh"
#include "cuda/device/sequences.cuh"

// The convolution of one channel of a decode step: its next few tokens, and what it leaves in its
// slot.

namespace gdn::cuda::sm80 {

constexpr int kConvWidth = 4;  ///< Most taps.

/// What blocks ask of a call, together.
struct ConvPlan {
  const void *x = nullptr, *state = nullptr, *weight = nullptr, *bias = nullptr;
  DType x_type, state_type, weight_type, bias_type;
  bool indexed;          ///< There is state_indices.
  bool rounded;          ///< Inputs before a token of the call are rounded to the state's type.
  int width;             ///< Taps.
  int64_t batch, token;  ///< Strides of x, whose channels follow each other,
  int64_t slot, channel, entry;  ///< of the state,
  int64_t weight_channel, weight_tap, bias_channel;

  ConvPlan(const CausalConv1dUpdate &p, bool round)
      : x(p.x.data),
        state(p.conv_state.data),
        weight(p.weight.data),
        bias(p.bias.data),
        x_type(p.x.dtype),
        state_type(p.conv_state.dtype),
        weight_type(p.weight.dtype),
        bias_type(p.bias.dtype),
        indexed(p.state_indices.present),
        rounded(round && p.conv_state.dtype != DType::f32 && p.conv_state.dtype != p.x.dtype),
        width(static_cast<int>(p.weight.shape[1])),
        batch(p.x.stride[0]),
        token(p.x.stride[2]),
        slot(p.conv_state.stride[0]),
        channel(p.conv_state.stride[1]),
        entry(p.conv_state.stride[2]),
        weight_channel(p.weight.stride[0]),
        weight_tap(p.weight.stride[1]),
        bias_channel(p.bias.stride[0]) {}

  __device__ __forceinline__ static uint32_t bits(const void *data, DType type, int64_t offset) {
    if (type == DType::f32) return static_cast<const uint32_t *>(data)[offset];
    return static_cast<const uint16_t *>(data)[offset];
  }
};

/// The tokens of a sequence in a call and its slot.
struct ConvLine {
  int64_t batch, begin, length;
  int64_t slot;
  int64_t before;  ///< Entries of the slot that come before the tokens.
};

/// kTokens tokens of a channel as they lie in memory.
template <int kTokens>
struct ConvBits {
  uint32_t weight[kConvWidth], bias, history[kConvWidth - 1], x[kTokens];

  /// All but what the slot holds. first: of the sequence's tokens.
  __device__ __forceinline__ void load(const ConvPlan &p, int64_t c, const ConvLine &line,
                                       int64_t first, int count) {
    const int missing = kConvWidth - p.width;
    const int64_t w = c * p.weight_channel, at = line.batch * p.batch + c;
#pragma unroll
    for (int i = 0; i < kConvWidth; ++i) {
      weight[i] =
          i < missing ? 0 : p.bits(p.weight, p.weight_type, w + (i - missing) * p.weight_tap);
    }
    bias = p.bias_type == DType::none ? 0 : p.bits(p.bias, p.bias_type, c * p.bias_channel);
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const int64_t token = line.begin + first + t;
      x[t] = t < count ? p.bits(p.x, p.x_type, at + token * p.token) : 0;
    }
#pragma unroll
    for (int i = 0; i + 1 < kConvWidth; ++i) {
      const int64_t token = first - (kConvWidth - 1) + i;
      history[i] = 0;
      if (kTokens == 1 || i < missing || token < 0) continue;
      history[i] = p.bits(p.x, p.x_type, at + (line.begin + token) * p.token);
    }
  }

  __device__ __forceinline__ void load_slot(const ConvPlan &p, int64_t c, const ConvLine &line,
                                            int64_t first) {
    const int missing = kConvWidth - p.width;
    const int64_t at = line.slot * p.slot + c * p.channel;
#pragma unroll
    for (int i = 0; i + 1 < kConvWidth; ++i) {
      const int64_t token = first - (kConvWidth - 1) + i, from = line.before + token;
      if (i < missing || token >= 0 || from < 0) continue;
      history[i] = p.bits(p.state, p.state_type, at + from * p.entry);
    }
  }

  /// Calls put(t, y) with the convolution's output for each token, silu and all.
  template <class F>
  __device__ __forceinline__ void apply(const ConvPlan &p, int64_t first, int count, F put) const {
    const int missing = kConvWidth - p.width;
    float w[kConvWidth], window[kConvWidth];
#pragma unroll
    for (int i = 0; i < kConvWidth; ++i) w[i] = from_bits(p.weight_type, weight[i]);
#pragma unroll
    for (int i = 0; i + 1 < kConvWidth; ++i) {
      const bool of_call = first - (kConvWidth - 1) + i >= 0;
      window[i] = from_bits(of_call ? p.x_type : p.state_type, history[i]);
      if (of_call) window[i] = kept(p, window[i]);
    }
    const float start = from_bits(p.bias_type, bias);
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      if (t >= count) break;
      window[kConvWidth - 1] = from_bits(p.x_type, x[t]);
      float sum = start;
#pragma unroll
      for (int i = 0; i < kConvWidth; ++i) {
        if (i >= missing) sum = fmaf(w[i], window[i], sum);
      }
      put(t, silu(sum));
      window[kConvWidth - 1] = kept(p, window[kConvWidth - 1]);
#pragma unroll
      for (int i = 0; i + 1 < kConvWidth; ++i) window[i] = window[i + 1];
    }
  }

 private:
  /// An input as later tokens meet it.
  __device__ __forceinline__ static float kept(const ConvPlan &p, float x) {
    if (!p.rounded) return x;
    return p.state_type == DType::bf16 ? to_float(from_float<bf16>(x))
                                       : to_float(from_float<f16>(x));
  }
};

/// The new entries of a channel's slot, which are the end of the line of its old ones and the
/// tokens. The first few are loaded before any block writes and stored after all have read.
struct ConvShift {
  static constexpr int kAhead = 4;
  uint32_t bits[kAhead];

  /// Entry i of the slot as it will be. after: entries that are written.
  __device__ __forceinline__ static uint32_t entry(const ConvPlan &p, int64_t c,
                                                   const ConvLine &line, int64_t after, int64_t i,
                                                   bool &of_call) {
    const int64_t at = i + line.before + line.length - after;
    of_call = at >= line.before;
    if (!of_call) {
      return p.bits(p.state, p.state_type, line.slot * p.slot + c * p.channel + at * p.entry);
    }
    return p.bits(p.x, p.x_type,
                  line.batch * p.batch + c + (line.begin + at - line.before) * p.token);
  }

  __device__ __forceinline__ void load(const ConvPlan &p, int64_t c, const ConvLine &line,
                                       int64_t after) {
    bool of_call;
#pragma unroll
    for (int i = 0; i < kAhead; ++i) bits[i] = i < after ? entry(p, c, line, after, i, of_call) : 0;
  }

  /// Ascending, so that old entries are read before they are overwritten.
  __device__ __forceinline__ void store(const ConvPlan &p, int64_t c, const ConvLine &line,
                                        int64_t after) const {
    const auto put = [&](int64_t i, uint32_t x, bool of_call) {
      const int64_t to = line.slot * p.slot + c * p.channel + i * p.entry;
      const float value = from_bits(of_call ? p.x_type : p.state_type, x);
      if (p.state_type == DType::f32) {
        static_cast<float *>(const_cast<void *>(p.state))[to] = value;
      } else if (p.state_type == DType::bf16) {
        static_cast<bf16 *>(const_cast<void *>(p.state))[to] = from_float<bf16>(value);
      } else {
        static_cast<f16 *>(const_cast<void *>(p.state))[to] = from_float<f16>(value);
      }
    };
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (i < after) put(i, bits[i], i + line.before + line.length - after >= line.before);
    }
    for (int64_t i = kAhead; i < after; ++i) {
      bool of_call;
      const uint32_t x = entry(p, c, line, after, i, of_call);
      put(i, x, of_call);
    }
  }
};

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_CONV_CHANNEL_CUH_
