#include <cmath>
#include <vector>

#include "reference/access.h"
#include "reference/chunks.h"
#include "reference/functions.h"
#include "reference/operations.h"
#include "reference/parallel.h"

namespace gdn::reference {
namespace {

/// o_i = scale (exp(c_i) S^T q_i + sum over j <= i of exp(c_i - c_j) (q_i . k_j) v_new_j).
void run_chunk(const ChunkFwdO &p, const Chunk &chunk, int64_t h) {
  const int64_t b = chunk.batch;
  const int64_t hk = p.heads.key_head(h);
  const auto cumsum = [&](int64_t t) {
    return load_or(p.g_cumsum, p.g_cumsum.offset(b, t, h), 0.0);
  };
  std::vector<double> state(static_cast<size_t>(p.key_dim * p.value_dim));
  load_state(p.h, chunk.index, h, p.key_dim, p.value_dim, state.data());
  const std::vector<double> queries = load_tokens(p.q, b, chunk.begin, chunk.length, hk, p.key_dim);
  const std::vector<double> keys = load_tokens(p.k, b, chunk.begin, chunk.length, hk, p.key_dim);
  const std::vector<double> values =
      load_tokens(p.v_new, b, chunk.begin, chunk.length, h, p.value_dim);
  std::vector<double> o(static_cast<size_t>(p.value_dim));
  for (int64_t i = 0; i < chunk.length; ++i) {
    const int64_t ti = chunk.begin + i;
    const double *q = &queries[static_cast<size_t>(i * p.key_dim)];
    o.assign(o.size(), 0.0);
    for (int64_t r = 0; r < p.key_dim; ++r) {
      add_scaled(q[r], &state[static_cast<size_t>(r * p.value_dim)], p.value_dim, o.data());
    }
    for (double &e : o) e *= std::exp(cumsum(ti));
    for (int64_t j = 0; j <= i; ++j) {
      const double product = dot(q, &keys[static_cast<size_t>(j * p.key_dim)], p.key_dim);
      add_scaled(product * std::exp(cumsum(ti) - cumsum(chunk.begin + j)),
                 &values[static_cast<size_t>(j * p.value_dim)], p.value_dim, o.data());
    }
    for (double &e : o) e *= p.scale;
    store_row(p.o, p.o.offset(b, ti, h), p.o.stride[3], p.value_dim, o.data());
  }
}

}  // namespace

void chunk_fwd_o(const ChunkFwdO &p, int32_t threads) {
  const std::vector<Chunk> chunks = chunks_of(p);
  const int64_t heads = p.heads.value_heads;
  parallel_for(static_cast<int64_t>(chunks.size()) * heads, threads, [&](int64_t item) {
    run_chunk(p, chunks[static_cast<size_t>(item / heads)], item % heads);
  });
}

}  // namespace gdn::reference
