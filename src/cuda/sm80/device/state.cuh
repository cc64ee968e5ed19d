#ifndef GDN_CUDA_SM80_DEVICE_STATE_CUH_
#define GDN_CUDA_SM80_DEVICE_STATE_CUH_

#include <type_traits>

#include "cuda/device/element.cuh"

namespace gdn::cuda::sm80 {

// A warp's part of a state: S^T for 16 value columns, as accumulator fragments s[j] with
// s[j][e] = S[8 j + 2 (lane % 4) + e % 2, column + lane / 4 + 8 (e / 2)].

/// Calls f(j, e, pointer) for each element that lies inside the state, stepping from one pair of
/// rows to the next. p: this lane's first element, of a column with `columns` columns from it on.
/// kWhole: DK and DV are whole tiles.
template <bool kWhole, int kFragments, class S, class F>
__device__ __forceinline__ void for_each_element(S *p, const Tensor &t, int key_dim, int columns,
                                                 int lane, F f) {
  const int rows = kWhole ? key_dim : key_dim - (lane & 3) * 2;
  const bool left = kWhole || columns > 0, right = kWhole || columns > 8;
#pragma unroll
  for (int j = 0; j < kFragments; ++j, p += 8 * t.stride[2]) {
    S *const next_row = p + t.stride[2];
    const bool first = j * 8 < rows, second = kWhole ? first : j * 8 + 1 < rows;
    if (first && left) f(j, 0, p);
    if (second && left) f(j, 1, next_row);
    if (first && right) f(j, 2, p + 8 * t.stride[3]);
    if (second && right) f(j, 3, next_row + 8 * t.stride[3]);
  }
}

/// Calls f with a typed pointer to the first element of a lane's part in entry (slot, h) of a
/// [.., HV, DK, DV] tensor, and the columns from it on.
template <class F>
__device__ __forceinline__ void with_state_pointer(const Tensor &t, int64_t slot, int64_t h,
                                                   int column, int lane, F f) {
  column += lane >> 2;
  const int64_t offset = t.offset(slot, h, (lane & 3) * 2, column);
  const int columns = static_cast<int>(t.shape[3]) - column;
  if (t.dtype == DType::f32) {
    f(static_cast<float *>(t.data) + offset, columns);
  } else if (t.dtype == DType::bf16) {
    f(static_cast<bf16 *>(t.data) + offset, columns);
  } else {
    f(static_cast<f16 *>(t.data) + offset, columns);
  }
}

/// Reads the part from entry (slot, h).
template <bool kWhole = false, int kFragments>
__device__ __forceinline__ void load_state(float (&s)[kFragments][4], const Tensor &t, int64_t slot,
                                           int64_t h, int key_dim, int column, int lane) {
  with_state_pointer(t, slot, h, column, lane, [&](auto *p, int columns) {
    for_each_element<kWhole, kFragments>(
        p, t, key_dim, columns, lane,
        [&](int j, int e, const auto *from) { s[j][e] = to_float(*from); });
  });
}

/// Writes the part.
template <bool kWhole = false, int kFragments>
__device__ __forceinline__ void store_state(const Tensor &t, const float (&s)[kFragments][4],
                                            int64_t slot, int64_t h, int key_dim, int column,
                                            int lane) {
  with_state_pointer(t, slot, h, column, lane, [&](auto *p, int columns) {
    using S = std::remove_pointer_t<decltype(p)>;
    for_each_element<kWhole, kFragments>(
        p, t, key_dim, columns, lane, [&](int j, int e, S *to) { *to = from_float<S>(s[j][e]); });
  });
}

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_STATE_CUH_
