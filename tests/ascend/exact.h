#ifndef GDN_TESTS_ASCEND_EXACT_H_
#define GDN_TESTS_ASCEND_EXACT_H_

// What tests of numbers hold a kernel's results against, and how they read and write them.

#include <cstdint>
#include <vector>

#include "ascend/model/convert.h"
#include "ascend/problems.h"

namespace gdn::ascend::testing {

/// (I + A)^-1 of each chunk, row by row.
inline std::vector<double> inverse(const std::vector<float> &A, const std::vector<int64_t> &lengths,
                                   int64_t C) {
  std::vector<double> T(A.size());
  int64_t row = 0;
  for (const int64_t length : lengths) {
    for (int64_t i = 0; i < length; ++i, ++row) {
      double *to = &T[static_cast<size_t>(row * C)];
      to[i % C] = 1.0;
      for (int64_t j = 0; j < i % C; ++j) {
        const double a = static_cast<double>(A[static_cast<size_t>(row * C + j)]);
        const double *from = to - (i % C - j) * C;
        for (int64_t p = 0; p <= j; ++p) to[p] -= a * from[p];
      }
    }
  }
  return T;
}

inline model::Type element_of(DType type) {
  return type == DType::f32   ? model::Type::f32
         : type == DType::f16 ? model::Type::f16
                              : model::Type::bf16;
}

/// Element i, widened.
inline float value_at(const Data &data, DType type, size_t i) {
  return model::widen_at(data.bytes().data(), element_of(type), static_cast<int64_t>(i));
}

/// Sets all elements, rounded.
inline void assign(Data &data, DType type, const std::vector<double> &values) {
  for (size_t i = 0; i < values.size(); ++i) {
    model::narrow_at(static_cast<unsigned char *>(data.tensor().data), element_of(type),
                     static_cast<int64_t>(i), static_cast<float>(values[i]));
  }
}

}  // namespace gdn::ascend::testing

#endif  // GDN_TESTS_ASCEND_EXACT_H_
