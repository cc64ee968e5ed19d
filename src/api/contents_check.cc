#include "api/contents_check.h"

#include <algorithm>

namespace gdn::api {
namespace {

/// Slots in use and where each was named. Kept on the stack while they are few.
class SlotList {
 public:
  explicit SlotList(int64_t capacity) {
    if (capacity > kOnStack) {
      heap_.resize(static_cast<size_t>(capacity));
      slots_ = heap_.data();
    }
  }
  SlotList(const SlotList &) = delete;
  SlotList &operator=(const SlotList &) = delete;

  void add(int64_t slot) { slots_[count_++] = slot; }

  /// A slot that was added twice; -1 if there is none. Changes the order.
  int64_t find_duplicate() {
    int64_t *const end = slots_ + count_;
    if (!std::is_sorted(slots_, end)) std::sort(slots_, end);
    const int64_t *const at = std::adjacent_find(slots_, end);
    return at != end ? *at : -1;
  }

 private:
  static constexpr int64_t kOnStack = 512;

  int64_t few_[kOnStack];
  std::vector<int64_t> heap_;
  int64_t *slots_ = few_;
  int64_t count_ = 0;
};

}  // namespace

const void *HostBytes::read(Call *call, const Target &target, const void *data, int64_t lowest,
                            int64_t end) {
  if (target.backend->device().host() || !call->ok()) return data;
  copy_.resize(static_cast<size_t>(end - lowest));
  const auto *source = static_cast<const std::byte *>(data) + lowest;
  Status status = target.backend->copy_to_host(copy_.data(), source, copy_.size(), target.exec);
  if (!status.ok()) call->fail(status.code(), status.message());
  return copy_.data() - lowest;
}

HostIndices::HostIndices(Call *call, const Target &target, const IndexArray &array)
    : array_(array) {
  if (!array.present || array.rows == 0 || array.columns == 0) return;
  const int64_t item = array.is_64bit ? 8 : 4;
  int64_t lowest = 0;
  int64_t highest = 0;
  for (const int64_t reach :
       {(array.rows - 1) * array.row_stride, (array.columns - 1) * array.column_stride}) {
    (reach < 0 ? lowest : highest) += reach;
  }
  array_.data = bytes_.read(call, target, array.data, lowest * item, (highest + 1) * item);
}

HostFlags::HostFlags(Call *call, const Target &target, const FlagArray &array) : array_(array) {
  if (!array.present || array.count == 0) return;
  const int64_t reach = (array.count - 1) * array.stride;
  array_.data = bytes_.read(call, target, array.data, std::min<int64_t>(reach, 0) * array.bytes,
                            (std::max<int64_t>(reach, 0) + 1) * array.bytes);
}

HostSequences::HostSequences(Call *call, const Target &target, const Sequences &sequences)
    : cu_seqlens_(call, target, sequences.cu_seqlens), sequences_(sequences) {
  if (!sequences.packed() || !call->ok()) return;
  const IndexArray &cu = sequences_.cu_seqlens = cu_seqlens_.array();
  int64_t before = cu.at(0);
  if (before != 0) {
    call->invalid("cu_seqlens[0] is ", before, ", expected 0.");
    return;
  }
  for (int64_t i = 1; i <= sequences.count; ++i) {
    const int64_t here = cu.at(i);
    if (here < before) {
      call->invalid("cu_seqlens[", i, "] is ", here, ", less than the ", before,
                    " before it, expected values that do not decrease.");
      return;
    }
    before = here;
  }
  if (before > sequences.tokens || (before < sequences.tokens && !sequences.padded)) {
    call->invalid("cu_seqlens ends at ", before, ", expected ", sequences.padded ? "at most " : "",
                  "T = ", sequences.tokens, ".");
  }
}

Lengths measure(const Sequences &sequences, int64_t divisor, bool round_up) {
  const int64_t add = round_up ? divisor - 1 : 0;
  Lengths out;
  if (!sequences.packed()) {
    out.longest = sequences.count > 0 ? sequences.tokens : 0;
    // Fits: with T > 0 there are N * T tokens, and more parts than tokens there are not.
    const int64_t parts = sequences.tokens / divisor + (sequences.tokens % divisor + add) / divisor;
    out.parts = parts > 0 ? sequences.count * parts : 0;
    return out;
  }
  for (int64_t n = 0; n < sequences.count; ++n) {
    const int64_t length = sequences.span(n).length;
    if (length > out.longest) {
      out.longest = length;
      out.longest_at = n;
    }
    out.parts += length / divisor + (length % divisor + add) / divisor;
  }
  return out;
}

void check_rows(Call *call, const char *name, int64_t found, int64_t expected, const char *count) {
  if (found == expected) return;
  call->invalid(name, " has ", found, " rows, expected ", expected, ": ", count, ".");
}

int64_t check_slot(Call *call, const char *name, const IndexArray &indices, int64_t row,
                   int64_t column, const Slots &slots) {
  const int64_t index = indices.at(row, column);
  const int64_t slot = slots.named(index);
  if (slot < 0 && !is_no_slot(index, slots)) {
    call->invalid(name, "[", row, indices.columns > 1 ? cat(", ", column) : "", "] is ", index,
                  ", expected a slot below ", slots.count, " (or negative: no slot).");
  }
  return slot;
}

void check_slots(Call *call, const char *name, const IndexArray &indices, const Slots &slots) {
  if (!indices.present || !call->ok()) return;
  SlotList list(indices.rows);
  for (int64_t n = 0; n < indices.rows; ++n) {
    const int64_t slot = check_slot(call, name, indices, n, 0, slots);
    if (!call->ok()) return;
    if (slot >= 0) list.add(slot);
  }
  const int64_t twice = list.find_duplicate();
  if (twice < 0) return;
  call->invalid(name, " names slot ", twice, " twice, expected a slot of its own for each state ",
                "that the call writes.");
}

}  // namespace gdn::api
