#ifndef GDN_REFERENCE_ROWS_H_
#define GDN_REFERENCE_ROWS_H_

#include "core/tensor.h"

namespace gdn::reference {

/// Calls f(i0, i1, i2, i3) for each row of a rank-5 tensor.
template <class F>
void for_each_row(const Tensor &t, F f) {
  for (int64_t i0 = 0; i0 < t.shape[0]; ++i0) {
    for (int64_t i1 = 0; i1 < t.shape[1]; ++i1) {
      for (int64_t i2 = 0; i2 < t.shape[2]; ++i2) {
        for (int64_t i3 = 0; i3 < t.shape[3]; ++i3) f(i0, i1, i2, i3);
      }
    }
  }
}

}  // namespace gdn::reference

#endif  // GDN_REFERENCE_ROWS_H_
