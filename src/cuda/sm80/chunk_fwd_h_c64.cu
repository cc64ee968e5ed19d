#include "cuda/sm80/chunk_fwd_h_c64.h"
#include "cuda/sm80/device/gain.cuh"
#include "cuda/sm80/device/half_rows.cuh"
#include "cuda/sm80/device/stage.cuh"
#include "cuda/sm80/device/state.cuh"

// The chain of states for 16-bit types, chunks of 64 tokens and DK up to 128. A block owns a
// sequence, a value head and up to 128 value columns; each warp keeps S^T for 16 columns in
// registers, and V' from where it is formed to where S takes it in:
//
//     V'^T = u^T - S^T w^T,   S^T <- e^{c_last} S^T + (V'^T diag(e^{c_last - c})) K
//
// The tiles of w and k, 64 tokens each, go in turn through a ring of three, filled two ahead.

namespace gdn::cuda::sm80 {
namespace {

constexpr int kTokens = 64;
constexpr int kRing = 3;
constexpr int kMaxKeys = 128;
constexpr int kStagedKeys = 64;  ///< Rows of h that turn around in shared memory at once.

struct ChainPlan {
  int warps;
  int column_blocks;
  int piece_k, piece_w, piece_u, piece_v;  ///< Bytes that rows move in.
  int piece_h;                             ///< The same of h.
  int key_shift, value_shift;              ///< half_row_shift of w and k, of u, V' and h.
  int loaders;                             ///< Warps that load and do nothing else; of halves.
  bool staged_h;                           ///< h is of E, with DV contiguous.
  bool packed_h;  ///< Of halves: the rows of h follow each other in whole pieces of 16 bytes.
};

template <Rows kRows>
__device__ __forceinline__ bool stages_h(const ChainPlan &plan) {
  return kRows == Rows::halves || plan.staged_h;
}

constexpr int kLd = padded<bf16>(kMaxKeys);  ///< Of tiles of w and k.
constexpr int kLdV = padded<bf16>(kStageWarps * 16);
constexpr size_t kSharedBytes =
    (kTokens * (kRing * kLd + 2 * kLdV) + kStagedKeys * kLdV) * sizeof(bf16) +
    2 * kTokens * sizeof(float);

/// A block's shared memory.
template <class E>
struct ChainShared {
  E *ring;        ///< Tiles of w and k.
  E *values;      ///< Tiles of u, later V'; [chunk % 2].
  E *staged;      ///< Rows of h.
  float *decays;  ///< c; [chunk % 2].
};

/// Blocks of a multiprocessor: before Hopper one fills the shared memory.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr int kBlocks = 1;
#else
constexpr int kBlocks = 2;
#endif

/// Where a warp's 4-byte word `word` (0..7) of row `key` of its 16 columns of h lies. kWhole: in a
/// block of its own, where halves of rows trade places so that neither side meets a bank twice;
/// else in rows that the block's warps share.
template <bool kWhole>
__device__ __forceinline__ int staged_word(int key, int word, int row_words = kLdV / 2) {
  return kWhole ? key * 8 + (word ^ (key & 4)) : key * row_words + word;
}

/// Puts 16 rows of h, as a left operand of S^T, where the warp's columns are staged. Of halves,
/// whose rows may share that place with no room between, the first `words` words alone.
template <Rows kRows, class E>
__device__ __forceinline__ void stage_rows(uint32_t *block, const LeftTile<E> &a, int key,
                                           int row_words, int words, int lane) {
  constexpr bool kWhole = kRows == Rows::whole;
  const int r = lane >> 2, c = lane & 3;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint32_t low = transpose8(a.r[i]), high = transpose8(a.r[i + 2]);
    if (kRows == Rows::halves && i * 4 + c >= words) continue;
    block[staged_word<kWhole>(key + r, i * 4 + c, row_words)] = low;
    block[staged_word<kWhole>(key + 8 + r, i * 4 + c, row_words)] = high;
  }
}

/// 4-byte words from a staged row of h to the next.
template <Rows kRows>
__device__ __forceinline__ int h_row_words(const ChunkFwdH &p, const ChainPlan &plan) {
  return kRows == Rows::halves && plan.packed_h ? static_cast<int>(p.value_dim) / 2 : kLdV / 2;
}

/// Writes `keys` rows of 16 columns of a warp's block to h.
template <class E>
__device__ __forceinline__ void store_columns(E *to, int64_t row_stride, const uint32_t *block,
                                              int keys, int lane) {
#pragma unroll
  for (int i = 0; i < kStagedKeys; i += 16) {
    const int key = i + (lane >> 1), half = lane & 1;
    const uint32_t *const from = block + staged_word<true>(key, half * 4);
    E *const row = to + key * row_stride + half * 8;
    if (i < keys) copy_piece(row, from, 16);
  }
}

// Where rows are no whole pieces of 16 bytes, warps that wrote their own columns of h and V' would
// share most sectors with their neighbours. There the warps that have columns write whole rows
// together.

__device__ __forceinline__ int state_threads(const ChainItem &item) {
  return whole_tiles(item.columns) * 2;
}

__device__ __forceinline__ void wait_for_state_warps(const ChainItem &item) {
  asm volatile("bar.sync 1, %0;" ::"r"(state_threads(item)) : "memory");
}

/// Writes rows of a tile in shared memory back, by the warps that have columns.
template <Rows kRows, class E>
__device__ __forceinline__ void write_rows(E *to, int64_t row_stride, const E *tile, int rows,
                                           int piece, const ChainPlan &plan,
                                           const ChainItem &item) {
  if constexpr (kRows == Rows::halves) {
    const HalfWalk walk(plan.value_shift, fresh_thread(), state_threads(item));
    store_half_rows(to, row_stride, tile, kLdV, walk.inside(item.columns) ? rows : 0, walk.row,
                    walk.row_step, walk.column);
  } else {
    store_tile(to, row_stride, tile, kLdV, rows, item.columns, piece, fresh_thread(),
               state_threads(item));
  }
}

/// Writes `rows` staged rows that h has without room between, by the same warps.
template <class E>
__device__ __forceinline__ void write_packed_rows(E *to, const E *staged, int rows,
                                                  const ChainItem &item) {
  constexpr int kPer = 16 / static_cast<int>(sizeof(E));
  const int elements = rows * item.columns;
#pragma unroll 4
  for (int i = fresh_thread() * kPer; i < elements; i += state_threads(item) * kPer) {
    copy_piece(to + i, staged + i, 16);
  }
}

/// Writes the rows of h from `first` on that are staged to the chunk's row `index` of h.
template <Rows kRows, class E>
__device__ __forceinline__ void store_staged_rows(const ChainShared<E> &s, const ChunkFwdH &p,
                                                  const ChainPlan &plan, const ChainItem &item,
                                                  int64_t index, int first, int key_dim) {
  E *const to = p.h.at<E>(index, item.h, first, item.column);
  const int rows = min(kStagedKeys, key_dim - first);
  if (kRows == Rows::halves && plan.packed_h) {
    write_packed_rows(to, s.staged, rows, item);
  } else {
    write_rows<kRows>(to, p.h.stride[2], s.staged, rows, plan.piece_h, plan, item);
  }
}

/// e^{last - c} of two neighbouring tokens, 0 past the end.
__device__ __forceinline__ float2 pair_decays(const float *c, int token, int valid, float last) {
  const float2 from = *reinterpret_cast<const float2 *>(c + token);
  const float f0 = token < valid ? decay_of(last - from.x) : 0.0F;
  const float f1 = token + 1 < valid ? decay_of(last - from.y) : 0.0F;
  return {f0, f1};
}

/// V'^T = u^T - product for 16 tokens: kept in `tile`, where u was, and, times e^{last - c}, as a
/// left operand (in fp16 update_with_gain makes that).
template <class E>
__device__ __forceinline__ void subtract_and_keep(LeftTile<E> &left, E *tile,
                                                  const float (*product)[4], int first, int valid,
                                                  const float *c, float last, int lane) {
  float x[2][4];
  E *const block = tile + first * kLdV;
  accumulators_from_transposed(x[0], x[1], block, kLdV, lane);
  __syncwarp();
#pragma unroll
  for (int j = 0; j < 2; ++j) {
#pragma unroll
    for (int e = 0; e < 4; ++e) x[j][e] -= product[j][e];
    store_transposed<E>(block + j * 8 * kLdV, kLdV, x[j], lane);
    if constexpr (kNarrowRange<E>) continue;
    const float2 f = pair_decays(c, first + j * 8 + (lane & 3) * 2, valid, last);
    x[j][0] *= f.x, x[j][1] *= f.y, x[j][2] *= f.x, x[j][3] *= f.y;
  }
  if constexpr (!kNarrowRange<E>) left_from_accumulators(left, x[0], x[1]);
}

/// S^T <- e^{last} S^T + (V'^T diag(e^{last - c})) K in fp16, with V' from `tile`. The left operand
/// and meanwhile the state carry a gain.
template <class E, int kFragments>
__device__ __forceinline__ void update_with_gain(float (&state)[kFragments][4], const E *keys,
                                                 int key_dim, const E *tile, int valid,
                                                 const float *c) {
  const int lane = fresh_lane();
  const float last = c[valid - 1];
  const auto block = [&](float(&x)[2][4], int t, float gain) {
    accumulators_from_transposed(x[0], x[1], tile + t * 16 * kLdV, kLdV, lane);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float2 f = pair_decays(c, t * 16 + j * 8 + (lane & 3) * 2, valid, last);
      x[j][0] *= f.x * gain, x[j][1] *= f.y * gain, x[j][2] *= f.x * gain, x[j][3] *= f.y * gain;
    }
  };
  float x[2][4], most = 0.0F;
#pragma unroll
  for (int t = 0; t < kTokens / 16; ++t) {
    block(x, t, 1.0F);
    most = largest(most, x);
  }
  const float gain = warp_gain(most);
  scale_all(state, decay_of(last) * gain);
#pragma unroll
  for (int t = 0; t < kTokens / 16; ++t) {
    block(x, t, gain);
    LeftTile<E> left;
    left_from_accumulators(left, x[0], x[1]);
#pragma unroll
    for (int j = 0; j < kFragments; j += 2) {
      if (j * 8 < key_dim) {
        multiply_add<Right::k_major>(state[j], state[j + 1], left, keys + t * 16 * kLd + j * 8, kLd,
                                     lane);
      }
    }
  }
  if (gain > 1.0F) scale_all(state, inverse_of_power(gain));
}

