#ifndef GDN_CUDA_DEVICE_SEQUENCES_CUH_
#define GDN_CUDA_DEVICE_SEQUENCES_CUH_

#include "core/delta_rule.h"
#include "cuda/device/functions.cuh"

namespace gdn::cuda {

/// Most chunks that the sequences of a call can have, from shapes alone.
inline int64_t max_chunks(const Sequences &s, int64_t size) {
  if (!s.packed()) return s.batch * ((s.tokens + size - 1) / size);
  return (s.tokens + s.count * (size - 1)) / size;
}

__device__ __forceinline__ int64_t clamp64(int64_t x, int64_t low, int64_t high) {
  return x < low ? low : x > high ? high : x;
}

/// Sequence n, clamped to the tensors whatever cu_seqlens holds.
__device__ __forceinline__ SequenceSpan clamped_span(const Sequences &s, int64_t n) {
  if (!s.packed()) return {n, 0, s.tokens};
  const int64_t begin = clamp64(s.cu_seqlens.at(n), 0, s.tokens);
  return {0, begin, clamp64(s.cu_seqlens.at(n + 1), begin, s.tokens) - begin};
}

/// Sum over the sequences before n of length / size, rounded down or up. For a whole warp.
__device__ inline int64_t units_before(const Sequences &s, int64_t n, int64_t size, bool round_up,
                                       int lane) {
  const int64_t extra = round_up ? size - 1 : 0;
  if (!s.packed()) return n * ((s.tokens + extra) / size);
  int64_t sum = 0;
  for (int64_t i = lane; i < n; i += 32) sum += (clamped_span(s, i).length + extra) / size;
#pragma unroll
  for (int i = 16; i > 0; i >>= 1) sum += __shfl_xor_sync(kFullWarp, sum, i);
  return sum;
}

/// Rows of checkpoints that the sequences before n have. For a whole warp.
__device__ inline int64_t checkpoints_before(const DeltaRule &p, int64_t n, int lane) {
  if (!p.positions.present) {
    return units_before(p.sequences, n, p.checkpoint_every, false, lane);
  }
  int64_t sum = 0;
  for (int64_t i = lane; i < n; i += 32) {
    sum += p.checkpoint_count(i, clamped_span(p.sequences, i).length);
  }
#pragma unroll
  for (int i = 16; i > 0; i >>= 1) sum += __shfl_xor_sync(kFullWarp, sum, i);
  return sum;
}

/// Number of the first chunk of sequence n among all chunks of the call, which is its row of a
/// tensor with a row for each chunk. The api has seen that `rows` are enough for the tokens cut in
/// one sequence; whatever cu_seqlens holds, the sequence's chunks end within them. For a whole
/// warp.
__device__ inline int64_t first_chunk(const Sequences &s, int64_t n, const SequenceSpan &span,
                                      int64_t size, int64_t rows, int lane) {
  const int64_t chunks = (span.length + size - 1) / size;
  return min(units_before(s, n, size, true, lane), rows - chunks);
}

/// One chunk of one sequence.
struct ChunkPlace {
  int64_t sequence;
  int64_t batch;
  int64_t begin;   ///< First token.
  int32_t length;  ///< Tokens; 0: there is no such chunk.
};

/// The chunk with a given index among all chunks of the call, sequences in order. For a whole warp.
__device__ inline ChunkPlace find_chunk(const Sequences &s, int size, int64_t index, int lane) {
  if (!s.packed()) {
    const int64_t per_row = (s.tokens + size - 1) / size;
    if (per_row == 0 || index >= s.batch * per_row) return {0, 0, 0, 0};
    const int64_t b = index / per_row;
    const int64_t begin = (index - b * per_row) * size;
    return {b, b, begin, static_cast<int32_t>(min(static_cast<int64_t>(size), s.tokens - begin))};
  }
  int64_t first = 0;  // Chunks of the sequences before base.
  for (int64_t base = 0; base < s.count; base += 32) {
    const int64_t n = base + lane;
    const SequenceSpan span = n < s.count ? clamped_span(s, n) : SequenceSpan{0, 0, 0};
    const int64_t chunks = (span.length + size - 1) / size;
    int64_t end = chunks;
#pragma unroll
    for (int i = 1; i < 32; i <<= 1) {
      const int64_t x = __shfl_up_sync(kFullWarp, end, i);
      if (lane >= i) end += x;
    }
    end += first;
    const unsigned past = __ballot_sync(kFullWarp, index < end);
    if (past != 0) {
      const int owner = __ffs(static_cast<int>(past)) - 1;
      const int64_t offset = (index - (end - chunks)) * size;
      const int64_t left = span.length - offset;
      ChunkPlace place;
      place.sequence = base + owner;
      place.batch = 0;
      place.begin = __shfl_sync(kFullWarp, span.begin + offset, owner);
      place.length = static_cast<int32_t>(
          __shfl_sync(kFullWarp, min(static_cast<int64_t>(size), left), owner));
      return place;
    }
    first = __shfl_sync(kFullWarp, end, 31);
  }
  return {0, 0, 0, 0};
}

/// An entry of an index array as it lies in memory, to be used later.
struct LoadedIndex {
  uint32_t low = 0, high = 0;
  bool is_64bit = false;

  __device__ __forceinline__ void load(const IndexArray &a, int64_t row, int64_t column = 0) {
    const int64_t i = a.offset(row, column);
    is_64bit = a.is_64bit;
    if (is_64bit) {
      const uint2 x = static_cast<const uint2 *>(a.data)[i];
      low = x.x, high = x.y;
    } else {
      low = static_cast<const uint32_t *>(a.data)[i];
    }
  }
  /// For a whole warp: what the lane has loaded. Through shuffles: ptxas moves a number that it
  /// knows to be the same for all lanes to a uniform register as soon as it is there, and so would
  /// wait for it before the loads that the source has between load() and value().
  __device__ __forceinline__ int64_t value(int lane = 0) const {
    return joined(__shfl_sync(kFullWarp, low, lane), __shfl_sync(kFullWarp, high, lane));
  }
  /// What this thread has loaded.
  __device__ __forceinline__ int64_t own() const { return joined(low, high); }

 private:
  __device__ __forceinline__ int64_t joined(uint32_t a, uint32_t b) const {
    return is_64bit ? static_cast<int64_t>(uint64_t{b} << 32 | a)
                    : static_cast<int64_t>(static_cast<int32_t>(a));
  }
};

}  // namespace gdn::cuda

#endif  // GDN_CUDA_DEVICE_SEQUENCES_CUH_
