#include <cmath>

#include "reference/access.h"
#include "reference/chunks.h"
#include "reference/functions.h"
#include "reference/operations.h"
#include "reference/parallel.h"

namespace gdn::reference {
namespace {

/// A[i, j] = beta_i exp(c_i - c_j) (k_i . k_j) for j < i, else 0.
void run_chunk(const ChunkScaledDotKkt &p, const Chunk &chunk, int64_t h) {
  const int64_t b = chunk.batch;
  const std::vector<double> keys =
      load_tokens(p.k, b, chunk.begin, chunk.length, p.heads.key_head(h), p.key_dim);
  for (int64_t i = 0; i < chunk.length; ++i) {
    const int64_t ti = chunk.begin + i;
    for (int64_t j = 0; j < p.chunk_size; ++j) {
      double value = 0.0;
      if (j < i) {
        const int64_t tj = chunk.begin + j;
        value = dot(&keys[static_cast<size_t>(i * p.key_dim)],
                    &keys[static_cast<size_t>(j * p.key_dim)], p.key_dim) *
                load(p.beta, p.beta.offset(b, ti, h)) *
                std::exp(load_or(p.g_cumsum, p.g_cumsum.offset(b, ti, h), 0.0) -
                         load_or(p.g_cumsum, p.g_cumsum.offset(b, tj, h), 0.0));
      }
      store(p.A, p.A.offset(b, ti, h, j), value);
    }
  }
}

}  // namespace

void chunk_scaled_dot_kkt(const ChunkScaledDotKkt &p, int32_t threads) {
  const std::vector<Chunk> chunks = chunks_of(p);
  const int64_t heads = p.heads.value_heads;
  parallel_for(static_cast<int64_t>(chunks.size()) * heads, threads, [&](int64_t item) {
    run_chunk(p, chunks[static_cast<size_t>(item / heads)], item % heads);
  });
}

}  // namespace gdn::reference
