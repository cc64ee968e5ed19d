// y = x rsqrt(sum x^2 + eps), row by row.
//
// Operations: 3 D a row. Each row is read twice, the second time from the first-level cache, so
// the kernel runs at the speed of memory: one read and one write of the tensor.
// An item is a run of rows.

#include GDN_TILE

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/row_norm.h"
#include "cpu/kernels/rows.h"

namespace gdn::cpu::GDN_ISA {
namespace {

template <class E>
void normalise_row(const E *x, E *y, int64_t width, float eps) {
  with_row_norm(row_norm(x, width, 1, eps), [&](auto normalise) {
    for_each_vec(width, [&](int64_t i, int64_t lanes) {
      if (lanes == kWidth) {
        store(y + i, normalise(load(x + i)));
      } else {
        store_n(y + i, normalise(load_n(x + i, lanes)), lanes);
      }
    });
  });
}

int64_t items(const L2Norm &p, int32_t) { return row_items(p.x); }

void run(const L2Norm &p, int32_t, int64_t first, int64_t last, void *) {
  with_element(p.x.dtype, [&](auto element) {
    using E = decltype(element);
    for_each_row(p.x, first, last, [&](const RowIndex &row) {
      normalise_row(static_cast<const E *>(p.x.data) + row.offset(p.x),
                    static_cast<E *>(p.y.data) + row.offset(p.y), p.x.shape[4], p.eps);
    });
  });
}

}  // namespace

const Kernel<op::l2norm> kernel::l2norm = {items, run};

}  // namespace gdn::cpu::GDN_ISA
