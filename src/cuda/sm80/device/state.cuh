#ifndef GDN_CUDA_SM80_DEVICE_STATE_CUH_
#define GDN_CUDA_SM80_DEVICE_STATE_CUH_

#include <type_traits>

#include "cuda/device/element.cuh"

namespace gdn::cuda::sm80 {

// A warp's part of a state: S^T for 16 value columns, as accumulator fragments s[j] with
// s[j][e] = S[8 j + 2 (lane % 4) + e % 2, column + lane / 4 + 8 (e / 2)].

/// Calls f(j, e, pointer) for each element, stepping from one pair of rows to the next.
template <int kFragments, class S, class F>
__device__ __forceinline__ void for_each_element(S *p, const Tensor &t, int key_dim, F f) {
#pragma unroll
  for (int j = 0; j < kFragments; ++j, p += 8 * t.stride[2]) {
    if (j * 8 < key_dim) {
      S *const next_row = p + t.stride[2];
      f(j, 0, p);
      f(j, 1, next_row);
      f(j, 2, p + 8 * t.stride[3]);
      f(j, 3, next_row + 8 * t.stride[3]);
    }
  }
}

/// Calls f with a typed pointer to the first element of a lane's part in entry (slot, h) of a
/// [.., HV, DK, DV] tensor.
template <class F>
__device__ __forceinline__ void with_state_pointer(const Tensor &t, int64_t slot, int64_t h,
                                                   int column, int lane, F f) {
  const int64_t offset = t.offset(slot, h, (lane & 3) * 2, column + (lane >> 2));
  if (t.dtype == DType::f32) {
    f(static_cast<float *>(t.data) + offset);
  } else if (t.dtype == DType::bf16) {
    f(static_cast<bf16 *>(t.data) + offset);
  } else {
    f(static_cast<f16 *>(t.data) + offset);
  }
}

/// Reads the part from entry (slot, h).
template <int kFragments>
__device__ __forceinline__ void load_state(float (&s)[kFragments][4], const Tensor &t, int64_t slot,
                                           int64_t h, int key_dim, int column, int lane) {
  with_state_pointer(t, slot, h, column, lane, [&](auto *p) {
    for_each_element<kFragments>(
        p, t, key_dim, [&](int j, int e, const auto *from) { s[j][e] = to_float(*from); });
  });
}

/// Writes the part.
template <int kFragments>
__device__ __forceinline__ void store_state(const Tensor &t, const float (&s)[kFragments][4],
                                            int64_t slot, int64_t h, int key_dim, int column,
                                            int lane) {
  with_state_pointer(t, slot, h, column, lane, [&](auto *p) {
    using S = std::remove_pointer_t<decltype(p)>;
    for_each_element<kFragments>(p, t, key_dim,
                                 [&](int j, int e, S *to) { *to = from_float<S>(s[j][e]); });
  });
}

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_STATE_CUH_
