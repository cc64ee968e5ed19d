#ifndef GDN_ASCEND_KERNELS_ITEMS_H_
#define GDN_ASCEND_KERNELS_ITEMS_H_

#include <algorithm>

#include "ascend/tile/tile.h"

namespace gdn::ascend::kernels {

/// The sequences of a launch: `count` rows of `tokens` tokens, or one row cut at offsets, count + 1
/// of them.
struct SequenceTable {
  int64_t count = 0;
  int64_t tokens = 0;
  bool packed = false;
  bool wide = false;  ///< Which of the two holds the offsets.
  Gm<const int64_t> offsets64;
  Gm<const int32_t> offsets32;
};

inline int64_t first_token(Core &core, const SequenceTable &s, int64_t sequence) {
  if (!s.packed) return sequence * s.tokens;
  return s.wide ? scalar_load(core, s.offsets64 + sequence)
                : scalar_load(core, s.offsets32 + sequence);
}

/// Tokens of one sequence, among the tokens of all rows.
struct Chunk {
  int64_t begin;
  int64_t length;
};

/// Calls f(chunk, part) for this worker's share of all (chunk, part), part < parts. Workers take
/// turns.
template <int64_t C, class F>
void for_each_item(Core &core, const SequenceTable &s, int64_t parts, int64_t worker,
                   int64_t workers, F f) {
  int64_t begin = first_token(core, s, 0);
  int64_t next = worker;  // The next item of this worker, counted from the chunk at hand.
  for (int64_t n = 0; n < s.count; ++n) {
    const int64_t end = first_token(core, s, n + 1);
    for (; begin < end; begin += C, next -= parts) {
      for (; next < parts; next += workers) f(Chunk{begin, std::min(C, end - begin)}, next);
    }
    begin = end;
  }
}

/// DK and DV.
inline constexpr int64_t kHeadWidth = 128;

/// Two of everything: what one item fills while another one uses it.
inline constexpr int kSlots = 2;

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_ITEMS_H_
