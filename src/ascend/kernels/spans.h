#ifndef GDN_ASCEND_KERNELS_SPANS_H_
#define GDN_ASCEND_KERNELS_SPANS_H_

#include <algorithm>

#include "ascend/tile/tile.h"

namespace gdn::ascend::kernels {

/// Cuts `elements` lanes without gaps into vector instructions: f(first element, repeats).
template <class F>
void for_each_span(int64_t elements, F f) {
  int64_t at = 0;
  while (elements - at >= kLanes) {
    const int64_t count = std::min((elements - at) / kLanes, kMaxRepeats);
    f(at, Repeats{count});
    at += count * kLanes;
  }
  if (at < elements) f(at, Repeats{1, elements - at});
}

/// value in `elements` lanes without gaps.
inline void fill(Core &core, Ub<float> to, float value, int64_t elements,
                 Where where = Where::current()) {
  for_each_span(elements,
                [&](int64_t at, Repeats repeats) { vdup(core, {to + at}, value, repeats, where); });
}

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_SPANS_H_
