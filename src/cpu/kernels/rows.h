#ifndef GDN_CPU_KERNELS_ROWS_H_
#define GDN_CPU_KERNELS_ROWS_H_

// The rows of a rank-5 tensor [r0, r1, r2, r3, D], for kernels that treat each row by itself.

#include "core/tensor.h"

namespace gdn::cpu::GDN_ISA {
namespace {

inline int64_t row_count(const Tensor &t) {
  return t.shape[0] * t.shape[1] * t.shape[2] * t.shape[3];
}

/// Rows that make an item: enough work (about ten microseconds) to be worth handing out.
inline int64_t rows_per_item(const Tensor &t) {
  const int64_t rows = 8192 / (t.shape[4] > 0 ? t.shape[4] : 1);
  return rows > 0 ? rows : 1;
}

inline int64_t row_items(const Tensor &t) {
  const int64_t rows = rows_per_item(t);
  return (row_count(t) + rows - 1) / rows;
}

/// Index of a row, stepped in order.
struct RowIndex {
  int64_t i[4];

  RowIndex(const Tensor &t, int64_t row) {
    for (int d = 3; d >= 0; --d) {
      i[d] = row % t.shape[d];
      row /= t.shape[d];
    }
  }

  void step(const Tensor &t) {
    for (int d = 3; d >= 0; --d) {
      if (++i[d] < t.shape[d]) return;
      i[d] = 0;
    }
  }

  int64_t offset(const Tensor &t) const { return t.offset(i[0], i[1], i[2], i[3]); }
};

/// Calls f(index) for the rows of items [first, last).
template <class F>
inline void for_each_row(const Tensor &t, int64_t first, int64_t last, F &&f) {
  const int64_t rows = rows_per_item(t);
  const int64_t end = last * rows < row_count(t) ? last * rows : row_count(t);
  RowIndex index(t, first * rows);
  for (int64_t row = first * rows; row < end; ++row) {
    f(index);
    index.step(t);
  }
}

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_ROWS_H_
