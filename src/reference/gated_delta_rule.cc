#include <cmath>
#include <vector>

#include "reference/access.h"
#include "reference/functions.h"
#include "reference/gated_delta_rule.h"
#include "reference/operations.h"
#include "reference/parallel.h"

namespace gdn::reference {
namespace {

constexpr double kL2NormEps = 1e-6;

void load_token(const DeltaRule &p, int64_t b, int64_t t, int64_t h, Token *token) {
  const int64_t hk = p.heads.key_head(h);
  load_row(p.q, p.q.offset(b, t, hk), p.q.stride[3], p.key_dim, token->q.data());
  load_row(p.k, p.k.offset(b, t, hk), p.k.stride[3], p.key_dim, token->k.data());
  load_row(p.v, p.v.offset(b, t, h), p.v.stride[3], p.value_dim, token->v.data());
  finish_token(p, b, t, h, token);
}

/// S <- exp(g) S;  v' = beta (v - S^T k);  S <- S + k v'^T;  o = S^T q.
void step(const Token &token, int64_t key_dim, int64_t value_dim, double *state, double *predicted,
          double *o) {
  for (int64_t c = 0; c < value_dim; ++c) predicted[c] = o[c] = 0.0;
  for (int64_t r = 0; r < key_dim; ++r) {
    double *row = state + r * value_dim;
    const double k = token.k[static_cast<size_t>(r)];
    for (int64_t c = 0; c < value_dim; ++c) {
      row[c] *= token.decay;
      predicted[c] += row[c] * k;
    }
  }
  for (int64_t c = 0; c < value_dim; ++c) {
    predicted[c] = token.beta * (token.v[static_cast<size_t>(c)] - predicted[c]);
  }
  for (int64_t r = 0; r < key_dim; ++r) {
    double *row = state + r * value_dim;
    const double k = token.k[static_cast<size_t>(r)];
    const double q = token.q[static_cast<size_t>(r)];
    for (int64_t c = 0; c < value_dim; ++c) {
      row[c] += k * predicted[c];
      o[c] += row[c] * q;
    }
  }
}

/// Writes the state after token i of sequence n wherever somebody wants it.
void store_states(const DeltaRule &p, int64_t n, int64_t i, int64_t h, int64_t first_checkpoint,
                  const double *state) {
  const auto store = [&](const Tensor &to, int64_t entry) {
    if (entry >= 0) store_state(to, entry, h, p.key_dim, p.value_dim, state);
  };
  if (p.slot_per_token()) store(p.final_state, p.token_slot(n, i));
  if (p.checkpoint_every == 0) return;
  const int64_t passed = p.phase(n, p.checkpoint_every) + i + 1;
  if (passed % p.checkpoint_every != 0) return;
  const int64_t j = passed / p.checkpoint_every - 1;
  if (p.checkpoint_indices.present) {
    store(p.final_state, p.checkpoint_slot(n, j));
  } else {
    store(p.checkpoints, first_checkpoint + j);
  }
}

}  // namespace

void finish_token(const DeltaRule &p, int64_t b, int64_t t, int64_t h, Token *token) {
  if (p.qk_l2norm) {
    for (std::vector<double> *x : {&token->q, &token->k}) {
      const double norm = std::sqrt(sum_of_squares(x->data(), p.key_dim) + kL2NormEps);
      for (double &e : *x) e /= norm;
    }
  }
  double g = load_or(p.g, p.g.offset(b, t, h), 0.0);
  if (p.gate) {
    g = decay_of_gate(g, load(p.A_log, p.A_log.offset(h)),
                      load_or(p.dt_bias, p.dt_bias.offset(h), 0.0));
  }
  token->decay = std::exp(g);
  token->beta = load_or(p.beta, p.beta.offset(b, t, h), 1.0);
  if (p.beta_sigmoid) token->beta = sigmoid(token->beta);
  if (p.allow_neg_eigval) token->beta *= 2.0;
}

void run_head(const DeltaRule &p, int64_t n, int64_t h, int64_t first_checkpoint,
              const HeadTokens &tokens) {
  const auto dk = static_cast<size_t>(p.key_dim);
  const auto dv = static_cast<size_t>(p.value_dim);
  const int64_t length = p.sequences.span(n).length;
  std::vector<double> state(dk * dv, 0.0);
  std::vector<double> predicted(dv);
  std::vector<double> o(dv);
  Token token;
  token.q.resize(dk);
  token.k.resize(dk);
  token.v.resize(dv);
  if (p.reads_state(n)) {
    load_state(p.initial_state, p.initial_slot(n), h, p.key_dim, p.value_dim, state.data());
  }
  for (int64_t i = 0; i < length; ++i) {
    tokens.load(i, &token);
    step(token, p.key_dim, p.value_dim, state.data(), predicted.data(), o.data());
    for (double &e : o) e *= p.scale;
    tokens.put(i, o);
    if (p.round_states) {
      for (double &e : state) e = rounded(p.final_state.dtype, e);
    }
    store_states(p, n, i, h, first_checkpoint, state.data());
  }
  if (p.slot_per_token()) return;
  const int64_t to = p.final_slot(n);
  if (to >= 0) store_state(p.final_state, to, h, p.key_dim, p.value_dim, state.data());
}

void gated_delta_rule(const DeltaRule &p, int32_t threads) {
  std::vector<int64_t> first_checkpoint(static_cast<size_t>(p.sequences.count) + 1, 0);
  for (int64_t n = 0; p.checkpoint_every > 0 && n < p.sequences.count; ++n) {
    const auto i = static_cast<size_t>(n);
    first_checkpoint[i + 1] =
        first_checkpoint[i] + p.checkpoint_count(n, p.sequences.span(n).length);
  }
  parallel_for(p.sequences.count * p.heads.value_heads, threads, [&](int64_t item) {
    const int64_t n = item / p.heads.value_heads;
    const int64_t h = item % p.heads.value_heads;
    const SequenceSpan span = p.sequences.span(n);
    const auto put = [&](int64_t i, const std::vector<double> &o) {
      const int64_t to = p.o.offset(span.batch, span.begin + i, h);
      store_row(p.o, to, p.o.stride[3], p.value_dim, o.data());
    };
    if (p.initial_slot(n) < 0) {
      const std::vector<double> zeros(static_cast<size_t>(p.value_dim), 0.0);
      for (int64_t i = 0; i < span.length; ++i) put(i, zeros);
      return;
    }
    const auto load = [&](int64_t i, Token *token) {
      load_token(p, span.batch, span.begin + i, h, token);
    };
    run_head(p, n, h, first_checkpoint[static_cast<size_t>(n)], {load, put});
  });
}

}  // namespace gdn::reference
