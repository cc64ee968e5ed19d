#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SEGMENTS_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SEGMENTS_CUH_

#include "core/delta_rule.h"
#include "cuda/device/sequences.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segments.h"

// The segments of a call (segments.h) on the device.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

struct Segments {
  int length = 0;  ///< Tokens.
  int count = 0;   ///< Most that the sequences can have.
  /// M of each segment (transfer_at); the first of a sequence, which needs none, has a copy of the
  /// initial state instead, [count, HV, DK, DV], since the last may write the final one over it.
  Tensor transfers;
  bool initial_copied = true;  ///< Else first segments read the initial state itself.
  Tensor states;               ///< N, then the state after each segment, [count, HV, DK, DV].
  unsigned char *inverses = nullptr;  ///< [count, length / 64, HV, kInverseBytes].
  unsigned char *repeats = nullptr;   ///< [count, length / 64, HV, kRepeatBytes].
  int *starts = nullptr;  ///< [count, HV]: the first step that N needs; kRemembers: M counts too.
};

constexpr int kRemembers = -1;

/// What a transfer asks of 64 tokens but for their operands (segment_inverses.cu): T diag(beta) of
/// the first 32 and of the second, and what ties the second to the first, in two parts of bf16.
constexpr int kSolvedTokens = 64;
constexpr int kInverseBytes = 3 * 2 * 32 * 32 * 2;

/// One segment of a sequence. An empty sequence has one.
struct SegmentPlace {
  int sequence;  ///< -1: there is no such segment.
  int offset;    ///< Tokens of the sequence before it.
  int row;       ///< Among the segments of all sequences.
  bool first, last;
};

__device__ __forceinline__ int segments_of(const Sequences &s, int length, int64_t n) {
  const int tokens = static_cast<int>(clamped_span(s, n).length);
  return max((tokens + length - 1) / length, 1);
}

/// Segment `row` of the call. Walks the sequences: those that are cut are few.
__device__ __forceinline__ SegmentPlace find_segment(const Sequences &s, const Segments &all,
                                                     int row) {
  int before = 0;
  const int sequences = static_cast<int>(s.count);
  for (int n = 0; n < sequences; ++n) {
    const int count = segments_of(s, all.length, n), i = row - before;
    if (i < count) return {n, i * all.length, row, i == 0, i == count - 1};
    before += count;
  }
  return {-1, 0, row, false, false};
}

/// Chunk `chunk` of a segment among those of all.
__device__ __forceinline__ int64_t chunk_index(const Segments &all, int heads, int row, int chunk,
                                               int head) {
  return (int64_t{row} * (all.length / kSolvedTokens) + chunk) * heads + head;
}

/// M of a segment: a high and a low part of bf16, [part][column][row] but for the order of the
/// pieces of eight rows, such that eight columns of a piece meet all banks.
__device__ __forceinline__ __nv_bfloat16 *transfer_at(const Segments &all, int heads, int row,
                                                      int head) {
  return static_cast<__nv_bfloat16 *>(all.transfers.data) +
         (int64_t{row} * heads + head) * 2 * 128 * 128;
}
__device__ __forceinline__ int transfer_place(int column, int row) {
  return column * 128 + (row ^ (column & 7) * 8);
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SEGMENTS_CUH_
