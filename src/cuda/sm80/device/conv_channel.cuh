#ifndef GDN_CUDA_SM80_DEVICE_CONV_CHANNEL_CUH_
#define GDN_CUDA_SM80_DEVICE_CONV_CHANNEL_CUH_

#include "core/layer.h"
#include "cuda/device/functions.cuh"
#include "cuda/device/sequences.cuh"

// The convolution of one channel of a decode step: its next few tokens, and what it leaves in its
// slot.

namespace gdn::cuda::sm80 {

constexpr int kConvWidth = 4;  ///< Most taps.

/// Elements of one type, with strides in bytes.
struct Elements {
  char *data = nullptr;
  DType dtype = DType::none;
  int shift = 0;  ///< Of an element's bits to be a float's; f16 has none.
  int64_t stride[3] = {};

  Elements(const Tensor &t, int first, int second, int third)
      : data(static_cast<char *>(t.data)), dtype(t.dtype), shift(t.dtype == DType::bf16 ? 16 : 0) {
    const int dims[] = {first, second, third};
    for (int i = 0; i < 3; ++i) {
      stride[i] = dims[i] < 0 ? 0 : t.stride[dims[i]] * static_cast<int64_t>(dtype_size(t.dtype));
    }
  }
  __device__ __forceinline__ char *at(int64_t i, int64_t j = 0, int64_t k = 0) const {
    return data + i * stride[0] + j * stride[1] + k * stride[2];
  }
  /// The bits of an element, without a branch and without an instruction that waits for them: there
  /// are dozens of them.
  __device__ __forceinline__ uint32_t bits(const char *from) const {
    uint32_t x;
    asm volatile(
        "{\n"
        ".reg .pred wide;\n"
        "setp.ne.u32 wide, %2, 0;\n"
        "mov.u32 %0, 0;\n"  // Else ptxas takes it for one that keeps its value in a loop.
        "@wide ld.global.u32 %0, [%1];\n"
        "@!wide ld.global.u16 %0, [%1];\n"
        "}\n"
        : "=&r"(x)
        : "l"(from), "r"(static_cast<uint32_t>(dtype == DType::f32))
        : "memory");
    return x;
  }
  /// Without a branch too.
  __device__ __forceinline__ float value(uint32_t bits) const {
    const float half = from_bits(DType::f16, bits), other = __uint_as_float(bits << shift);
    return dtype == DType::f16 ? half : other;
  }
};

/// What blocks ask of a call, together.
struct ConvPlan {
  Elements x;       ///< By row, token and channel.
  Elements state;   ///< By slot, channel and entry.
  Elements weight;  ///< By channel and tap.
  Elements bias;    ///< By channel; some weight if there is none.
  bool biased;
  int missing;   ///< Taps that the weight lacks, the oldest.
  bool indexed;  ///< There is state_indices.
  bool rounded;  ///< Inputs before a token of the call are rounded to the state's type.

  ConvPlan(const CausalConv1dUpdate &p, bool round)
      : x(p.x, 0, 2, 1),
        state(p.conv_state, 0, 1, 2),
        weight(p.weight, 0, 1, -1),
        bias(p.bias.present() ? p.bias : p.weight, 0, -1, -1),
        biased(p.bias.present()),
        missing(kConvWidth - static_cast<int>(p.weight.shape[1])),
        indexed(p.state_indices.present),
        rounded(round && p.conv_state.dtype != DType::f32 && p.conv_state.dtype != p.x.dtype) {}
};

/// The tokens of a sequence in a call and its slot.
struct ConvLine {
  int64_t batch, begin, length;
  int64_t slot;
  int64_t before;  ///< Entries of the slot that come before the tokens.
};

/// A channel's entries in a slot.
struct ConvSlot {
  char *data;
  DType dtype;
  int64_t step;

  __device__ __forceinline__ ConvSlot(const ConvPlan &p, int64_t c, int64_t slot)
      : data(p.state.at(slot, c)), dtype(p.state.dtype), step(p.state.stride[2]) {}
  __device__ __forceinline__ float value(int64_t i) const {
    const char *const from = data + i * step;
    if (dtype == DType::f32) return *reinterpret_cast<const float *>(from);
    return from_bits(dtype, *reinterpret_cast<const uint16_t *>(from));
  }
  __device__ __forceinline__ void put(int64_t i, float x) const {
    char *const to = data + i * step;
    if (dtype == DType::f32) {
      *reinterpret_cast<float *>(to) = x;
    } else if (dtype == DType::bf16) {
      *reinterpret_cast<bf16 *>(to) = from_float<bf16>(x);
    } else {
      *reinterpret_cast<f16 *>(to) = from_float<f16>(x);
    }
  }
};

/// kTokens tokens of a channel as they lie in memory.
template <int kTokens>
struct ConvBits {
  static constexpr int kHistory = kConvWidth - 1;
  uint32_t weight[kConvWidth], bias, history[kHistory], x[kTokens];

