#include "cuda/device/element.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/forms.h"
#include "cuda/sm90/chunk_gated_delta_rule/launch.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segments.cuh"
#include "cuda/sm90/chunk_gated_delta_rule/segments.h"
#include "cuda/sm90/device/ptx.cuh"

// The states between segments: S_{j+1} = M_j S_j + N_j, in the places of N_j. A block takes
// kColumns value columns of one head through a sequence; the next M are on their way meanwhile.
// Where M_j is zero N_j is the state already.
//
// For 128 x 128 a combination is 2 * 128^3 operations a head, and each block reads M, 64 KB. Sums
// and what is kept are f32; as operands M and S are in two parts of bf16, whose low parts are not
// multiplied with each other. A warp has 16 rows.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {
namespace {

constexpr int kColumns = 16;
constexpr int kBlocks = kDim / kColumns;  ///< Of a head.
constexpr int kWarps = kDim / 16;
constexpr int kStateThreads = kWarps * 32;
constexpr int kBuffers = 3;
constexpr int kStateRow = kColumns + 8;  ///< Eight rows of 16 bytes meet all banks.

struct Memory {
  bf16 m[kBuffers][2][kDim * kDim];  ///< [part], as transfer_place() says.
  bf16 s[2][2][kDim * kStateRow];    ///< Of even and odd combinations: [part][row][column].
  uint64_t full[kBuffers];
  int remembering[kMostSegments];  ///< Rows of the segments that have an M, in order.
  int count;                       ///< Of these.
};
static_assert(sizeof(Memory) <= 227 * 1024);

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

/// What a lane has of 16 rows and kColumns columns, as accumulators of a warp lie: column 8 j + cl
/// + i of rows `row` and `row` + 8.
struct Place {
  int row, cl;
  int64_t first;  ///< In a state, of column 0.

  __device__ __forceinline__ void load(float (&x)[2][4], const float *state) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 f = *reinterpret_cast<const float2 *>(state + offset(i));
      x[i / 2][i % 2 * 2] = f.x;
      x[i / 2][i % 2 * 2 + 1] = f.y;
    }
  }
  __device__ __forceinline__ void store(float *state, const float (&x)[2][4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      *reinterpret_cast<float2 *>(state + offset(i)) =
          make_float2(x[i / 2][i % 2 * 2], x[i / 2][i % 2 * 2 + 1]);
    }
  }
  /// Into an operand, in two parts.
  __device__ __forceinline__ void split(bf16 (&s)[2][kDim * kStateRow],
                                        const float (&x)[2][4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float a = x[i / 2][i % 2 * 2], b = x[i / 2][i % 2 * 2 + 1];
      const uint32_t high = pack2<bf16>(a, b);
      const float2 rounded = unpack2<bf16>(high);
      const int at = (row + i % 2 * 8) * kStateRow + i / 2 * 8 + cl;
      *reinterpret_cast<uint32_t *>(&s[0][at]) = high;
      *reinterpret_cast<uint32_t *>(&s[1][at]) = pack2<bf16>(a - rounded.x, b - rounded.y);
    }
  }

 private:
  __device__ __forceinline__ int64_t offset(int i) const {
    return first + i % 2 * 8 * kDim + i / 2 * 8;
  }
};

/// x += the warp's rows of M times S.
__device__ __forceinline__ void multiply_rows(float (&x)[2][4], const bf16 (&m)[2][kDim * kDim],
                                              const bf16 (&s)[2][kDim * kStateRow], int warp,
                                              int lane) {
  float low[2][4] = {}, high[2][4] = {};
#pragma unroll
  for (int k = 0; k < kDim; k += 16) {
    const int column = k + (lane & 7) + (lane >> 4) * 8, row = warp * 16 + (lane >> 3 & 1) * 8;
    const int of_s = (k + (lane & 15)) * kStateRow + (lane >> 4) * 8;
    uint32_t a[2][4], b[2][4];
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      ldmatrix_trans(a[part], &m[part][transfer_place(column, row)]);
      ldmatrix_trans(b[part], &s[part][of_s]);
    }
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      mma16816<bf16>(x[j], a[0], b[0][2 * j], b[0][2 * j + 1]);
      mma16816<bf16>(low[j], a[0], b[1][2 * j], b[1][2 * j + 1]);
      mma16816<bf16>(high[j], a[1], b[0][2 * j], b[0][2 * j + 1]);
    }
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) x[i / 4][i % 4] += low[i / 4][i % 4] + high[i / 4][i % 4];
}

__global__ void __launch_bounds__(kStateThreads)
    states_kernel(const __grid_constant__ DeltaRule p, const __grid_constant__ Segments all) {
  extern __shared__ __align__(128) unsigned char memory[];
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
      const int key = i / kColumns, value = column + i % kColumns;
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
  Place own;
  own.row = warp * 16 + lane / 4;
  own.cl = lane % 4 * 2;
  own.first = int64_t{own.row} * kDim + column + own.cl;
  __syncthreads();
  const int count = m.count;
  const auto load = [&](int j) {
    if (thread != 0 || j >= count) return;
    uint64_t *const full = &m.full[j % kBuffers];
    proxy_fence();  // Else the copy might pass what was read before.
    arrive_expect(full, sizeof(m.m[0]));
    bulk_load(m.m[j % kBuffers], transfer_at(all, heads, m.remembering[j], head), sizeof(m.m[0]),
              full);
  };
  for (int j = 0; j < kBuffers; ++j) load(j);
  float next[2][4];  // N, ahead of its use.
  if (count > 0) own.load(next, all.states.at<float>(m.remembering[0], head));
  for (int j = 0; j < count; ++j) {
    const int at = m.remembering[j];
    float x[2][4];
    if (j == 0 || m.remembering[j - 1] != at - 1) {
      own.load(x, all.states.at<float>(at - 1, head));
      own.split(m.s[j & 1], x);
      __syncthreads();
    }
    float *const state = all.states.at<float>(at, head);
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i / 4][i % 4] = next[i / 4][i % 4];
    if (j + 1 < count) own.load(next, all.states.at<float>(m.remembering[j + 1], head));
    wait(&m.full[j % kBuffers], j / kBuffers & 1);
    multiply_rows(x, m.m[j % kBuffers], m.s[j & 1], warp, lane);
    own.split(m.s[(j + 1) & 1], x);
    own.store(state, x);
    __syncthreads();
    load(j + kBuffers);
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
  unsigned char *end = memory + bytes;
  if (transfers) {
    all.states = states(end);
    all.inverses = end + bytes;
    const int64_t chunks = all.count * (length / kSolvedTokens) * p.heads.value_heads;
    all.repeats = all.inverses + chunks * kInverseBytes;
    end = all.repeats + chunks * kRepeatBytes;
  }
  all.starts = reinterpret_cast<int *>(end);
  return all;
}

Status launch_segments(const DeltaRule &p, const Launch &l, int64_t length) {
  const Segments all = lay_out_segments(p, l, length, true);
  if (all.count == 0) return {};
  Status s = launch_segment_starts(p, l, all);
  if (s.ok()) s = launch_segment_inverses(p, l, all);
  if (s.ok()) s = launch_segment_transfers(p, l, all);
  if (s.ok()) s = launch_segment_states(p, l, all);
  if (s.ok()) s = launch_segment_outputs(p, l, all);
  return s;
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
