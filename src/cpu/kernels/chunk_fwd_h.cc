// The chain of states from chunk to chunk, S being the state before a chunk:
//   h = S,  v_new = u - w S,  S <- exp(c_last) S + sum_i exp(c_last - c_i) k_i v_new_i^T.
// The state and v_new stay in f32; what is stored as 16 bits is rounded on the way out alone.
//
// Operations for a chunk of C tokens: 2 C DK DV multiply-adds for each value head; memory: k, w, u
// read, v_new and h written; h is DK DV a chunk and dominates below C = 2 DK.
// An item is kTileColumns columns of one value head's state through a whole sequence: [DK][columns]
// f32 stays in the first- and second-level cache.

#include GDN_TILE

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/stage_tiles.h"
#include "cpu/kernels/state_panels.h"

namespace gdn::cpu::GDN_ISA {
namespace {

constexpr int64_t kDepth = 64;  ///< Keys' elements that are widened at a time.
static_assert(kDepth % kTileRows == 0);

/// Where an item works.
struct Part {
  int64_t head;
  int64_t column;
  int64_t columns;
};

/// v_new of one chunk; `written` becomes [tokens][kTileColumns], exp(c_last - c_i) v_new_i in f32.
template <class E>
void subtract_state(const ChunkFwdH &p, const Block &chunk, const Part &part, const float *state,
                    const float *to_last, float *written) {
  const Rows<const E> w = token_rows<const E>(p.w, chunk.batch, chunk.begin, part.head);
  const Rows<const E> u = token_rows<const E>(p.u, chunk.batch, chunk.begin, part.head);
  const Rows<E> v_new = token_rows<E>(p.v_new, chunk.batch, chunk.begin, part.head);
  alignas(64) float rows[kTileRows * kMaxDim];
  widen_panel(u, part.column, part.columns, chunk.length, nullptr, written);
  for (int64_t i = 0; i < chunk.length; i += kTileRows) {
    widen_tile(w.from(i), chunk.length - i, p.key_dim, rows, kMaxDim);
    Tile<kTileRows> tile;
    clear(tile);
    mma<F32Operand>(tile, rows, kMaxDim, state, kTileColumns, p.key_dim);
    for (int64_t m = 0; m < kTileRows; ++m) {
      if (i + m >= chunk.length) break;
      float *row = written + (i + m) * kTileColumns;
      const Vec decay = set1(to_last[i + m]);
      tile.v[m][0] = load(row) - tile.v[m][0];
      tile.v[m][1] = load(row + kWidth) - tile.v[m][1];
      store(row, decay * tile.v[m][0]);
      store(row + kWidth, decay * tile.v[m][1]);
    }
    store_rows(tile, chunk.length - i, part.columns, v_new.from(i), part.column);
  }
}

/// S <- decay S + K^T written.
template <class E>
void add_keys(const ChunkFwdH &p, const Block &chunk, const Part &part, float decay,
              const float *written, float *state) {
  const Rows<const E> k =
      token_rows<const E>(p.k, chunk.batch, chunk.begin, p.heads.key_head(part.head));
  alignas(64) float keys[kMaxChunk * kDepth];
  for (int64_t d = 0; d < p.key_dim; d += kDepth) {
    const int64_t depth = p.key_dim - d < kDepth ? p.key_dim - d : kDepth;
    for (int64_t i = 0; i < chunk.length; ++i) {
      widen_row(k.row(i) + d, depth, kDepth, keys + i * kDepth);
    }
    for (int64_t e = 0; e < depth; e += kTileRows) {
      float *rows = state + (d + e) * kTileColumns;
      Tile<kTileRows> tile;
      load_tile(tile, rows, kTileColumns);
      for (int64_t m = 0; m < kTileRows; ++m) {
        tile.v[m][0] = tile.v[m][0] * set1(decay);
        tile.v[m][1] = tile.v[m][1] * set1(decay);
      }
      // The keys as A operand, turned: row e + m is a column of `keys`.
      for (int64_t i = 0; i < chunk.length; ++i) {
        F32Operand::step(tile, keys + i * kDepth + e, 1, written + i * kTileColumns);
      }
      store_tile(tile, rows, kTileColumns);
    }
  }
}

template <class E>
void run_chunk(const ChunkFwdH &p, const Block &chunk, const Part &part, float *state) {
  alignas(64) float written[kMaxChunk * kTileColumns];
  float to_last[kMaxChunk];
  gather_tokens(p.g_cumsum, chunk.batch, chunk.begin, part.head, chunk.length, 0.0F, to_last);
  const float last = to_last[chunk.length - 1];
  for (int64_t i = 0; i < chunk.length; ++i) to_last[i] = last - to_last[i];
  exp_tokens(to_last, to_last);
  subtract_state<E>(p, chunk, part, state, to_last, written);
  add_keys<E>(p, chunk, part, exp(last), written, state);
}

template <class E>
void run_item(const ChunkFwdH &p, int64_t sequence, int64_t first_chunk, const Part &part) {
  alignas(64) float state[kMaxDim * kTileColumns];
  load_panel(p.initial_state, sequence, part.head, part.column, p.key_dim, state);
  const SequenceSpan span = p.sequences.span(sequence);
  for (int64_t t = 0; t < span.length; t += p.chunk_size) {
    const int64_t rest = span.length - t;
    const Block chunk = {sequence, span.batch, span.begin + t,
                         rest < p.chunk_size ? rest : p.chunk_size, t == 0};
    store_panel(p.h, first_chunk + t / p.chunk_size, part.head, part.column, state);
    run_chunk<E>(p, chunk, part, state);
  }
  store_panel(p.final_state, sequence, part.head, part.column, state);
}

int64_t column_blocks(const ChunkFwdH &p) { return divide_up(p.value_dim, kTileColumns); }

int64_t items(const ChunkFwdH &p, int32_t) {
  return p.sequences.count * p.heads.value_heads * column_blocks(p);
}

void run(const ChunkFwdH &p, int32_t, int64_t first, int64_t last, void *) {
  const int64_t blocks = column_blocks(p);
  ChunkNumbers numbers(p.sequences, p.chunk_size);
  with_element(p.k.dtype, [&](auto element) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t sequence = i / blocks / p.heads.value_heads;
      const int64_t column = i % blocks * kTileColumns;
      const int64_t rest = p.value_dim - column;
      const Part part = {i / blocks % p.heads.value_heads, column,
                         rest < kTileColumns ? rest : int64_t{kTileColumns}};
      run_item<decltype(element)>(p, sequence, numbers.first_of(sequence), part);
    }
  });
}

}  // namespace

const Kernel<op::chunk_fwd_h> kernel::chunk_fwd_h = {items, run};

}  // namespace gdn::cpu::GDN_ISA
