#include <cmath>
#include <vector>

#include "reference/access.h"
#include "reference/chunks.h"
#include "reference/functions.h"
#include "reference/operations.h"
#include "reference/parallel.h"

namespace gdn::reference {
namespace {

/// v_new = u - w S;  S <- exp(c_last) S + sum over i of exp(c_last - c_i) k_i v_new_i^T.
void run_chunk(const ChunkFwdH &p, const Chunk &chunk, int64_t h, std::vector<double> *state) {
  const int64_t b = chunk.batch;
  const int64_t hk = p.heads.key_head(h);
  const auto dk = static_cast<size_t>(p.key_dim);
  const auto dv = static_cast<size_t>(p.value_dim);
  const auto cumsum = [&](int64_t t) {
    return load_or(p.g_cumsum, p.g_cumsum.offset(b, t, h), 0.0);
  };
  const double c_last = cumsum(chunk.begin + chunk.length - 1);
  store_state(p.h, chunk.index, h, p.key_dim, p.value_dim, state->data());

  std::vector<double> next(*state);
  const double whole = std::exp(c_last);
  for (double &e : next) e *= whole;
  std::vector<double> w(dk);
  std::vector<double> k(dk);
  std::vector<double> v_new(dv);
  for (int64_t t = chunk.begin; t < chunk.begin + chunk.length; ++t) {
    load_row(p.w, p.w.offset(b, t, h), p.w.stride[3], p.key_dim, w.data());
    load_row(p.k, p.k.offset(b, t, hk), p.k.stride[3], p.key_dim, k.data());
    load_row(p.u, p.u.offset(b, t, h), p.u.stride[3], p.value_dim, v_new.data());
    const double decay = std::exp(c_last - cumsum(t));
    for (size_t r = 0; r < dk; ++r) {
      add_scaled(-w[r], &(*state)[r * dv], p.value_dim, v_new.data());
    }
    for (size_t r = 0; r < dk; ++r) {
      add_scaled(decay * k[r], v_new.data(), p.value_dim, &next[r * dv]);
    }
    store_row(p.v_new, p.v_new.offset(b, t, h), p.v_new.stride[3], p.value_dim, v_new.data());
  }
  state->swap(next);
}

}  // namespace

void chunk_fwd_h(const ChunkFwdH &p, int32_t threads) {
  const std::vector<Chunk> chunks = chunks_of(p);
  parallel_for(p.sequences.count * p.heads.value_heads, threads, [&](int64_t item) {
    const int64_t n = item / p.heads.value_heads;
    const int64_t h = item % p.heads.value_heads;
    std::vector<double> state(static_cast<size_t>(p.key_dim * p.value_dim), 0.0);
    if (p.initial_state.present()) {
      load_state(p.initial_state, n, h, p.key_dim, p.value_dim, state.data());
    }
    for (const Chunk &chunk : chunks) {
      if (chunk.sequence == n) run_chunk(p, chunk, h, &state);
    }
    if (p.final_state.present()) {
      store_state(p.final_state, n, h, p.key_dim, p.value_dim, state.data());
    }
  });
}

}  // namespace gdn::reference
