#ifndef GDN_CUDA_SM80_DEVICE_GATED_OUTPUT_CUH_
#define GDN_CUDA_SM80_DEVICE_GATED_OUTPUT_CUH_

#include "cuda/sm80/device/decode_part.cuh"

// The end of a decode step: the gated norm of a value head whose columns several blocks have.
//
//     o <- o rsqrt(mean(o^2) + eps) weight silu(z)      (or sigmoid(z))
//
// A warp sums the squares of a part's columns, blocks add up the parts' sums in the order of the
// parts, all in double precision, in which no square of an f32 leaves the range.

namespace gdn::cuda::sm80 {

/// A token's sum of squares of o as its norm wants it: norm = rsqrt(mean of (scale o)^2).
struct OutputNorm {
  float scale, norm;

  __device__ __forceinline__ OutputNorm(double sum, const DecodePlan &plan) {
    constexpr double kFar = 0x1p100;
    const double mean = fma(sum, plan.inverse_width, plan.eps);
    scale = mean > kFar ? 0x1p-64F : mean < 1 / kFar ? 0x1p100F : 1.0F;
    norm = rsqrtf(static_cast<float>(mean * scale * scale));
  }
  __device__ __forceinline__ float apply(float o) const { return o * scale * norm; }
};

/// Sum of the squares of a part's columns, to all lanes of a warp.
template <int kColumns>
__device__ __forceinline__ double sum_of_squares(const float (&columns)[kColumns], int lane) {
  double sum = 0.0;
#pragma unroll
  for (int c = 0; c < kColumns; c += 32) {
    const double x = columns[c + lane];
    sum = fma(x, x, sum);
  }
#pragma unroll
  for (int i = 16; i > 0; i >>= 1) sum += __shfl_xor_sync(kFullWarp, sum, i);
  return sum;
}

/// A result out of its o, the bits of its z and of the norm's weight.
__device__ __forceinline__ float gated_output(float o, const OutputNorm &norm, uint32_t weight,
                                              uint32_t z, DType z_type, const DecodePlan &plan,
                                              const FusedGdnDecode &p) {
  float y = norm.apply(o);
  y *= from_bits(p.norm_weight.dtype, weight);
  return y * output_gate(from_bits(z_type, z), plan.sigmoid_gate);
}

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_GATED_OUTPUT_CUH_
