#include <cmath>
#include <vector>

#include "reference/access.h"
#include "reference/chunks.h"
#include "reference/functions.h"
#include "reference/operations.h"
#include "reference/parallel.h"

namespace gdn::reference {
namespace {

/// Row i of w is sum over j <= i of T[i, j] beta_j exp(c_j) k_j; of u the same without exp, with v.
void run_chunk(const RecomputeWU &p, const Chunk &chunk, int64_t h) {
  const int64_t b = chunk.batch;
  const std::vector<double> keys =
      load_tokens(p.k, b, chunk.begin, chunk.length, p.heads.key_head(h), p.key_dim);
  const std::vector<double> values = load_tokens(p.v, b, chunk.begin, chunk.length, h, p.value_dim);
  std::vector<double> w(static_cast<size_t>(p.key_dim));
  std::vector<double> u(static_cast<size_t>(p.value_dim));
  for (int64_t i = 0; i < chunk.length; ++i) {
    const int64_t ti = chunk.begin + i;
    w.assign(w.size(), 0.0);
    u.assign(u.size(), 0.0);
    for (int64_t j = 0; j <= i; ++j) {
      const int64_t tj = chunk.begin + j;
      const double factor =
          load(p.T, p.T.offset(b, ti, h, j)) * load(p.beta, p.beta.offset(b, tj, h));
      const double decay = std::exp(load_or(p.g_cumsum, p.g_cumsum.offset(b, tj, h), 0.0));
      add_scaled(factor * decay, &keys[static_cast<size_t>(j * p.key_dim)], p.key_dim, w.data());
      add_scaled(factor, &values[static_cast<size_t>(j * p.value_dim)], p.value_dim, u.data());
    }
    store_row(p.w, p.w.offset(b, ti, h), p.w.stride[3], p.key_dim, w.data());
    store_row(p.u, p.u.offset(b, ti, h), p.u.stride[3], p.value_dim, u.data());
  }
}

}  // namespace

void recompute_w_u(const RecomputeWU &p, int32_t threads) {
  const std::vector<Chunk> chunks = chunks_of(p);
  const int64_t heads = p.heads.value_heads;
  parallel_for(static_cast<int64_t>(chunks.size()) * heads, threads, [&](int64_t item) {
    run_chunk(p, chunks[static_cast<size_t>(item / heads)], item % heads);
  });
}

}  // namespace gdn::reference