/// Tokens of a chunk of the block's sequence.
__device__ __forceinline__ int length_of(const ChainItem &item, int chunk) {
  return static_cast<int>(
      min(static_cast<int64_t>(kTokens), item.span.length - static_cast<int64_t>(chunk) * kTokens));
}

/// Starts the copy of a tile of kTokens rows.
template <Rows kRows, class E>
__device__ __forceinline__ void read_rows(E *tile, int ld, const E *from, int64_t row_stride,
                                          int valid, int columns, int piece, int shift, int thread,
                                          int threads) {
  if constexpr (kRows == Rows::halves) {
    load_half_rows(tile, ld, from, row_stride, kTokens, valid, columns,
                   HalfWalk(shift, thread, threads));
  } else {
    load_tile<kRows == Rows::whole>(tile, ld, from, row_stride, kTokens, valid, columns, piece,
                                    thread, threads);
  }
}

/// The first thread that loads.
__device__ __forceinline__ int first_loader(const ChainPlan &plan) {
  return plan.loaders > 0 ? plan.warps * 32 : 0;
}

/// Starts the copies of tile i of the sequence, which goes to a slot of the ring: tile 2 n is w of
/// chunk n and brings u and c with it, tile 2 n + 1 is k.
template <Rows kRows, class E>
__device__ __forceinline__ void load_tile_of(const ChainShared<E> &s, const ChunkFwdH &p,
                                             const ChainPlan &plan, const ChainItem &item, int i,
                                             int slot, int key_dim, int threads) {
  const int chunk = i >> 1;
  const SequenceSpan &span = item.span;
  const int64_t t = span.begin + static_cast<int64_t>(chunk) * kTokens;
  const int valid = length_of(item, chunk);
  // Fewest registers.
  const int thread = kRows == Rows::halves ? fresh_thread() - first_loader(plan) : threadIdx.x;
  E *const tile = s.ring + slot * kTokens * kLd;
  if ((i & 1) != 0) {
    read_rows<kRows>(tile, kLd, p.k.at<const E>(span.batch, t, item.hk), p.k.stride[1], valid,
                     key_dim, plan.piece_k, plan.key_shift, thread, threads);
  } else {
    read_rows<kRows>(tile, kLd, p.w.at<const E>(span.batch, t, item.h), p.w.stride[1], valid,
                     key_dim, plan.piece_w, plan.key_shift, thread, threads);
    read_rows<kRows>(s.values + (chunk & 1) * kTokens * kLdV, kLdV,
                     p.u.at<const E>(span.batch, t, item.h, item.column), p.u.stride[1], valid,
                     item.columns, plan.piece_u, plan.value_shift, thread, threads);
    if (p.g_cumsum.present()) {
      for (int j = thread; j < kTokens; j += threads) {
        copy_async<4>(s.decays + (chunk & 1) * kTokens + j,
                      p.g_cumsum.at<const float>(span.batch, t + (j < valid ? j : 0), item.h),
                      j < valid ? 4 : 0);
      }
    }
  }
}

