#ifndef GDN_CPU_KERNELS_BLOCKS_H_
#define GDN_CPU_KERNELS_BLOCKS_H_

// Cutting sequences into blocks of at most `size` tokens that start at each sequence's first
// token. Included after GDN_TILE.

#include "core/sequences.h"

namespace gdn::cpu::GDN_ISA {
namespace {

/// Tokens [begin, begin + length) of row `batch`, all of one sequence.
struct Block {
  int64_t sequence;
  int64_t batch;
  int64_t begin;
  int64_t length;  ///< 0 for the blocks that a numbering leaves empty.
  bool first;      ///< First of its sequence. A sequence without tokens has an empty first block.
};

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Blocks of a B x T problem, or an upper bound of those of a packed one: sequence n gets the
/// numbers from floor(begin_n / size) + n to that of n + 1, which is at least one and enough for
/// all of its blocks, so a number is found by binary search and nothing has to be tabulated.
inline int64_t block_count(const Sequences &s, int64_t size) {
  if (s.count == 0) return 0;  // A padded buffer may have tokens all the same.
  if (s.packed()) return s.tokens / size + s.count;
  const int64_t per_row = s.tokens > 0 ? divide_up(s.tokens, size) : 1;
  return s.count * per_row;
}

inline Block block_at(const Sequences &s, int64_t size, int64_t number) {
  int64_t n = 0;
  int64_t index = 0;
  if (s.packed()) {
    int64_t end = s.count;  // The sequence is in [n, end).
    while (end - n > 1) {
      const int64_t middle = n + (end - n) / 2;
      if (s.cu_seqlens.at(middle) / size + middle <= number) {
        n = middle;
      } else {
        end = middle;
      }
    }
    index = number - (s.cu_seqlens.at(n) / size + n);
  } else {
    const int64_t per_row = s.tokens > 0 ? divide_up(s.tokens, size) : 1;
    n = number / per_row;
    index = number % per_row;
  }
  const SequenceSpan span = s.span(n);
  const int64_t start = index * size < span.length ? index * size : span.length;
  const int64_t rest = span.length - start;
  return {n, span.batch, span.begin + start, rest < size ? rest : size, index == 0};
}

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_BLOCKS_H_
