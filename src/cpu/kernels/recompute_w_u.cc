// w = T diag(beta exp(c)) k and u = T diag(beta) v inside each chunk.
//
// Operations for a chunk of C tokens: C^2 / 2 (DK + DV) multiply-adds for each value head, in f32;
// memory: T, k and v read, w and u written.
// An item is a chunk of one value head. Tiles: kTileColumns columns of the scaled k or v, which
// stay in the first-level cache, under kTileRows rows of T up to the diagonal.

#include GDN_TILE

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/stage_tiles.h"
#include "cpu/kernels/strided.h"

namespace gdn::cpu::GDN_ISA {
namespace {

/// The lower triangle of T as f32, [tokens up to whole tiles][kMaxChunk], zeros elsewhere.
template <class E>
void widen_triangle(const RecomputeWU &p, const Block &chunk, int64_t head, float *t) {
  for (int64_t i = 0; i < chunk.length || i % kTileRows != 0; ++i) {
    float *to = t + i * kMaxChunk;
    std::memset(to, 0, kMaxChunk * sizeof(float));
    if (i >= chunk.length) continue;
    const E *from = p.T.at<const E>(chunk.batch, chunk.begin + i, head);
    for_each_vec(i + 1, [&](int64_t j, int64_t lanes) {
      store_n(to + j, load_strided(from + j * p.T.stride[3], p.T.stride[3], lanes), lanes);
    });
  }
}

/// y = T diag(factor) x for n tokens of `width` columns.
template <class E>
void multiply(const float *t, const float *factor, Rows<const E> x, int64_t n, int64_t width,
              Rows<E> y) {
  alignas(64) float panel[kMaxChunk * kTileColumns];
  for (int64_t column = 0; column < width; column += kTileColumns) {
    const int64_t columns = width - column < kTileColumns ? width - column : int64_t{kTileColumns};
    widen_panel(x, column, columns, n, factor, panel);
    for (int64_t i = 0; i < n; i += kTileRows) {
      Tile<kTileRows> tile;
      clear(tile);
      mma<F32Operand>(tile, t + i * kMaxChunk, kMaxChunk, panel, kTileColumns,
                      i + kTileRows < n ? i + kTileRows : n);
      store_rows(tile, n - i, columns, y.from(i), column);
    }
  }
}

template <class E>
void run_chunk(const RecomputeWU &p, const Block &chunk, int64_t head) {
  alignas(64) float t[kMaxChunk * kMaxChunk];
  float factor[kMaxChunk];
  float decay[kMaxChunk];
  if (p.T.dtype == DType::f32) {
    widen_triangle<float>(p, chunk, head, t);
  } else {
    widen_triangle<E>(p, chunk, head, t);
  }
  const int64_t b = chunk.batch;
  const int64_t key_head = p.heads.key_head(head);
  gather_tokens(p.beta, b, chunk.begin, head, chunk.length, 1.0F, factor);
  multiply(t, factor, token_rows<const E>(p.v, b, chunk.begin, head), chunk.length, p.value_dim,
           token_rows<E>(p.u, b, chunk.begin, head));
  gather_tokens(p.g_cumsum, b, chunk.begin, head, chunk.length, 0.0F, decay);
  exp_tokens(decay, decay);
  for (int64_t i = 0; i < kMaxChunk; ++i) factor[i] *= decay[i];
  multiply(t, factor, token_rows<const E>(p.k, b, chunk.begin, key_head), chunk.length, p.key_dim,
           token_rows<E>(p.w, b, chunk.begin, head));
}

int64_t items(const RecomputeWU &p, int32_t) {
  return block_count(p.sequences, p.chunk_size) * p.heads.value_heads;
}

void run(const RecomputeWU &p, int32_t, int64_t first, int64_t last, void *) {
  const int64_t heads = p.heads.value_heads;
  with_element(p.k.dtype, [&](auto element) {
    for (int64_t i = first; i < last; ++i) {
      run_chunk<decltype(element)>(p, block_at(p.sequences, p.chunk_size, i / heads), i % heads);
    }
  });
}

}  // namespace

const Kernel<op::recompute_w_u> kernel::recompute_w_u = {items, run};

}  // namespace gdn::cpu::GDN_ISA
