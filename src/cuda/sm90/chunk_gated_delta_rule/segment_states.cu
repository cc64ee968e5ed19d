#include <utility>

#include "cuda/device/element.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/forms.h"
#include "cuda/sm90/chunk_gated_delta_rule/launch.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segments.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segments.h"
#include "cuda/sm90/device/ptx.cuh"

// The states between segments: S_{j+1} = M_j S_j + N_j in f32, in the places of N_j. A block takes
// kColumns value columns of one head through a sequence; the next M is on its way meanwhile. Where
// M_j is zero N_j is the state already.
//
// For 128 x 128 a combination is 2 * 128^3 operations a head, and each block of columns reads M, 64
// KB. A lane has four rows and all columns, a warp a slice of the sum over keys, so that an operand
// from shared memory serves four to eight multiply-adds; slices are added in order. M lies with its
// rows side by side: one copy brings it in, and lanes meet all banks.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {
namespace {

constexpr int kColumns = 8;
constexpr int kBlocks = kDim / kColumns;  ///< Of a head.
constexpr int kWarps = 8;
constexpr int kStateThreads = kWarps * 32;
constexpr int kPart = 64;  ///< Columns of M that come in at once.
constexpr int kParts = kDim / kPart;
constexpr int kBuffers = 5;
constexpr int kSlice = kPart / kWarps;  ///< Of them a warp's.
constexpr int kSumRow = kColumns + 4;   ///< Of partial sums: rows of lanes meet all banks.

struct Memory {
  float m[kBuffers][kPart][kDim];            ///< Columns of M: [column][row].
  float sums[kWarps][4][kDim / 4][kSumRow];  ///< Row 4 i + j at [j][i].
  float s[kDim][kColumns];
  uint64_t full[kBuffers];
  int remembering[kMostSegments];  ///< Rows of the segments that have an M, in order.
  int count;                       ///< Of these.
};

/// Fills m.remembering with rows from `begin` to end - 1, by the whole block.
__device__ __forceinline__ void find_remembering(Memory &m, const Segments &all, int begin, int end,
                                                 int heads, int head, int thread) {
  if (thread >= 32) return;
  int count = 0;
  for (int base = begin; base < end; base += 32) {
    const int row = base + thread;
    const bool remembers = row < end && all.starts[row * heads + head] == kRemembers;
    const unsigned found = __ballot_sync(kFullWarp, remembers);
    if (remembers) m.remembering[count + __popc(found & ((1U << thread) - 1U))] = row;
    count += __popc(found);
  }
  if (thread == 0) m.count = count;
}

/// sum[i] += the warp's slice of row 4 lane + i of M times S.
__device__ __forceinline__ void multiply_slice(float (&sum)[4][kColumns], const float (*m)[kDim],
                                               const float (*s)[kColumns], int lane) {
#pragma unroll
  for (int k = 0; k < kSlice; ++k) {
    const float4 rows = *reinterpret_cast<const float4 *>(&m[k][4 * lane]);
    const float4 low = *reinterpret_cast<const float4 *>(&s[k][0]);
    const float4 high = *reinterpret_cast<const float4 *>(&s[k][4]);
    const float a[4] = {rows.x, rows.y, rows.z, rows.w};
    const float b[kColumns] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int j = 0; j < kColumns; ++j) sum[i][j] = fmaf(a[i], b[j], sum[i][j]);
    }
  }
}