  /// All but what the slot holds. first: of the sequence's tokens. What is not there is loaded from
  /// where something else is, and not looked at: a branch would be an end to loads on their way.
  __device__ __forceinline__ void load(const ConvPlan &p, int64_t c, const ConvLine &line,
                                       int64_t first, int count) {
    if (kTokens > 1 && count <= 0) return;
    const char *w = p.weight.at(c);
#pragma unroll
    for (int i = 0; i < kConvWidth; ++i) {
      weight[i] = p.weight.bits(w);
      w += i < p.missing ? 0 : p.weight.stride[1];
    }
    bias = p.bias.bits(p.bias.at(c));
    const char *from = p.x.at(line.batch, line.begin + first, c);
    if (kTokens > 1) {
#pragma unroll
      for (int i = 0; i < kHistory; ++i) {
        if (first - kHistory + i >= 0) history[i] = p.x.bits(from + (i - kHistory) * p.x.stride[1]);
      }
    }
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      x[t] = p.x.bits(from);
      from += t + 1 < count ? p.x.stride[1] : 0;
    }
  }

  __device__ __forceinline__ void load_slot(const ConvPlan &p, int64_t c, const ConvLine &line,
                                            int64_t first) {
    if (kTokens > 1 && first >= kHistory) return;
    const int64_t oldest = line.before + first - kHistory;
    const char *from = p.state.at(line.slot, c, max(oldest, int64_t{0}));
#pragma unroll
    for (int i = 0; i < kHistory; ++i) {
      if (kTokens == 1 || first - kHistory + i < 0) history[i] = p.state.bits(from);
      from += oldest + i < 0 ? 0 : p.state.stride[2];
    }
  }

  /// The slot after the only token of a call: the end of the line of its old entries and the token.
  __device__ __forceinline__ void keep(const ConvPlan &p, int64_t c, const ConvLine &line,
                                       int64_t after) const {
    static_assert(kTokens == 1);
    const ConvSlot slot(p, c, line.slot);
    // Ascending, so that old entries are read before they are overwritten.
#pragma unroll 1
    for (int64_t i = 0; i < after - kConvWidth; ++i) {
      slot.put(i, slot.value(line.before + i + 1 - after));
    }
#pragma unroll
    for (int i = 0; i < kHistory; ++i) {
      const int64_t to = after - kConvWidth + i;
      if (to >= 0) slot.put(to, p.state.value(history[i]));
    }
    if (after > 0) slot.put(after - 1, p.x.value(x[0]));
  }

  /// Calls put(t, y) with the convolution's output for each token, silu and all.
  template <class F>
  __device__ __forceinline__ void apply(const ConvPlan &p, int64_t first, int count, F put) const {
    float w[kConvWidth], window[kConvWidth];
#pragma unroll
    for (int i = 0; i < kConvWidth; ++i) w[i] = p.weight.value(weight[i]);
#pragma unroll
    for (int i = 0; i < kHistory; ++i) {
      const bool of_call = kTokens > 1 && first - kHistory + i >= 0;
      window[i] = of_call ? kept(p, p.x.value(history[i])) : p.state.value(history[i]);
    }
    const float start = p.biased ? p.bias.value(bias) : 0.0F;
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      if (t >= count) break;
      window[kHistory] = p.x.value(x[t]);
      float sum = start;
#pragma unroll
      for (int i = 0; i < kConvWidth; ++i) {
        if (i >= p.missing) sum = fmaf(w[i], window[i], sum);
      }
      put(t, silu(sum));
      window[kHistory] = kept(p, window[kHistory]);
#pragma unroll
      for (int i = 0; i < kHistory; ++i) window[i] = window[i + 1];
    }
  }

 private:
  /// An input as later tokens meet it.
  __device__ __forceinline__ static float kept(const ConvPlan &p, float x) {
    if (!p.rounded) return x;
    return p.state.dtype == DType::bf16 ? to_float(from_float<bf16>(x))
                                        : to_float(from_float<f16>(x));
  }
};

/// Writes a channel's slot after a call: its entries are the end of the line of its old ones and
/// the tokens.
__device__ __forceinline__ void keep_tokens(const ConvPlan &p, int64_t c, const ConvLine &line,
                                            int64_t after) {
  const ConvSlot slot(p, c, line.slot);
  const auto entry = [&](int64_t i) {
    const int64_t t = i + line.length - after;  // Below 0: of the old entries.
    return t < 0 ? slot.value(line.before + t)
                 : p.x.value(p.x.bits(p.x.at(line.batch, line.begin + t, c)));
  };
  // Ascending, so that old entries are read before they are overwritten; a few at a time.
  constexpr int kAhead = 4;
#pragma unroll 1
  for (int64_t first = 0; first < after; first += kAhead) {
    float x[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) x[i] = first + i < after ? entry(first + i) : 0.0F;
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (first + i < after) slot.put(first + i, x[i]);
    }
  }
}

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_CONV_CHANNEL_CUH_
