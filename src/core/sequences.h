#ifndef GDN_CORE_SEQUENCES_H_
#define GDN_CORE_SEQUENCES_H_

#include "core/tensor.h"

namespace gdn {

/// Where one sequence lies in [B, T, ..] tensors.
struct SequenceSpan {
  int64_t batch;   ///< Index of dimension B.
  int64_t begin;   ///< First token.
  int64_t length;  ///< Tokens; may be 0.
};

/// The sequences of a call: B rows of T tokens, or one row cut at cu_seqlens. Where cu_seqlens ends
/// before T (a padded buffer) the tokens after it belong to no sequence: nobody reads or writes
/// them.
struct Sequences {
  int64_t count = 0;      ///< N.
  int64_t batch = 0;      ///< B.
  int64_t tokens = 0;     ///< T, of one row.
  bool padded = false;    ///< cu_seqlens may end before T.
  IndexArray cu_seqlens;  ///< N + 1 entries when packed. On CUDA it lies on the device.

  GDN_HOST_DEVICE bool packed() const { return cu_seqlens.present; }

  GDN_HOST_DEVICE SequenceSpan span(int64_t n) const {
    if (!packed()) return {n, 0, tokens};
    const int64_t begin = cu_seqlens.at(n);
    return {0, begin, cu_seqlens.at(n + 1) - begin};
  }
};

}  // namespace gdn

#endif  // GDN_CORE_SEQUENCES_H_