/// V'^T = u^T - S^T w^T of a chunk, where u was and as left operands. h takes the state on the way;
/// of rows that are not whole the last kStagedKeys or fewer stay staged.
template <Rows kRows, class E, int kFragments>
__device__ __forceinline__ void form_values(LeftTile<E> (&left)[kTokens / 16],
                                            const float (&state)[kFragments][4],
                                            const ChainShared<E> &s, const E *w, E *v,
                                            uint32_t *staged, E *h_rows, const ChunkFwdH &p,
                                            const ChainPlan &plan, const ChainItem &item, int valid,
                                            const float *c, float last, int key_dim, int lane) {
  constexpr bool kWhole = kRows == Rows::whole;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float product[4][4] = {};
#pragma unroll
    for (int j = 0; j < kFragments; j += 2) {
      if (j * 8 < key_dim) {
        LeftTile<E> a;
        left_from_accumulators(a, state[j], state[j + 1]);
        if (half == 0 && stages_h<kRows>(plan)) {
          stage_rows<kRows>(staged, a, j * 8 % kStagedKeys, h_row_words<kRows>(p, plan),
                            (item.columns - (fresh_thread() >> 5) * 16) / 2, lane);
        }
#pragma unroll
        for (int t = 0; t < 2; ++t) {
          multiply_add<Right::n_major>(product[2 * t], product[2 * t + 1], a,
                                       w + (half * 2 + t) * 16 * kLd + j * 8, kLd, lane);
        }
      }
      const int end = (j + 2) * 8, first = end - kStagedKeys;
      if (half == 0 && end % kStagedKeys == 0 && stages_h<kRows>(plan)) {
        if constexpr (kWhole) {
          __syncwarp();
          store_columns(h_rows + first * p.h.stride[2], p.h.stride[2], staged, key_dim - first,
                        lane);
          __syncwarp();
        } else if (end < key_dim) {
          wait_for_state_warps(item);
          store_staged_rows<kRows>(s, p, plan, item, item.index, first, key_dim);
          wait_for_state_warps(item);
        }
      }
    }
#pragma unroll
    for (int t = 0; t < 2; ++t) {
      subtract_and_keep(left[half * 2 + t], v, product + 2 * t, (half * 2 + t) * 16, valid, c, last,
                        lane);
    }
  }
  __syncwarp();
}

