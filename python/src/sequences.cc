#include "bindings.h"

namespace gdn::python {

int64_t Sequences::count() const {
  if (cu_seqlens_ == nullptr) return tokens_->size(0);
  return cu_seqlens_->tensor.ndim == 1 && cu_seqlens_->size(0) > 0 ? cu_seqlens_->size(0) - 1 : 0;
}

bool Sequences::lengths(std::vector<int64_t> *out) {
  const int64_t total = tokens_->size(1);
  std::vector<int64_t> offsets;
  if (!call_->read_indices(cu_seqlens_, &offsets)) return false;
  for (size_t i = 1; i < offsets.size(); ++i) {
    const int64_t length = offsets[i] - offsets[i - 1];
    if (length < 0 || length > total) return false;
    out->push_back(length);
  }
  return !offsets.empty() && offsets.front() == 0 &&
         (padded_ ? offsets.back() <= total : offsets.back() == total);
}

int64_t Sequences::pieces(int64_t step, bool round_up) {
  if (step <= 0) return 0;
  const auto of = [&](int64_t length) { return (length + (round_up ? step - 1 : 0)) / step; };
  if (cu_seqlens_ == nullptr) return tokens_->size(0) * of(tokens_->size(1));
  std::vector<int64_t> found;
  if (!lengths(&found)) return 0;
  int64_t sum = 0;
  for (const int64_t length : found) sum += of(length);
  return sum;
}

int64_t Sequences::chunks(int64_t chunk_size) {
  if (padded_ && chunk_size > 0) return (tokens_->size(1) + chunk_size - 1) / chunk_size + count();
  return pieces(chunk_size, true);
}

int64_t Sequences::checkpoints(int64_t every, const View *positions, const View *state_indices,
                               uint32_t flags, int64_t null_slot) {
  if (every <= 0) return 0;
  std::vector<int64_t> found;
  if (cu_seqlens_ == nullptr) {
    found.assign(static_cast<size_t>(count()), tokens_->size(1));
  } else if (!lengths(&found)) {
    return 0;
  }
  std::vector<int64_t> before;
  std::vector<int64_t> slots;
  if (!call_->read_indices(positions, &before) || before.size() != found.size()) return 0;
  if (state_indices != nullptr &&
      (!call_->read_indices(state_indices, &slots) || slots.size() != found.size())) {
    return 0;
  }
  int64_t sum = 0;
  for (size_t n = 0; n < found.size(); ++n) {
    const bool skipped =
        !slots.empty() &&
        (slots[n] < 0 || ((flags & GDN_HAS_NULL_SLOT) != 0 && slots[n] == null_slot));
    const int64_t phase = skipped || before[n] < 0 ? 0 : before[n] % every;
    sum += (phase + found[n]) / every;
  }
  return sum;
}

}  // namespace gdn::python
