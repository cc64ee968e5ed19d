#include <vector>

#include "reference/access.h"
#include "reference/chunks.h"
#include "reference/operations.h"
#include "reference/parallel.h"

namespace gdn::reference {
namespace {

/// Forward substitution, row by row: T[i, :] = e_i - sum over j < i of A[i, j] T[j, :].
void run_chunk(const SolveTril &p, const Chunk &chunk, int64_t h) {
  const int64_t width = p.chunk_size;
  std::vector<double> inverse(static_cast<size_t>(chunk.length * width), 0.0);
  for (int64_t i = 0; i < chunk.length; ++i) {
    const int64_t t = chunk.begin + i;
    double *row = inverse.data() + i * width;
    for (int64_t j = 0; j < i; ++j) {
      const double a = load(p.A, p.A.offset(chunk.batch, t, h, j));
      for (int64_t c = 0; c <= j; ++c) row[c] -= a * inverse[static_cast<size_t>(j * width + c)];
    }
    row[i] = 1.0;
    store_row(p.T, p.T.offset(chunk.batch, t, h), p.T.stride[3], width, row);
  }
}

}  // namespace

void solve_tril(const SolveTril &p, int32_t threads) {
  const std::vector<Chunk> chunks = chunks_of(p);
  const int64_t heads = p.heads.value_heads;
  parallel_for(static_cast<int64_t>(chunks.size()) * heads, threads, [&](int64_t item) {
    run_chunk(p, chunks[static_cast<size_t>(item / heads)], item % heads);
  });
}

}  // namespace gdn::reference
