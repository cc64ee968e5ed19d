#include "api/state_slots_check.h"

#include <algorithm>
#include <vector>

#include "api/contents_check.h"

namespace gdn::api {
namespace {

/// A slot that a sequence writes.
struct Write {
  int64_t slot;
  int64_t sequence;
  const char *from;  ///< The index array that names it.
};

bool by_slot(const Write &a, const Write &b) { return a.slot < b.slot; }

/// Collects what the call reads and writes, then compares.
class SlotUse {
 public:
  SlotUse(Call *call, const DeltaRule &p) : call_(call), p_(p) {}

  void check() {
    for (int64_t n = 0; n < p_.sequences.count && call_->ok(); ++n) {
      const int64_t length = p_.sequences.span(n).length;
      if (open_sequence(n, length)) add_writes(n, length);
    }
    if (!call_->ok()) return;
    std::stable_sort(writes_.begin(), writes_.end(), by_slot);
    check_written_once();
    check_reads();
  }

 private:
  /// False if the sequence is skipped.
  bool open_sequence(int64_t n, int64_t length) {
    const IndexArray &indices = p_.state_indices;
    const int64_t accepted = p_.num_accepted_tokens.present ? p_.num_accepted_tokens.at(n) : 1;
    const int64_t column = DeltaRule::start_column(accepted, indices.columns);
    if (is_no_slot(indices.at(n, column), p_.slots)) return false;
    if (p_.slot_per_token() && length > p_.output_indices().columns) {
      call_->invalid(output_name(), " has M = ", p_.output_indices().columns,
                     " columns, but sequence ", n, " has ", length,
                     " tokens; expected a slot for each of them.");
    }
    if (accepted != column + 1) {
      call_->invalid("num_accepted_tokens[", n, "] is ", accepted, ", expected 1 to ",
                     indices.columns, ".");
    }
    const int64_t slot = check_slot(call_, "state_indices", indices, n, column, p_.slots);
    if (call_->ok() && p_.reads_state(n)) reads_.push_back({slot, n, "state_indices"});
    return call_->ok();
  }

  const char *output_name() const {
    return p_.output_state_indices.present ? "output_state_indices" : "state_indices";
  }

  void add_writes(int64_t n, int64_t length) {
    const char *name = output_name();
    const IndexArray &indices = p_.output_indices();
    int64_t last = -1;
    if (p_.slot_per_token()) {
      for (int64_t t = 0; t < length; ++t) add(name, indices, n, t);
    } else {
      last = add(name, indices, n, 0);
    }
    if (!p_.checkpoint_indices.present) return;
    const int64_t count = p_.checkpoint_count(n, length);
    if (count > p_.checkpoint_indices.columns) {
      call_->invalid("checkpoint_indices has K = ", p_.checkpoint_indices.columns,
                     " columns, but sequence ", n, " has ", count,
                     " checkpoints; expected a slot for each of them.");
      return;
    }
    const bool ends_on_one = (p_.phase(n, p_.checkpoint_every) + length) % p_.checkpoint_every == 0;
    for (int64_t j = 0; j < count; ++j) {
      // The checkpoint at the end is the state that goes to `last`: the same values twice.
      if (j == count - 1 && ends_on_one && last >= 0 && p_.checkpoint_indices.at(n, j) == last) {
        continue;
      }
      add("checkpoint_indices", p_.checkpoint_indices, n, j);
    }
  }

  int64_t add(const char *name, const IndexArray &indices, int64_t n, int64_t column) {
    const int64_t slot = check_slot(call_, name, indices, n, column, p_.slots);
    if (slot >= 0) writes_.push_back({slot, n, name});
    return slot;
  }

  void check_written_once() {
    const auto same = [](const Write &a, const Write &b) { return a.slot == b.slot; };
    const auto at = std::adjacent_find(writes_.begin(), writes_.end(), same);
    if (at == writes_.end()) return;
    const char *first = at[0].from;
    const char *second = at[1].from;
    const bool one_array = first == second;
    call_->invalid(first, one_array ? "" : cat(" and ", second), one_array ? " names" : " name",
                   " slot ", at->slot, " twice, expected a slot of its own for each state that ",
                   "the call writes.");
  }

  void check_reads() {
    for (const Write &read : reads_) {
      const auto at = std::lower_bound(writes_.begin(), writes_.end(), read, by_slot);
      if (at == writes_.end() || at->slot != read.slot || at->sequence == read.sequence) continue;
      call_->invalid("state_indices names slot ", read.slot, " for sequence ", read.sequence,
                     " to start from, but sequence ", at->sequence, " writes it (", at->from,
                     "); expected a slot that no other sequence writes.");
      return;
    }
  }

  Call *call_;
  const DeltaRule &p_;
  std::vector<Write> writes_;
  std::vector<Write> reads_;
};

}  // namespace

void check_positions(Call *call, const DeltaRule &p) {
  if (!p.positions.present || !call->ok()) return;
  for (int64_t n = 0; n < p.sequences.count; ++n) {
    if (p.initial_slot(n) < 0) continue;
    const int64_t found = p.positions.at(n);
    if (found < 0) {
      call->invalid("positions[", n, "] is ", found, ", expected 0 or more.");
      return;
    }
  }
}

int64_t count_checkpoints(const DeltaRule &p) {
  int64_t count = 0;
  for (int64_t n = 0; n < p.sequences.count; ++n) {
    count += p.checkpoint_count(n, p.sequences.span(n).length);
  }
  return count;
}

void check_state_slots(Call *call, const DeltaRule &p) {
  if (!call->ok()) return;
  // What most calls are: each sequence has one slot.
  if (p.state_indices.columns == 1 && !p.output_state_indices.present &&
      !p.checkpoint_indices.present && !p.num_accepted_tokens.present) {
    check_slots(call, "state_indices", p.state_indices, p.slots);
    return;
  }
  SlotUse(call, p).check();
}

}  // namespace gdn::api
