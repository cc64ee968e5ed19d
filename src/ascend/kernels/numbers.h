#ifndef GDN_ASCEND_KERNELS_NUMBERS_H_
#define GDN_ASCEND_KERNELS_NUMBERS_H_

#include "ascend/tile/tile.h"

namespace gdn::ascend::kernels {

// The standard library's would do, but for the attribute that a device wants in front of them.

GDN_NPU constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
GDN_NPU constexpr int64_t larger(int64_t a, int64_t b) { return a < b ? b : a; }
/// a, but no less than 0 and no more than high.
GDN_NPU constexpr int64_t zero_to(int64_t high, int64_t a) { return smaller(larger(a, 0), high); }

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_NUMBERS_H_
