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
  int64_t index;  ///< Among the chunks of all sequences.
};

/// Calls f(chunk, part) for this worker's share of all (chunk, part), part < parts. Workers take
/// turns.
template <int64_t C, class F>
void for_each_item(Core &core, const SequenceTable &s, int64_t parts, int64_t worker,
                   int64_t workers, F f) {
  int64_t begin = first_token(core, s, 0);
  int64_t next = worker;  // The next item of this worker, counted from the chunk at hand.
  int64_t index = 0;
  for (int64_t n = 0; n < s.count; ++n) {
    const int64_t end = first_token(core, s, n + 1);
    for (; begin < end; begin += C, next -= parts, ++index) {
      for (; next < parts; next += workers) f(Chunk{begin, std::min(C, end - begin), index}, next);
    }
    begin = end;
  }
}

/// One sequence of a launch.
struct Sequence {
  int64_t index;
  int64_t begin;        ///< Its first token, among the tokens of all rows.
  int64_t end;          ///< Behind its last token.
  int64_t first_chunk;  ///< Among the chunks of all sequences.
};

/// Calls f(sequence, part) for this worker's share of all (sequence, part), part < parts. Workers
/// take turns.
template <int64_t C, class F>
void for_each_sequence(Core &core, const SequenceTable &s, int64_t parts, int64_t worker,
                       int64_t workers, F f) {
  int64_t begin = first_token(core, s, 0);
  int64_t next = worker;
  int64_t chunks = 0;
  for (int64_t n = 0; n < s.count; ++n, next -= parts) {
    const int64_t end = first_token(core, s, n + 1);
    for (; next < parts; next += workers) f(Sequence{n, begin, end, chunks}, next);
    chunks += (end - begin + C - 1) / C;
    begin = end;
  }
}

/// Calls f(chunk) for each chunk of a sequence.
template <int64_t C, class F>
void for_each_chunk(const Sequence &s, F f) {
  int64_t index = s.first_chunk;
  for (int64_t t = s.begin; t < s.end; t += C) f(Chunk{t, std::min(C, s.end - t), index++});
}

/// DK and DV.
inline constexpr int64_t kHeadWidth = 128;

/// Two of everything: what one item fills while another one uses it.
inline constexpr int kSlots = 2;

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_ITEMS_H_
