#ifndef GDN_CUDA_SM80_DEVICE_CONV_PLAIN_CUH_
#define GDN_CUDA_SM80_DEVICE_CONV_PLAIN_CUH_

#include "cuda/sm80/device/conv_channel.cuh"
#include "cuda/sm80/device/taps.cuh"

// ConvBits<1> for calls as models make them: tokens, weights and slots in bf16, four taps in one
// access, no bias. A fourth of the loads, and conversions that are shifts. Where channels lie next
// to each other, as engines have them, four at a time.

namespace gdn::cuda::sm80 {

/// True for such calls.
inline bool is_plain(const CausalConv1dUpdate &p) {
  for (const Tensor *t : {&p.x, &p.weight, &p.conv_state}) {
    if (t->dtype != DType::bf16) return false;
  }
  return taps_aligned(p.weight) && !p.bias.present();
}

/// True if four channels of such a call are one access as well, with their taps, and slots have no
/// more entries than the taps need.
inline bool is_plain_by_fours(const CausalConv1dUpdate &p) {
  const auto aligned = [](const Tensor &t, uintptr_t bytes) {
    return reinterpret_cast<uintptr_t>(t.data) % bytes == 0;
  };
  const auto fours = [&](const Tensor &t, int last) {
    if (t.stride[1] != 1 || !aligned(t, 8)) return false;
    for (int i = 0; i <= last; i += 2) {
      if (t.shape[i] > 1 && t.stride[i] % 4 != 0) return false;
    }
    return true;
  };
  return is_plain(p) && fours(p.x, 0) && fours(p.conv_state, 2) &&
         p.conv_state.shape[2] == kConvWidth - 1 && p.weight.stride[0] == 4 &&
         aligned(p.weight, 16);
}

/// The bits of a bf16 or f16, without an instruction that waits for them.
__device__ __forceinline__ uint32_t bits16(const void *from) {
  uint32_t x;
  asm volatile("ld.global.u16 %0, [%1];" : "=r"(x) : "l"(from) : "memory");
  return x;
}

/// The only token of a channel as it lies in memory.
struct PlainConvBits {
  static constexpr int kHistory = kConvWidth - 1;
  uint32_t weight[kConvWidth / 2];  ///< Two taps each.
  uint32_t history[kHistory], x[1];

  __device__ __forceinline__ void load(const ConvPlan &p, int64_t c, const ConvLine &line,
                                       int64_t /*first*/, int /*count*/) {
    asm volatile("ld.global.v2.u32 {%0, %1}, [%2];"
                 : "=r"(weight[0]), "=r"(weight[1])
                 : "l"(p.weight.at(c))
                 : "memory");
    x[0] = bits16(p.x.at(line.batch, line.begin, c));
  }

  /// A slot has three entries at least.
  __device__ __forceinline__ void load_slot(const ConvPlan &p, int64_t c, const ConvLine &line,
                                            int64_t /*first*/) {
    const char *entry = p.state.at(line.slot, c, line.before - kHistory);
#pragma unroll
    for (int i = 0; i < kHistory; ++i, entry += p.state.stride[2]) history[i] = bits16(entry);
  }

  __device__ __forceinline__ void keep(const ConvPlan &p, int64_t c, const ConvLine &line,
                                       int64_t after) const {
    char *const first = p.state.at(line.slot, c);
    const auto at = [&](int64_t i) {
      return reinterpret_cast<uint16_t *>(first + i * p.state.stride[2]);
    };
    // Ascending, so that old entries are read before they are overwritten.
#pragma unroll 1
    for (int64_t i = 0; i < after - kConvWidth; ++i) *at(i) = *at(i + 1);
#pragma unroll
    for (int i = 0; i < kHistory; ++i) {
      const int64_t to = after - kConvWidth + i;
      if (to >= 0) *at(to) = static_cast<uint16_t>(history[i]);
    }
    *at(after - 1) = static_cast<uint16_t>(x[0]);
  }

  /// The arithmetic of ConvBits, and so its bits.
  template <class F>
  __device__ __forceinline__ void apply(const ConvPlan & /*p*/, int64_t /*first*/, int /*count*/,
                                        F put) const {
    float sum = 0.0F;
#pragma unroll
    for (int i = 0; i < kConvWidth; ++i) {
      const uint32_t pair = weight[i / 2], input = i < kHistory ? history[i] : x[0];
      const uint32_t tap = i % 2 != 0 ? pair & 0xffff0000u : pair << 16;
      sum = fmaf(__uint_as_float(tap), __uint_as_float(input << 16), sum);
    }
    put(0, silu(sum));
  }
};

/// The only token of channels c to c + 3, c a multiple of 4. put(i, y) is for channel c + i.
struct FourConvBits {
  static constexpr int kHistory = kConvWidth - 1, kChannels = 4;
  uint4 taps[2];               ///< Those of a channel are 8 bytes.
  uint2 history[kHistory], x;  ///< A channel's are 2 bytes.

  __device__ __forceinline__ void load(const ConvPlan &p, int64_t c, const ConvLine &line,
                                       int64_t /*first*/, int /*count*/) {
    const auto *const from = reinterpret_cast<const uint4 *>(p.weight.data) + c / 2;
    taps[0] = from[0], taps[1] = from[1];
    x = *reinterpret_cast<const uint2 *>(p.x.data + line.batch * p.x.stride[0] + 2 * c);
  }

  __device__ __forceinline__ void load_slot(const ConvPlan &p, int64_t c, const ConvLine &line,
                                            int64_t /*first*/) {
    const char *entry = slot(p, c, line);
#pragma unroll
    for (int i = 0; i < kHistory; ++i, entry += p.state.stride[2]) {
      history[i] = *reinterpret_cast<const uint2 *>(entry);
    }
  }

  __device__ __forceinline__ void keep(const ConvPlan &p, int64_t c, const ConvLine &line,
                                       int64_t /*after*/) const {
    char *entry = slot(p, c, line);
#pragma unroll
    for (int i = 0; i < kHistory; ++i, entry += p.state.stride[2]) {
      *reinterpret_cast<uint2 *>(entry) = i + 1 < kHistory ? history[i + 1] : x;
    }
  }

  /// The arithmetic of ConvBits, and so its bits.
  template <class F>
  __device__ __forceinline__ void apply(const ConvPlan & /*p*/, int64_t /*first*/, int /*count*/,
                                        F put) const {
    float sum[kChannels] = {};
#pragma unroll
    for (int i = 0; i < kConvWidth; ++i) {
      const uint2 entry = i < kHistory ? history[i] : x;
#pragma unroll
      for (int j = 0; j < kChannels; ++j) {
        const uint4 &two = taps[j / 2];
        const uint32_t pair = j % 2 != 0 ? (i < 2 ? two.z : two.w) : (i < 2 ? two.x : two.y);
        sum[j] = fmaf(half_of(pair, i % 2), half_of(j < 2 ? entry.x : entry.y, j % 2), sum[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < kChannels; ++j) put(j, silu(sum[j]));
  }

 private:
  __device__ __forceinline__ static char *slot(const ConvPlan &p, int64_t c, const ConvLine &line) {
    return p.state.data + line.slot * p.state.stride[0] + 2 * c;
  }
  /// The bf16 in the lower or upper half.
  __device__ __forceinline__ static float half_of(uint32_t pair, int upper) {
    return __uint_as_float(upper != 0 ? pair & 0xffff0000u : pair << 16);
  }
};

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_CONV_PLAIN_CUH_
