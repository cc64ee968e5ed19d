#ifndef GDN_REFERENCE_CHUNKS_H_
#define GDN_REFERENCE_CHUNKS_H_

#include <algorithm>
#include <vector>

#include "core/stages.h"

namespace gdn::reference {

/// One chunk of one sequence.
struct Chunk {
  int64_t sequence;
  int64_t index;   ///< Among all chunks of the call: 0 .. NT - 1.
  int64_t batch;   ///< Index of dimension B.
  int64_t begin;   ///< First token.
  int64_t length;  ///< Tokens, 1 .. C.
  bool first;      ///< First of its sequence.
  bool last;       ///< Last of its sequence.
};

/// All chunks of a call, sequences in order.
inline std::vector<Chunk> chunks_of(const StageShape &s) {
  std::vector<Chunk> chunks;
  for (int64_t n = 0; n < s.sequences.count; ++n) {
    const SequenceSpan span = s.sequences.span(n);
    for (int64_t i = 0; i < span.length; i += s.chunk_size) {
      const int64_t length = std::min(s.chunk_size, span.length - i);
      chunks.push_back({n, static_cast<int64_t>(chunks.size()), span.batch, span.begin + i, length,
                        i == 0, i + length == span.length});
    }
  }
  return chunks;
}

}  // namespace gdn::reference

#endif  // GDN_REFERENCE_CHUNKS_H_
