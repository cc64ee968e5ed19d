#ifndef GDN_REFERENCE_ACCESS_H_
#define GDN_REFERENCE_ACCESS_H_

#include <cstdint>
#include <vector>

#include "core/tensor.h"
#include "reference/convert.h"

namespace gdn::reference {

/// Element of a tensor, widened exactly.
inline double load(const Tensor &t, int64_t offset) {
  switch (t.dtype) {
    case DType::f32:
      return static_cast<const float *>(t.data)[offset];
    case DType::bf16:
      return bf16_to_double(static_cast<const uint16_t *>(t.data)[offset]);
    case DType::f16:
      return f16_to_double(static_cast<const uint16_t *>(t.data)[offset]);
    case DType::none:
      break;
  }
  return 0.0;
}

/// Writes an element, rounded once to nearest even.
inline void store(const Tensor &t, int64_t offset, double value) {
  switch (t.dtype) {
    case DType::f32:
      static_cast<float *>(t.data)[offset] = static_cast<float>(value);
      break;
    case DType::bf16:
      static_cast<uint16_t *>(t.data)[offset] = double_to_bf16(value);
      break;
    case DType::f16:
      static_cast<uint16_t *>(t.data)[offset] = double_to_f16(value);
      break;
    case DType::none:
      break;
  }
}

/// What a value becomes that is stored and loaded.
inline double rounded(DType to, double value) {
  switch (to) {
    case DType::f32:
      return static_cast<float>(value);
    case DType::bf16:
      return bf16_to_double(double_to_bf16(value));
    case DType::f16:
      return f16_to_double(double_to_f16(value));
    case DType::none:
      break;
  }
  return value;
}

/// An optional element: `absent` if the tensor is not there.
inline double load_or(const Tensor &t, int64_t offset, double absent) {
  return t.present() ? load(t, offset) : absent;
}

/// n elements `stride` apart.
inline void load_row(const Tensor &t, int64_t offset, int64_t stride, int64_t n, double *row) {
  for (int64_t i = 0; i < n; ++i) row[i] = load(t, offset + i * stride);
}

inline void store_row(const Tensor &t, int64_t offset, int64_t stride, int64_t n,
                      const double *row) {
  for (int64_t i = 0; i < n; ++i) store(t, offset + i * stride, row[i]);
}

/// Rows [begin, begin + length) of head h of a [B, T, H, D] tensor, one after the other.
inline std::vector<double> load_tokens(const Tensor &t, int64_t b, int64_t begin, int64_t length,
                                       int64_t h, int64_t width) {
  std::vector<double> rows(static_cast<size_t>(length * width));
  for (int64_t i = 0; i < length; ++i) {
    load_row(t, t.offset(b, begin + i, h), t.stride[3], width, rows.data() + i * width);
  }
  return rows;
}

/// State [DK, DV] of head h in entry i of a [.., HV, DK, DV] tensor.
inline void load_state(const Tensor &t, int64_t i, int64_t h, int64_t key_dim, int64_t value_dim,
                       double *state) {
  for (int64_t r = 0; r < key_dim; ++r) {
    load_row(t, t.offset(i, h, r), t.stride[3], value_dim, state + r * value_dim);
  }
}

inline void store_state(const Tensor &t, int64_t i, int64_t h, int64_t key_dim, int64_t value_dim,
                        const double *state) {
  for (int64_t r = 0; r < key_dim; ++r) {
    store_row(t, t.offset(i, h, r), t.stride[3], value_dim, state + r * value_dim);
  }
}

}  // namespace gdn::reference

#endif  // GDN_REFERENCE_ACCESS_H_
