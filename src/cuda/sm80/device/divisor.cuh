#ifndef GDN_CUDA_SM80_DEVICE_DIVISOR_CUH_
#define GDN_CUDA_SM80_DEVICE_DIVISOR_CUH_

#include <cstdint>

namespace gdn::cuda::sm80 {

/// Division of numbers below 2^31 by one that the host knows, 1 or more: a multiplication by
/// ceil(2^shift / divisor). With shift = 31 + ceil(log2 divisor) the multiplier fits 32 bits and
/// the quotient is exact. A block divides before it knows where its data lies, so what a division
/// by instructions takes, about 20 that wait for each other, is felt.
struct Divisor {
  unsigned divisor = 1, multiplier = 0x80000000u, shift = 31;

  Divisor() = default;
  explicit Divisor(unsigned d) : divisor(d) {
    while ((uint64_t{1} << (shift - 31)) < d) ++shift;
    multiplier = static_cast<unsigned>(((uint64_t{1} << shift) + d - 1) / d);
  }

  __host__ __device__ unsigned quotient(unsigned x) const {
    return static_cast<unsigned>((uint64_t{x} * multiplier) >> shift);
  }
  __host__ __device__ unsigned remainder(unsigned x) const { return x - quotient(x) * divisor; }
};

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_DIVISOR_CUH_
