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

/// Log decay of a raw gate.
__device__ __forceinline__ float decay_of_gate(float a, float A_log, float dt_bias) {
  return -expf(A_log) * softplus(a + dt_bias);
}

/// 2^x, within 2 units in the last place.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// e^x for x <= 0.
__device__ __forceinline__ float decay_of(float x) { return exp2_fast(x * kLog2E); }

/// x / (1 + e^-x) by two instructions of the special function unit: the exact division and
/// exponential would cost more than the memory traffic around them. Each is within 2 units in the
/// last place, but below 0 the result is off by up to 0.6 |x| units more, since the exponent is a
/// rounded product; below -87 it is 0 (true: less than 1.5e-36), the quotient's divisor being past
/// 2^126.
__device__ __forceinline__ float silu(float x) {
  return __fdividef(x, 1.0F + exp2_fast(-kLog2E * x));
}

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

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int i = 16; i > 0; i >>= 1) x += __shfl_xor_sync(kFullWarp, x, i);
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

/// Log decay (natural) of a token under the call's flags.
__device__ __forceinline__ float token_decay(const DeltaRule &p, int64_t b, int64_t t, int64_t h) {
  if (!p.g.present()) return 0.0F;
  const float g = load_any(p.g, p.g.offset(b, t, h));
  if (!p.gate) return g;
  return decay_of_gate(g, load_any(p.A_log, p.A_log.offset(h)),
                       p.dt_bias.present() ? load_any(p.dt_bias, p.dt_bias.offset(h)) : 0.0F);
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
