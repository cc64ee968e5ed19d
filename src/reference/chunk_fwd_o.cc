#include <cmath>
#include <vector>

#include "reference/access.h"
#include "reference/chunks.h"
#include "reference/operations.h"
#include "reference/parallel.h"

namespace gdn::reference {
namespace {

/// o_i = scale (exp(c_i) S^T q_i + sum over j <= i of exp(c_i - c_j) (q_i . k_j) v_new_j).
void run_chunk(const ChunkFwdO &p, const Chunk &chunk, int64_t h) {
  const int64_t b = chunk.batch;
  const int64_t hk = p.heads.key_head(h);
  const auto dk = static_cast<size_t>(p.key_dim);
  const auto dv = static_cast<size_t>(p.value_dim);
  const auto cumsum = [&](int64_t t) {
    return load_or(p.g_cumsum, p.g_cumsum.offset(b, t, h), 0.0);
  };
  std::vector<double> state(dk * dv);
  load_state(p.h, chunk.index, h, p.key_dim, p.value_dim, state.data());
  std::vector<double> q(dk);
  std::vector<double> k(dk);
  std::vector<double> v(dv);
  std::vector<double> o(dv);
  for (int64_t i = 0; i < chunk.length; ++i) {
    const int64_t ti = chunk.begin + i;
    load_row(p.q, p.q.offset(b, ti, hk), p.q.stride[3], p.key_dim, q.data());
    o.assign(dv, 0.0);
    for (size_t r = 0; r < dk; ++r) {
      for (size_t c = 0; c < dv; ++c) o[c] += q[r] * state[r * dv + c];
    }
    for (double &e : o) e *= std::exp(cumsum(ti));
    for (int64_t j = 0; j <= i; ++j) {
      const int64_t tj = chunk.begin + j;
      load_row(p.k, p.k.offset(b, tj, hk), p.k.stride[3], p.key_dim, k.data());
      load_row(p.v_new, p.v_new.offset(b, tj, h), p.v_new.stride[3], p.value_dim, v.data());
      double dot = 0.0;
      for (size_t r = 0; r < dk; ++r) dot += q[r] * k[r];
      dot *= std::exp(cumsum(ti) - cumsum(tj));
      for (size_t c = 0; c < dv; ++c) o[c] += dot * v[c];
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