/// What form_values left in shared memory of a chunk: V', and the last rows of h.
template <Rows kRows, class E>
__device__ __forceinline__ void store_shared(const ChainShared<E> &s, const ChunkFwdH &p,
                                             const ChainPlan &plan, const ChainItem &item,
                                             int chunk, int key_dim) {
  const int64_t token = item.span.begin + static_cast<int64_t>(chunk) * kTokens;
  E *to = p.v_new.at<E>(item.span.batch, token, item.h, item.column);
  const E *from = s.values + (chunk & 1) * kTokens * kLdV;
  int64_t stride = p.v_new.stride[1];
  int rows = length_of(item, chunk), piece = plan.piece_v;
#pragma unroll 1
  for (int left = stages_h<kRows>(plan) ? 2 : 1; left > 0; --left) {
    write_rows<kRows>(to, stride, from, rows, piece, plan, item);
    const int first = (key_dim - 1) / kStagedKeys * kStagedKeys;
    to = p.h.at<E>(item.index - 1, item.h, first, item.column);
    from = s.staged, stride = p.h.stride[2], rows = key_dim - first, piece = plan.piece_h;
    if (kRows == Rows::halves && plan.packed_h) {
      write_packed_rows(to, from, rows, item);
      break;
    }
  }
}

/// S^T <- decay S^T + left K.
template <class E, int kFragments>
__device__ __forceinline__ void update_state(float (&state)[kFragments][4],
                                             const LeftTile<E> (&left)[kTokens / 16], const E *k,
                                             float decay, int key_dim, int lane) {
#pragma unroll
  for (int j = 0; j < kFragments; j += 2) {
    if (j * 8 < key_dim) {
#pragma unroll
      for (int e = 0; e < 4; ++e) state[j][e] *= decay, state[j + 1][e] *= decay;
#pragma unroll
      for (int t = 0; t < kTokens / 16; ++t) {
        multiply_add<Right::k_major>(state[j], state[j + 1], left[t], k + t * 16 * kLd + j * 8, kLd,
                                     lane);
      }
    }
  }
}

