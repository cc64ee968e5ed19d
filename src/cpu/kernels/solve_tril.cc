// T = (I + A)^-1 for the strictly lower triangular A of each chunk, by forward substitution in
// f32: row i of T is e_i minus the sum over j < i of A[i, j] times row j. Nothing is assumed about
// the size of A; series and Newton iterations, which are, fail on repeated keys.
//
// Operations for a chunk of C tokens: C^3 / 6 multiply-adds for each value head; memory: A read, T
// written, which from about C = 64 down takes longer.
// An item is a chunk of one value head. Blocks of kTileRows rows: what the rows above contribute is
// a matrix product, the rest is substituted inside the registers.

#include GDN_TILE

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/stage_tiles.h"
#include "cpu/kernels/strided.h"

namespace gdn::cpu::GDN_ISA {
namespace {

static_assert(kTileColumns % kTileRows == 0);

/// Rows [i, i + kTileRows) of `t` from the rows above. `a` holds these rows of -A, zeros from the
/// diagonal on; both have kMaxChunk columns.
void solve_rows(int64_t i, const float *a, float *t) {
  for (int64_t m = 0; m < kTileRows; ++m) {
    float *row = t + (i + m) * kMaxChunk;
    std::memset(row, 0, kMaxChunk * sizeof(float));
    row[i + m] = 1.0F;
  }
  for (int64_t j = 0; j <= i; j += kTileColumns) {
    Tile<kTileRows> tile;
    float *target = t + i * kMaxChunk + j;
    load_tile(tile, target, kMaxChunk);
    // Rows of T above j are zero in these columns.
    mma<F32Operand>(tile, a + j, kMaxChunk, t + j * kMaxChunk + j, kMaxChunk, i - j);
#pragma GCC unroll 16
    for (int n = 0; n < kTileRows; ++n) {
#pragma GCC unroll 16
      for (int m = n + 1; m < kTileRows; ++m) {
        const Vec x = set1(a[m * kMaxChunk + i + n]);
        tile.v[m][0] = fma(x, tile.v[n][0], tile.v[m][0]);
        tile.v[m][1] = fma(x, tile.v[n][1], tile.v[m][1]);
      }
    }
    store_tile(tile, target, kMaxChunk);
  }
}

/// Row i of a chunk's T, zeros above the diagonal whatever the arithmetic left there.
template <class E>
void store_row(const SolveTril &p, const Block &chunk, int64_t head, int64_t i, const float *t) {
  E *to = p.T.at<E>(chunk.batch, chunk.begin + i, head);
  for_each_vec(p.chunk_size, [&](int64_t j, int64_t lanes) {
    const Vec row = set1(static_cast<float>(i));
    const Vec v = j > i ? zero() : select_gt(lane_numbers(j), row, zero(), load(t + j));
    store_strided(to + j * p.T.stride[3], p.T.stride[3], v, lanes);
  });
}

template <class E>
void run_chunk(const SolveTril &p, const Block &chunk, int64_t head) {
  alignas(64) float t[kMaxChunk * kMaxChunk];
  alignas(64) float a[kTileRows * kMaxChunk];
  for (int64_t i = 0; i < chunk.length; i += kTileRows) {
    std::memset(a, 0, sizeof a);
    const int64_t rows = chunk.length - i < kTileRows ? chunk.length - i : int64_t{kTileRows};
    for (int64_t m = 0; m < rows; ++m) {
      const float *from = p.A.at<const float>(chunk.batch, chunk.begin + i + m, head);
      for_each_vec(i + m, [&](int64_t j, int64_t lanes) {
        const Vec v = load_strided(from + j * p.A.stride[3], p.A.stride[3], lanes);
        store_n(a + m * kMaxChunk + j, zero() - v, lanes);
      });
    }
    solve_rows(i, a, t);
    for (int64_t m = 0; m < rows; ++m) {
      store_row<E>(p, chunk, head, i + m, t + (i + m) * kMaxChunk);
    }
  }
}

int64_t items(const SolveTril &p, int32_t) {
  return block_count(p.sequences, p.chunk_size) * p.heads.value_heads;
}

void run(const SolveTril &p, int32_t, int64_t first, int64_t last, void *) {
  const int64_t heads = p.heads.value_heads;
  with_element(p.T.dtype, [&](auto element) {
    for (int64_t i = first; i < last; ++i) {
      run_chunk<decltype(element)>(p, block_at(p.sequences, p.chunk_size, i / heads), i % heads);
    }
  });
}

}  // namespace

const Kernel<op::solve_tril> kernel::solve_tril = {items, run};

}  // namespace gdn::cpu::GDN_ISA
