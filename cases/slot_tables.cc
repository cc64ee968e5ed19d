#include "cases/slot_tables.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "cases/random.h"

namespace gdn::testing {
namespace {

/// What an entry holds that nobody may look at.
constexpr int64_t kNonsense = 1'000'003;

class SlotDrawing {
 public:
  SlotDrawing(const Case &c, uint64_t seed)
      : case_(c), random_(seed, "indices"), n_(static_cast<int64_t>(c.lengths.size())) {}

  SlotTables draw() {
    const bool pool = case_.has(kPool) || case_.has(kSlotPerToken) || case_.has(kOutputPerToken);
    if (pool) {
      draw_free();
      draw_state_indices();
      if (case_.has(kNumAccepted)) draw_accepted();
      if (case_.has(kOutputIndices) || case_.has(kOutputPerToken)) draw_outputs();
    }
    if (case_.has(kPositions)) draw_positions();
    if (pool && case_.has(kCheckpointIndices)) draw_checkpoints();
    if (case_.has(kHasInitialState)) draw_flags();
    return std::move(out_);
  }

 private:
  int64_t length(int64_t n) const { return case_.lengths[static_cast<size_t>(n)]; }
  int64_t per_token() const {
    int64_t columns = case_.packed ? 3 : 2;
    for (const int64_t length : case_.lengths) columns = std::max(columns, length);
    return columns;
  }
  int64_t most_checkpoints() const {
    // A position adds one at most. One column more than any sequence needs.
    int64_t most = 0;
    for (const int64_t length : case_.lengths) {
      most = std::max(most, length / case_.checkpoint_every + 1);
    }
    return most + 1;
  }
  bool skipped(int64_t n) const {
    return (case_.has(kNegativeIndex) || case_.has(kNullSlot)) && n % 3 == 1;
  }
  // What names no slot: in cases that have both, negative numbers and the null slot in turn.
  int64_t none(int64_t i) const {
    const bool negative = case_.has(kNegativeIndex) && (!case_.has(kNullSlot) || i % 2 == 0);
    return !negative ? out_.null_slot : i % 2 == 0 ? -1 : -7;
  }
  int64_t take() {
    const int64_t slot = free_.back();
    free_.pop_back();
    return slot;
  }

  void draw_free() {
    const int64_t columns = case_.has(kSlotPerToken) ? per_token() : 1;
    int64_t count = n_ * columns + 3;
    if (case_.has(kOutputIndices)) count += n_;
    if (case_.has(kOutputPerToken)) count += n_ * per_token();
    if (case_.has(kCheckpointIndices)) count += n_ * most_checkpoints();
    out_.slots = count;
    free_.resize(static_cast<size_t>(count));
    std::iota(free_.begin(), free_.end(), 0);
    for (size_t i = free_.size(); i > 1; --i) {
      std::swap(free_[i - 1], free_[static_cast<size_t>(random_.below(static_cast<int64_t>(i)))]);
    }
    if (case_.has(kNullSlot)) out_.null_slot = take();
  }

  void draw_state_indices() {
    const int64_t columns = case_.has(kSlotPerToken) ? per_token() : 0;
    IndexTable &table = out_.state_indices;
    table = {true, columns, {}};
    for (int64_t i = 0; i < n_ * std::max<int64_t>(columns, 1); ++i) {
      // Rows without a slot; with negative indices also single entries of a row.
      const bool row = case_.has(kNullSlot) && skipped(columns > 0 ? i / columns : i);
      table.values.push_back(row || (case_.has(kNegativeIndex) && i % 3 == 1) ? none(i) : take());
    }
    // A prefix that two sequences share: both read the slot, neither writes it.
    if (case_.has(kOutputIndices) && columns == 0 && n_ > 2) table.values[2] = table.values[0];
  }

  void draw_accepted() {
    IndexTable &table = out_.num_accepted_tokens;
    IndexTable &slots = out_.state_indices;
    table = {true, 0, {}};
    for (int64_t n = 0; n < n_; ++n) {
      const bool nonsense = case_.has(kNullSlot) && skipped(n);
      const int64_t accepted = 1 + random_.below(slots.columns);
      table.values.push_back(nonsense ? n % 2 * 77 : accepted);
      // Entries past a sequence's own tokens, but for the one that it starts from.
      if (!case_.has(kNullSlot) || nonsense) continue;
      for (int64_t t = length(n); t < slots.columns; ++t) {
        if (t != accepted - 1) slots.values[static_cast<size_t>(n * slots.columns + t)] = kNonsense;
      }
    }
  }

  void draw_outputs() {
    IndexTable &table = out_.output_state_indices;
    const int64_t columns = case_.has(kOutputPerToken) ? per_token() : 0;
    table = {true, columns, {}};
    for (int64_t i = 0; i < n_ * std::max<int64_t>(columns, 1); ++i) {
      const int64_t n = columns > 0 ? i / columns : i;
      if (skipped(n) || (columns > 0 && i % columns >= length(n))) {
        table.values.push_back(kNonsense);
      } else if ((case_.has(kNegativeIndex) || case_.has(kNullSlot)) && i % 5 == 3) {
        table.values.push_back(none(i));
      } else {
        table.values.push_back(take());
      }
    }
  }

  void draw_positions() {
    constexpr int64_t kFew[] = {0, 1, 37, 64, 100, 191};
    out_.positions = {true, 0, {}};
    for (int64_t n = 0; n < n_; ++n) {
      const int64_t position = n < 6 ? kFew[n] : random_.below(1000);
      out_.positions.values.push_back(skipped(n) ? -5 : position);
    }
  }

  void draw_checkpoints() {
    const int64_t columns = most_checkpoints();
    IndexTable &table = out_.checkpoint_indices;
    table = {true, columns, {}};
    for (int64_t n = 0; n < n_; ++n) {
      const int64_t position =
          case_.has(kPositions) ? out_.positions.values[static_cast<size_t>(n)] : 0;
      const int64_t m = case_.checkpoint_every;
      const int64_t count = (position + length(n)) / m - position / m;
      for (int64_t j = 0; j < columns; ++j) {
        if (skipped(n) || j >= count) {
          table.values.push_back(kNonsense);
        } else if ((n + j) % 4 == 3) {
          table.values.push_back(case_.has(kNullSlot) ? out_.null_slot : -1);
        } else {
          table.values.push_back(take());
        }
      }
      // A checkpoint at the very end may share the slot of the last state.
      if (!skipped(n) && count > 0 && (position + length(n)) % m == 0 && n % 2 == 0) {
        const IndexTable &last =
            out_.output_state_indices.present ? out_.output_state_indices : out_.state_indices;
        table.values[static_cast<size_t>(n * columns + count - 1)] =
            last.values[static_cast<size_t>(n)];
      }
    }
  }

  void draw_flags() {
    out_.has_initial_state = {true, 0, {}};
    for (int64_t n = 0; n < n_; ++n) out_.has_initial_state.values.push_back(n % 2 * (n + 1));
  }

  const Case &case_;
  Random random_;
  int64_t n_;
  std::vector<int64_t> free_;
  SlotTables out_;
};

}  // namespace

SlotTables draw_slots(const Case &c, uint64_t seed) { return SlotDrawing(c, seed).draw(); }

}  // namespace gdn::testing