/// Rows::halves: h is of E with DV contiguous.
template <class E, Rows kRows>
__global__ void __launch_bounds__(kStageThreads, kBlocks)
    chain_kernel(const __grid_constant__ ChunkFwdH p, const __grid_constant__ ChainPlan plan) {
  extern __shared__ __align__(16) unsigned char memory[];
  constexpr bool kWhole = kRows == Rows::whole;
  const int own_lane = threadIdx.x & 31, warp = threadIdx.x >> 5,
            threads = (plan.warps + plan.loaders) * 32;
  const int key_dim = static_cast<int>(p.key_dim);
  ChainItem item = chain_item(p, plan.warps, plan.column_blocks, kTokens, own_lane);

  ChainShared<E> s;
  s.ring = reinterpret_cast<E *>(memory);
  s.values = s.ring + kRing * kTokens * kLd;
  s.staged = s.values + 2 * kTokens * kLdV;
  s.decays = reinterpret_cast<float *>(s.staged + kStagedKeys * kLdV);
  uint32_t *const staged = reinterpret_cast<uint32_t *>(s.values + 2 * kTokens * kLdV) +
                           warp * (kWhole ? kStagedKeys * 8 : 8);

  const bool is_state = warp * 16 < item.columns;
  const int own_column = item.column + warp * 16;
  constexpr int kFragments = kMaxKeys / 8;
  float state[kFragments][4];
#pragma unroll
  for (int j = 0; j < kFragments; ++j) state[j][0] = state[j][1] = state[j][2] = state[j][3] = 0.0F;
  if (is_state && p.initial_state.present()) {
    load_state<kWhole>(state, p.initial_state, item.n, item.h, key_dim, own_column, own_lane);
  }
  for (int i = threadIdx.x; i < 2 * kTokens; i += threads) s.decays[i] = 0.0F;
  if constexpr (kRows == Rows::halves) {
    clear_half_columns(s.ring, kLd, kRing * kTokens, key_dim, threadIdx.x, threads);
    clear_half_columns(s.values, kLdV, 2 * kTokens, item.columns, threadIdx.x, threads);
  }
  __syncthreads();

  const int tiles = static_cast<int>((item.span.length + kTokens - 1) / kTokens) * 2;
  const auto fill = [&](int i, int slot) {
    if (kRows != Rows::halves) {
      if (i < tiles) load_tile_of<kRows>(s, p, plan, item, i, slot, key_dim, threads);
    } else if (i < tiles && fresh_thread() >= first_loader(plan)) {
      load_tile_of<kRows>(s, p, plan, item, i, slot, key_dim, threads - first_loader(plan));
    }
    copy_commit();
  };
  for (int i = 0; i + 1 < kRing; ++i) fill(i, i);

  LeftTile<E> left[kTokens / 16];
  float decay = 1.0F;
  int used = 0;
  for (int i = 0; i < tiles; ++i) {
    copy_wait<kRing - 2>();
    __syncthreads();
    fill(i + kRing - 1, used == 0 ? kRing - 1 : used - 1);
    const E *const tile = s.ring + used * kTokens * kLd;
    used = used + 1 == kRing ? 0 : used + 1;
    if (!is_state) continue;
    const int lane = kNarrowRange<E> ? fresh_lane() : own_lane;  // Fewest registers.
    const int chunk = i >> 1;
    if ((i & 1) == 0) {
      if (!stages_h<kRows>(plan))
        store_state<kWhole>(p.h, state, item.index, item.h, key_dim, own_column, lane);
      E *const h_rows = static_cast<E *>(p.h.data) + p.h.offset(item.index, item.h, 0, own_column);
      const int valid = length_of(item, chunk);
      const float *const c = s.decays + (chunk & 1) * kTokens;
      const float last = c[valid - 1];
      decay = decay_of(last);
      E *const v = s.values + (chunk & 1) * kTokens * kLdV + warp * 16;
      form_values<kRows>(left, state, s, tile, v, staged, h_rows, p, plan, item, valid, c, last,
                         key_dim, lane);
      const int64_t token = item.span.begin + static_cast<int64_t>(chunk) * kTokens;
      if constexpr (kWhole) {
        store_tile<true>(p.v_new.at<E>(item.span.batch, token, item.h, own_column),
                         p.v_new.stride[1], v, kLdV, valid, 16, plan.piece_v, lane, 32);
      }
      ++item.index;
    } else if constexpr (kNarrowRange<E>) {
      update_with_gain(state, tile, key_dim, s.values + (chunk & 1) * kTokens * kLdV + warp * 16,
                       length_of(item, chunk), s.decays + (chunk & 1) * kTokens);
      if constexpr (!kWhole) store_shared<kRows>(s, p, plan, item, chunk, key_dim);
    } else {
      update_state(state, left, tile, decay, key_dim, lane);
      if constexpr (!kWhole) store_shared<kRows>(s, p, plan, item, chunk, key_dim);
    }
  }
  if (is_state && p.final_state.present()) {
    store_state<kWhole>(p.final_state, state, item.n, item.h, key_dim, own_column, own_lane);
  }
}

