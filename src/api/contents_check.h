#ifndef GDN_API_CONTENTS_CHECK_H_
#define GDN_API_CONTENTS_CHECK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "api/call.h"
#include "api/exec_check.h"
#include "core/sequences.h"

namespace gdn::api {

/// An index array that the host can read: the operand itself on the CPU, a copy of device memory
/// otherwise.
class HostIndices {
 public:
  HostIndices(Call *call, const Target &target, const IndexArray &array);
  HostIndices(const HostIndices &) = delete;
  HostIndices &operator=(const HostIndices &) = delete;

  const IndexArray &array() const { return array_; }

 private:
  std::vector<std::byte> copy_;
  IndexArray array_;
};

/// The sequences of a call with a cu_seqlens that the host can read and that has been checked: it
/// starts at 0, does not decrease and ends at the number of tokens.
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

/// Each slot is below `slots`, and no slot >= 0 appears twice.
void check_slots(Call *call, const IndexArray &indices, int64_t slots);

/// The [N, M] form: sequence n reads slot [n, accepted[n] - 1] and writes slots [n, t] for its
/// tokens t. Those are checked; entries that are not used may hold anything.
void check_slots_per_token(Call *call, const IndexArray &indices, const IndexArray &accepted,
                           const Sequences &sequences, int64_t slots);

/// num_accepted_tokens of each sequence is in 1..maximum. Sequences whose slot is negative are not
/// looked at; `slots` may be absent.
void check_accepted(Call *call, const IndexArray &accepted, int64_t maximum,
                    const IndexArray &slots);

}  // namespace gdn::api

#endif  // GDN_API_CONTENTS_CHECK_H_
