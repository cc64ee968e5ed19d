#ifndef GDN_ASCEND_KERNELS_SPANS_H_
#define GDN_ASCEND_KERNELS_SPANS_H_

#include "ascend/kernels/numbers.h"

namespace gdn::ascend::kernels {

/// Cuts `elements` lanes without gaps into vector instructions: while (spans.next()) one of
/// spans.repeats() from element spans.at() on.
class Spans {
 public:
  GDN_NPU explicit Spans(int64_t elements) : elements_(elements) {}

  GDN_NPU bool next() {
    at_ += repeats_.count * repeats_.lanes;
    const int64_t rest = elements_ - at_;
    repeats_ = {smaller(larger(rest / kLanes, 1), kMaxRepeats), smaller(rest, kLanes)};
    return rest > 0;
  }
  GDN_NPU int64_t at() const { return at_; }
  GDN_NPU const Repeats &repeats() const { return repeats_; }

 private:
  int64_t elements_;
  int64_t at_ = 0;
  Repeats repeats_{0};
};

/// value in `elements` lanes without gaps.
GDN_NPU inline void fill(Core &core, Ub<float> to, float value, int64_t elements,
                         Where where = Where::current()) {
  Spans spans(elements);
  while (spans.next()) vdup(core, {to + spans.at()}, value, spans.repeats(), where);
}

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_SPANS_H_
