#ifndef GDN_API_CONTENTS_CHECK_H_
#define GDN_API_CONTENTS_CHECK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "api/call.h"
#include "api/exec_check.h"
#include "core/sequences.h"

namespace gdn::api {

/// The memory of a small operand that the host can read: the operand itself on the CPU, a copy of
/// device memory otherwise.
class HostBytes {
 public:
  /// The operand's elements lie in bytes [lowest, end) from data.
  const void *read(Call *call, const Target &target, const void *data, int64_t lowest, int64_t end);

 private:
  std::vector<std::byte> copy_;
};

/// An index array that the host can read.
class HostIndices {
 public:
  HostIndices(Call *call, const Target &target, const IndexArray &array);
  HostIndices(const HostIndices &) = delete;
  HostIndices &operator=(const HostIndices &) = delete;

  const IndexArray &array() const { return array_; }

 private:
  HostBytes bytes_;
  IndexArray array_;
};

/// The same for flags.
class HostFlags {
 public:
  HostFlags(Call *call, const Target &target, const FlagArray &array);
  HostFlags(const HostFlags &) = delete;
  HostFlags &operator=(const HostFlags &) = delete;

  const FlagArray &array() const { return array_; }

 private:
  HostBytes bytes_;
  FlagArray array_;
};

/// The sequences of a call with a cu_seqlens that the host can read and that has been checked: it
/// starts at 0, does not decrease and ends at the number of tokens, in a padded buffer at or before
/// it.
class HostSequences {
 public:
  HostSequences(Call *call, const Target &target, const Sequences &sequences);

  const Sequences &get() const { return sequences_; }

 private:
  HostIndices cu_seqlens_;
  Sequences sequences_;
};

/// What the sequences' lengths add up to.
struct Lengths {
  int64_t longest = 0;
  int64_t longest_at = 0;  ///< Index of a longest sequence.
  int64_t parts = 0;       ///< Sum of L_n / divisor, rounded down or up.
};

/// `round_up` counts the last, shorter part of a sequence too.
Lengths measure(const Sequences &sequences, int64_t divisor, bool round_up);

/// The rows of an operand that holds something per part of a sequence (checkpoints, chunks).
void check_rows(Call *call, const char *name, int64_t found, int64_t expected, const char *count);

/// An index that says that there is no slot, which one past the pool does not.
inline bool is_no_slot(int64_t index, const Slots &slots) {
  return index < 0 || (slots.has_null && index == slots.null);
}

/// The slot that an entry of the index array `name` names, -1 for none. One past the pool is
/// refused.
int64_t check_slot(Call *call, const char *name, const IndexArray &indices, int64_t row,
                   int64_t column, const Slots &slots);

/// The entries of the first column of the index array `name` name slots of the pool or none, and no
/// slot twice.
void check_slots(Call *call, const char *name, const IndexArray &indices, const Slots &slots);

}  // namespace gdn::api

#endif  // GDN_API_CONTENTS_CHECK_H_
