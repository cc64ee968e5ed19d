// o = scale (diag(exp(c)) q S + tril(q k^T exp(c_i - c_j)) v_new) for each chunk, S being the state
// before it.
//
// Operations for a chunk of C tokens: C DK DV + C^2 / 2 DV multiply-adds for each value head and
// C^2 / 2 DK for each key head; memory: q, k, v_new and h read, o written; h is DK DV a chunk and
// dominates below C = 2 DK.
// An item is a chunk of one key head: Q K^T is computed once, in f32, for all of its value heads.
// Rows go in bands whose triangles take 16 KB; a band meets kTileColumns columns of the state and
// of v_new at a time, kTileRows rows against them.

#include GDN_TILE

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/stage_tiles.h"
#include "cpu/kernels/state_panels.h"

namespace gdn::cpu::GDN_ISA {
namespace {

constexpr int64_t kBandElements = 4096;

/// Rows [begin, end) of one chunk; triangles have `stride` columns.
struct Band {
  int64_t begin;
  int64_t end;
  int64_t stride;
};

/// Q K^T for the rows of a band, up to the diagonal.
template <class E>
void multiply_keys(const ChunkFwdO &p, const Block &chunk, int64_t key_head, const Band &band,
                   float *products) {
  const Rows<const E> q = token_rows<const E>(p.q, chunk.batch, chunk.begin, key_head);
  const Rows<const E> k = token_rows<const E>(p.k, chunk.batch, chunk.begin, key_head);
  alignas(64) float rows[kTileRows * kMaxDim];
  alignas(64) float panel[kMaxDim * kTileColumns];
  for (int64_t j = 0; j < band.end; j += kTileColumns) {
    turn_panel(k.from(j), chunk.length - j, p.key_dim, panel);
    for (int64_t i = band.begin; i < band.end; i += kTileRows) {
      if (i + kTileRows <= j) continue;
      widen_tile(q.from(i), chunk.length - i, p.key_dim, rows, kMaxDim);
      Tile<kTileRows> tile;
      clear(tile);
      mma<F32Operand>(tile, rows, kMaxDim, panel, kTileColumns, p.key_dim);
      store_tile(tile, products + (i - band.begin) * band.stride + j, band.stride);
    }
  }
}

/// The triangle of one value head: products times exp(c_i - c_j) for j <= i, else 0.
void decay_products(const Band &band, const float *c, const float *products, float *triangle) {
  for (int64_t i = band.begin; i < band.end; ++i) {
    const Vec row = set1(static_cast<float>(i));
    const int64_t offset = (i - band.begin) * band.stride;
    // A tile of rows reads as many columns as its last row has.
    for (int64_t j = 0; j < (i / kTileRows + 1) * kTileRows; j += kWidth) {
      const Vec decayed = load(products + offset + j) * exp(set1(c[i]) - load(c + j));
      store(triangle + offset + j, select_gt(lane_numbers(j), row, zero(), decayed));
    }
  }
}

/// o of one value head and band.
template <class E>
void run_head(const ChunkFwdO &p, const Block &chunk, int64_t chunk_number, int64_t head,
              const Band &band, const float *products) {
  alignas(64) float triangle[kBandElements];
  alignas(64) float rows[kTileRows * kMaxDim];
  alignas(64) float state[kMaxDim * kTileColumns];
  alignas(64) float v[kMaxChunk * kTileColumns];
  float c[kMaxChunk];
  float from_start[kMaxChunk];
  gather_tokens(p.g_cumsum, chunk.batch, chunk.begin, head, chunk.length, 0.0F, c);
  exp_tokens(c, from_start);
  decay_products(band, c, products, triangle);

  const int64_t key_head = p.heads.key_head(head);
  const Rows<const E> q = token_rows<const E>(p.q, chunk.batch, chunk.begin, key_head);
  const Rows<const E> v_new = token_rows<const E>(p.v_new, chunk.batch, chunk.begin, head);
  const Rows<E> o = token_rows<E>(p.o, chunk.batch, chunk.begin, head);
  const Vec scale = set1(p.scale);
  for (int64_t column = 0; column < p.value_dim; column += kTileColumns) {
    const int64_t rest = p.value_dim - column;
    const int64_t columns = rest < kTileColumns ? rest : int64_t{kTileColumns};
    const int64_t tokens = band.end < chunk.length ? band.end : chunk.length;
    load_panel(p.h, chunk_number, head, column, p.key_dim, state);
    widen_panel(v_new, column, columns, tokens, nullptr, v);
    for (int64_t i = band.begin; i < tokens; i += kTileRows) {
      widen_tile(q.from(i), chunk.length - i, p.key_dim, rows, kMaxDim);
      Tile<kTileRows> tile;
      clear(tile);
      mma<F32Operand>(tile, rows, kMaxDim, state, kTileColumns, p.key_dim);
      for (int64_t m = 0; m < kTileRows; ++m) {
        const Vec decay = set1(from_start[i + m]);
        tile.v[m][0] = tile.v[m][0] * decay;
        tile.v[m][1] = tile.v[m][1] * decay;
      }
      mma<F32Operand>(tile, triangle + (i - band.begin) * band.stride, band.stride, v, kTileColumns,
                      i + kTileRows < tokens ? i + kTileRows : tokens);
      for (int64_t m = 0; m < kTileRows; ++m) {
        tile.v[m][0] = tile.v[m][0] * scale;
        tile.v[m][1] = tile.v[m][1] * scale;
      }
      store_rows(tile, chunk.length - i, columns, o.from(i), column);
    }
  }
}

template <class E>
void run_chunk(const ChunkFwdO &p, const Block &chunk, int64_t chunk_number, int64_t key_head) {
  alignas(64) float products[kBandElements];
  // Triangles are as wide as whole tiles.
  const int64_t stride = divide_up(p.chunk_size, kTileColumns) * kTileColumns;
  const int64_t band_rows = kBandElements / stride;
  for (int64_t i = 0; i < chunk.length; i += band_rows) {
    const int64_t rest = divide_up(chunk.length - i, kTileRows) * kTileRows;
    const Band band = {i, i + (rest < band_rows ? rest : band_rows), stride};
    multiply_keys<E>(p, chunk, key_head, band, products);
    for (int64_t g = 0; g < p.heads.group(); ++g) {
      run_head<E>(p, chunk, chunk_number, p.heads.value_head(key_head, g), band, products);
    }
  }
}

int64_t items(const ChunkFwdO &p, int32_t) {
  return block_count(p.sequences, p.chunk_size) * p.heads.key_heads;
}

void run(const ChunkFwdO &p, int32_t, int64_t first, int64_t last, void *) {
  const int64_t heads = p.heads.key_heads;
  ChunkNumbers numbers(p.sequences, p.chunk_size);
  with_element(p.q.dtype, [&](auto element) {
    for (int64_t i = first; i < last; ++i) {
      const Block chunk = block_at(p.sequences, p.chunk_size, i / heads);
      if (chunk.length == 0) continue;
      const int64_t within = chunk.begin - p.sequences.span(chunk.sequence).begin;
      const int64_t number = numbers.first_of(chunk.sequence) + within / p.chunk_size;
      run_chunk<decltype(element)>(p, chunk, number, i % heads);
    }
  });
}

}  // namespace

const Kernel<op::chunk_fwd_o> kernel::chunk_fwd_o = {items, run};

}  // namespace gdn::cpu::GDN_ISA
