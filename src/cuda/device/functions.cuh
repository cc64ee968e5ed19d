#ifndef GDN_CUDA_DEVICE_FUNCTIONS_CUH_
#define GDN_CUDA_DEVICE_FUNCTIONS_CUH_

#include "core/delta_rule.h"
#include "cuda/device/element.cuh"

namespace gdn::cuda {

constexpr float kL2NormEps = 1e-6F;
constexpr float kLog2E = 1.4426950408889634F;
constexpr unsigned kFullWarp = 0xffffffffu;

/// log(1 + e^x), the identity past 20.
__device__ __forceinline__ float softplus(float x) { return x > 20.0F ? x : log1pf(expf(x)); }
__device__ __forceinline__ float sigmoid(float x) { return 1.0F / (1.0F + expf(-x)); }

/// Log decay of a raw gate, -e^A_log softplus(a + dt_bias). Where a factor would leave f32's range,
/// which the product need not do, softplus is e^x (x is far below 0), or e^A_log two factors.
__device__ __forceinline__ float decay_of_gate(float a, float A_log, float dt_bias) {
  constexpr float kRange = 80.0F;
  const float x = a + dt_bias;
  if (!(fabsf(A_log) > kRange) && !(x < -kRange)) return -expf(A_log) * softplus(x);
  if (x < -17.0F) return -expf(A_log + x);
  const float root =
      fmaxf(expf(0.5F * A_log), 1e-45F);  // Not 0, which times infinity is no number.
  return -root * softplus(x) * root;
}

/// A log decay as the chunk kernels add it up. Factors below this are 0, and sums of infinities
/// have no differences. NaN stays.
__device__ __forceinline__ float bounded_decay(float g) {
  constexpr float kLeast = -110.0F;
  return g < kLeast ? kLeast : g;
}

/// 2^x, within 2 units in the last place.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// e^x for x <= 0.
__device__ __forceinline__ float decay_of(float x) { return exp2_fast(x * kLog2E); }

/// x / (1 + e^-x), or sigmoid(x) alone, by two instructions of the special function unit: the exact
/// division and exponential would cost more than the memory traffic around them. Each is within 2
/// units in the last place, but below 0 the result is off by up to 0.6 |x| units more, since the
/// exponent is a rounded product; below -87 it is 0 (true: less than 1.5e-36), the quotient's
/// divisor being past 2^126.
__device__ __forceinline__ float output_gate(float x, bool sigmoid_alone) {
  return __fdividef(sigmoid_alone ? 1.0F : x, 1.0F + exp2_fast(-kLog2E * x));
}
__device__ __forceinline__ float silu(float x) { return output_gate(x, false); }

/// threadIdx.x and the lane, read here: what follows from them is computed again rather than kept
/// in registers from one step to the next.
__device__ __forceinline__ int fresh_thread() {
  int thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  return thread;
}
__device__ __forceinline__ int fresh_lane() { return fresh_thread() & 31; }

/// The same value, out of which the compiler makes nothing ahead of a loop: there are no registers
/// to keep that in.
__device__ __forceinline__ int opaque(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

/// True where a row of raw q or k, `sum` being that of its squares, is to be brought near 1 by a
/// power of two before it enters products: those of large rows would overflow, and in fp16 the
/// inverse norms of both large and small ones leave the type's exponent. NaN too.
__device__ __forceinline__ bool norm_is_far(float sum) {
  constexpr float kLeast = 0x1p-6F, kMost = 0x1p20F;
  return !(sum <= kMost) || (sum < kLeast && sum != 0.0F);
}

/// The power of two that brings the largest |x| of a row, `most`, into [1, 2); up to 2^kLargest.
template <int kLargest = 60>
__device__ __forceinline__ float row_scale(float most) {
  const int e = static_cast<int>(__float_as_uint(most) >> 23 & 0xff);
  return __int_as_float(min(max(254 - e, 1), 127 + kLargest) << 23);
}

/// 1 / |row| of a row that has been multiplied by `scale`, `sum` being that of its squares then.
__device__ __forceinline__ float inverse_norm(float sum, float scale) {
  return rsqrtf(sum + kL2NormEps * scale * scale);
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int i = 16; i > 0; i >>= 1) x += __shfl_xor_sync(kFullWarp, x, i);
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int i = 16; i > 0; i >>= 1) x = fmaxf(x, __shfl_xor_sync(kFullWarp, x, i));
  return x;
}

/// Inclusive sum over the lanes of a warp.
template <class T>
__device__ __forceinline__ T warp_scan(T x, int lane) {
#pragma unroll
  for (int i = 1; i < 32; i <<= 1) {
    const T y = __shfl_up_sync(kFullWarp, x, i);
    if (lane >= i) x += y;
  }
  return x;
}

/// Log decay (natural, bounded) of a token under the call's flags.
__device__ __forceinline__ float token_decay(const DeltaRule &p, int64_t b, int64_t t, int64_t h) {
  if (!p.g.present()) return 0.0F;
  const float g = load_any(p.g, p.g.offset(b, t, h));
  if (!p.gate) return bounded_decay(g);
  return bounded_decay(
      decay_of_gate(g, load_any(p.A_log, p.A_log.offset(h)),
                    p.dt_bias.present() ? load_any(p.dt_bias, p.dt_bias.offset(h)) : 0.0F));
}

/// beta of a token under the call's flags.
__device__ __forceinline__ float token_beta(const DeltaRule &p, int64_t b, int64_t t, int64_t h) {
  if (!p.beta.present()) return p.allow_neg_eigval ? 2.0F : 1.0F;
  float beta = load_any(p.beta, p.beta.offset(b, t, h));
  if (p.beta_sigmoid) beta = sigmoid(beta);
  return p.allow_neg_eigval ? 2.0F * beta : beta;
}

}  // namespace gdn::cuda

#endif  // GDN_CUDA_DEVICE_FUNCTIONS_CUH_
