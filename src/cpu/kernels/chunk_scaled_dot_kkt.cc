// A[i, j] = beta_i exp(c_i - c_j) (k_i . k_j) for i > j inside each chunk, else 0.
//
// Operations for a chunk of C tokens: C^2 DK multiply-adds (half of which the tiles skip) for each
// key head, C^2 / 2 exponentials for each value head.
// An item is a chunk of one key head: K K^T is computed once, in f32, for all of its value heads.
// Tiles: kTileColumns keys, turned into columns, against kTileRows rows of keys.

#include GDN_TILE

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/stage_tiles.h"
#include "cpu/kernels/strided.h"

namespace gdn::cpu::GDN_ISA {
namespace {

/// Columns [j, j + kTileColumns) of A for one value head, from the products of keys.
void store_scaled(const ChunkScaledDotKkt &p, const Block &chunk, int64_t head, int64_t j,
                  const float *products) {
  float beta[kMaxChunk];
  float c[kMaxChunk + kTileColumns] = {};
  gather_tokens(p.beta, chunk.batch, chunk.begin, head, chunk.length, 1.0F, beta);
  gather_tokens(p.g_cumsum, chunk.batch, chunk.begin, head, chunk.length, 0.0F, c);
  for (int64_t column = j; column < j + kTileColumns && column < p.chunk_size; column += kWidth) {
    const Vec numbers = lane_numbers(column);
    const Vec c_column = load(c + column);
    const int64_t lanes = p.chunk_size - column < kWidth ? p.chunk_size - column : int64_t{kWidth};
    for (int64_t i = 0; i < chunk.length; ++i) {
      Vec a = zero();
      if (i > column) {
        const Vec decay = exp(set1(c[i]) - c_column);
        const Vec product = load(products + i * kTileColumns + column - j);
        const Vec row = set1(static_cast<float>(i));
        a = select_gt(row, numbers, product * (set1(beta[i]) * decay), zero());
      }
      store_strided(p.A.at<float>(chunk.batch, chunk.begin + i, head, column), p.A.stride[3], a,
                    lanes);
    }
  }
}

template <class E>
void run_chunk(const ChunkScaledDotKkt &p, const Block &chunk, int64_t key_head) {
  const Rows<const E> k = token_rows<const E>(p.k, chunk.batch, chunk.begin, key_head);
  float rows[kTileRows * kMaxDim];
  float panel[kMaxDim * kTileColumns];
  float products[kMaxChunk * kTileColumns];
  for (int64_t j = 0; j < p.chunk_size; j += kTileColumns) {
    if (j < chunk.length) turn_panel(k.from(j), chunk.length - j, p.key_dim, panel);
    for (int64_t i = j / kTileRows * kTileRows; i < chunk.length; i += kTileRows) {
      widen_tile(k.from(i), chunk.length - i, p.key_dim, rows, kMaxDim);
      Tile<kTileRows> tile;
      clear(tile);
      mma<F32Operand>(tile, rows, kMaxDim, panel, kTileColumns, p.key_dim);
      store_tile(tile, products + i * kTileColumns, kTileColumns);
    }
    for (int64_t g = 0; g < p.heads.group(); ++g) {
      store_scaled(p, chunk, p.heads.value_head(key_head, g), j, products);
    }
  }
}

int64_t items(const ChunkScaledDotKkt &p, int32_t) {
  return block_count(p.sequences, p.chunk_size) * p.heads.key_heads;
}

void run(const ChunkScaledDotKkt &p, int32_t, int64_t first, int64_t last, void *) {
  with_element(p.k.dtype, [&](auto element) {
    for (int64_t i = first; i < last; ++i) {
      const Block chunk = block_at(p.sequences, p.chunk_size, i / p.heads.key_heads);
      run_chunk<decltype(element)>(p, chunk, i % p.heads.key_heads);
    }
  });
}

}  // namespace

const Kernel<op::chunk_scaled_dot_kkt> kernel::chunk_scaled_dot_kkt = {items, run};

}  // namespace gdn::cpu::GDN_ISA
