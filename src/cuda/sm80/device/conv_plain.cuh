#ifndef GDN_CUDA_SM80_DEVICE_CONV_PLAIN_CUH_
#define GDN_CUDA_SM80_DEVICE_CONV_PLAIN_CUH_

#include "cuda/sm80/device/conv_channel.cuh"
#include "cuda/sm80/device/taps.cuh"

// ConvBits<1> for calls as models make them: tokens, weights and slots in bf16, four taps in one
// access, no bias. A fourth of the loads, and conversions that are shifts.

namespace gdn::cuda::sm80 {

/// True for such calls.
inline bool is_plain(const CausalConv1dUpdate &p) {
  for (const Tensor *t : {&p.x, &p.weight, &p.conv_state}) {
    if (t->dtype != DType::bf16) return false;
  }
  return taps_aligned(p.weight) && !p.bias.present();
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

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_CONV_PLAIN_CUH_