__global__ void __launch_bounds__(kStateThreads)
    states_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Segments all) {
  extern __shared__ __align__(16) unsigned char memory[];
  Memory &m = *reinterpret_cast<Memory *>(memory);
  let_next_start();
  const int thread = static_cast<int>(threadIdx.x), heads = static_cast<int>(p.heads.value_heads);
  const int lane = thread & 31, warp = thread >> 5;
  const int column = static_cast<int>(blockIdx.x) % kBlocks * kColumns;
  const int head = static_cast<int>(blockIdx.x) / kBlocks % heads;
  const int64_t sequence = static_cast<int>(blockIdx.x) / kBlocks / heads;
  int row = 0;
  for (int64_t n = 0; n < sequence; ++n) row += segments_of(p.sequences, all.length, n);
  const int end = min(row + segments_of(p.sequences, all.length, sequence), all.count);
  const int64_t slot = p.initial_slot(sequence);
  wait_for_previous();
  if (slot < 0 || row >= end) return;
  if (p.reads_state(sequence)) {
    const Tensor &from = p.initial_state;
    for (int i = thread; i < kDim * kColumns; i += kStateThreads) {
      const int key = i % kDim, value = column + i / kDim;
      *all.transfers.at<float>(row, head, key, value) =
          load_any(from, from.offset(slot, head, key, value));
    }
  }
  if (end - row < 3) return;

  find_remembering(m, all, row + 1, end - 1, heads, head, thread);
  if (thread == 0) {
    for (uint64_t &full : m.full) barrier_init(&full, 1);
    barrier_init_fence();
  }
  // Of the results a thread has four columns of a row.
  const int own_row = thread / 2, own_column = thread % 2 * 4;
  const int own = own_row * kDim + column + own_column;
  __syncthreads();
  // Parts of M, numbered through the segments; every one is asked for when its buffer is free.
  const int count = m.count, parts = count * kParts;
  const auto load = [&](int part) {
    if (thread != 0 || part >= parts) return;
    const int buffer = part % kBuffers;
    proxy_fence();  // Else the copy might pass what was read before.
    arrive_expect(&m.full[buffer], sizeof(m.m[buffer]));
    bulk_load(
        m.m[buffer],
        all.transfers.at<float>(m.remembering[part / kParts], head) + part % kParts * kPart * kDim,
        sizeof(m.m[buffer]), &m.full[buffer]);
  };
  for (int part = 0; part < kBuffers - kParts; ++part) load(part);
  for (int j = 0, part = 0; j < count; ++j) {
    for (int i = 0; i < kParts; ++i) load(part + kBuffers - kParts + i);
    const int at = m.remembering[j];
    if (j == 0 || m.remembering[j - 1] != at - 1) {
      *reinterpret_cast<float4 *>(&m.s[own_row][own_column]) =
          *reinterpret_cast<const float4 *>(all.states.at<float>(at - 1, head) + own);
      __syncthreads();
    }
    float *const state = all.states.at<float>(at, head) + own;
    float4 x = *reinterpret_cast<const float4 *>(state);
    float sum[4][kColumns] = {};
    for (int i = 0; i < kParts; ++i, ++part) {
      const int first = warp * kSlice;
      wait(&m.full[part % kBuffers], part / kBuffers & 1);
      multiply_slice(sum, m.m[part % kBuffers] + first, m.s + i * kPart + first, lane);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float *const to = m.sums[warp][i][lane];
      *reinterpret_cast<float4 *>(to) = make_float4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
      *reinterpret_cast<float4 *>(to + 4) = make_float4(sum[i][4], sum[i][5], sum[i][6], sum[i][7]);
    }
    __syncthreads();
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float4 y =
          *reinterpret_cast<const float4 *>(&m.sums[w][own_row % 4][own_row / 4][own_column]);
      x = make_float4(x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w);
    }
    *reinterpret_cast<float4 *>(&m.s[own_row][own_column]) = x;
    *reinterpret_cast<float4 *>(state) = x;
    __syncthreads();
  }
}

}  // namespace

Status launch_segment_states(const DeltaRule &p, const Launch &l, const Segments &segments) {
  return launch_beside_previous<states_kernel>(l, p.sequences.count * p.heads.value_heads * kBlocks,
                                               kStateThreads, sizeof(Memory), p, segments);
}

Segments lay_out_segments(const DeltaRule &p, const Launch &l, int64_t length, bool transfers) {
  Segments all;
  all.length = static_cast<int>(length);
  all.count = p.sequences.count > 0 ? static_cast<int>(max_segments(p, length)) : 0;
  const auto states = [&](void *data) {
    Tensor t;
    t.data = data;
    t.dtype = DType::f32;
    t.rank = 4;
    const int64_t shape[4] = {all.count, p.heads.value_heads, kDim, kDim};
    int64_t stride = 1;
    for (int d = 3; d >= 0; --d) {
      t.shape[d] = shape[d];
      t.stride[d] = stride;
      stride *= shape[d];
    }
    return t;
  };
  auto *const memory = static_cast<unsigned char *>(l.workspace);
  const int64_t bytes = all.count * p.heads.value_heads * kDim * kDim * int64_t{sizeof(float)};
  all.transfers = states(memory);
  std::swap(all.transfers.stride[2], all.transfers.stride[3]);
  unsigned char *end = memory + bytes;
  if (transfers) {
    all.states = states(end);
    all.inverses = end + bytes;
    end = all.inverses + all.count * (length / kStep) * p.heads.value_heads * kInverseBytes;
  }
  all.starts = reinterpret_cast<int *>(end);
  return all;
}

Status launch_segments(const DeltaRule &p, const Launch &l, int64_t length) {
  const Segments all = lay_out_segments(p, l, length, true);
  if (all.count == 0) return {};
  Status s = launch_segment_starts(p, l, all, all.length / kStep, false);
  if (s.ok()) s = launch_segment_inverses(p, l, all);
  if (s.ok()) s = launch_segment_transfers(p, l, all);
  if (s.ok()) s = launch_segment_states(p, l, all);
  if (s.ok()) s = launch_segment_outputs(p, l, all);
  return s;
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