template <class E>
Status launch_chain(const ChunkFwdH &p, const Launch &l) {
  ChainPlan plan;
  const int tiles = whole_tiles(static_cast<int>(p.value_dim)) / 16;
  plan.warps = tiles < kStageWarps ? tiles : kStageWarps;
  plan.column_blocks = (tiles + plan.warps - 1) / plan.warps;
  plan.piece_k = row_piece(p.k);
  plan.piece_w = row_piece(p.w);
  plan.piece_u = row_piece(p.u);
  plan.piece_v = row_piece(p.v_new);
  plan.loaders = 0;
  plan.staged_h = p.h.dtype == p.k.dtype && p.h.stride[3] == 1;
  plan.piece_h = row_piece(p.h);
  plan.packed_h = plan.staged_h && plan.column_blocks == 1 && p.h.stride[2] == p.value_dim &&
                  reinterpret_cast<uintptr_t>(p.h.data) % 16 == 0 && p.h.stride[0] % 8 == 0 &&
                  p.h.stride[1] % 8 == 0;
  plan.key_shift = half_row_shift(static_cast<int>(p.key_dim));
  plan.value_shift = half_row_shift(std::min(plan.warps * 16, static_cast<int>(p.value_dim)));
  const auto launch_as = [&](auto rows) {
    return launch<chain_kernel<E, rows>>(
        "chunk_fwd_h", l, p.sequences.count * p.heads.value_heads * plan.column_blocks,
        (plan.warps + plan.loaders) * 32, kSharedBytes, p, plan);
  };
  const bool aligned = plan.piece_k + plan.piece_w + plan.piece_u + plan.piece_v == 4 * 16 &&
                       (!plan.staged_h || plan.piece_h == 16);
  if (aligned && p.key_dim % 16 == 0 && p.value_dim % 16 == 0) {
    return launch_as(std::integral_constant<Rows, Rows::whole>());
  }
  if (plan.staged_h && fit_half_pieces<E>(p.key_dim, p.value_dim, plan.piece_k, plan.piece_w,
                                          plan.piece_u, plan.piece_v, plan.piece_h)) {
    plan.loaders = plan.warps < kStageWarps ? 1 : 0;
    return launch_as(std::integral_constant<Rows, Rows::halves>());
  }
  return launch_as(std::integral_constant<Rows, Rows::any>());
}

}  // namespace

bool chunk_fwd_h_c64_applies(const ChunkFwdH &p, const Launch &l) {
  return kSharedBytes <= static_cast<size_t>(l.device->shared_memory) && p.k.dtype != DType::f32 &&
         p.chunk_size == kTokens && p.key_dim <= kMaxKeys;
}

Status chunk_fwd_h_c64(const ChunkFwdH &p, const Launch &l) {
  return p.k.dtype == DType::bf16 ? launch_chain<bf16>(p, l) : launch_chain<f16>(p, l);
}

}  // namespace gdn::cuda::sm80
