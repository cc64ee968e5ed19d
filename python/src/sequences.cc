#include "bindings.h"

namespace gdn::python {

int64_t Sequences::count() const {
  if (cu_seqlens_ == nullptr) return tokens_->size(0);
  return cu_seqlens_->tensor.ndim == 1 && cu_seqlens_->size(0) > 0 ? cu_seqlens_->size(0) - 1 : 0;
}

int64_t Sequences::pieces(int64_t step, bool round_up) {
  if (step <= 0) return 0;
  const auto of = [&](int64_t length) { return (length + (round_up ? step - 1 : 0)) / step; };
  const int64_t total = tokens_->size(1);
  if (cu_seqlens_ == nullptr) return tokens_->size(0) * of(total);
  std::vector<int64_t> offsets;
  if (!call_->read_indices(cu_seqlens_, &offsets)) return 0;
  int64_t sum = 0;
  for (size_t i = 1; i < offsets.size(); ++i) {
    const int64_t length = offsets[i] - offsets[i - 1];
    if (length < 0 || length > total) return 0;
    sum += of(length);
  }
  return offsets.empty() || offsets.front() != 0 || offsets.back() != total ? 0 : sum;
}

}  // namespace gdn::python
