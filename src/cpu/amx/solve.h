#ifndef GDN_CPU_AMX_SOLVE_H_
#define GDN_CPU_AMX_SOLVE_H_

// The matrices of a step and value head, from K K^T, Q K^T and the gates, for i >= j:
//
//     A[i,j] = beta_i exp(c_i - c_j) (k_i . k_j) / (|k_i| |k_j|),  A[i,i] = 0
//     P[i,j] = scale exp(c_i - c_j) (q_i . k_j) / (|q_i| |k_j|)
//     T      = (I + A)^-1 of each block of 32 tokens
//
// T by forward substitution in f32: two tiles of 16 (120 multiply-adds of 16 lanes each), then
// T21 = -T22 A21 T11 (256 + 136). Off the diagonal the decay is exp(c_i - c_ref) exp(c_ref - c_j)
// with ref between the two, both factors at most 1; in diagonal tiles it is the exponential of the
// difference.
//
// All are kept as a high and a low bf16 part. With T rounded to one, a key repeated under beta = 1
// and no decay gives errors of the same sign in all tokens, 4e-2 in the state.

#include "cpu/amx/layout.h"
#include "cpu/amx/pairs.h"

namespace gdn::cpu::amx {
namespace {

/// Rows of (I - N)^-1 for the strictly lower 16 x 16 matrix N.
[[gnu::always_inline]] inline void invert(const FloatTile &n, Vec (&t)[kHalf]) {
#pragma GCC unroll 16
  for (int i = 0; i < kHalf; ++i) {
    t[i] = _mm512_maskz_mov_ps(static_cast<__mmask16>(1U << i), set1(1.0F));
  }
#pragma GCC unroll 16
  for (int j = 0; j < kHalf - 1; ++j) {
#pragma GCC unroll 16
    for (int i = j + 1; i < kHalf; ++i) t[i] = fma(set1(n.row[i][j]), t[j], t[i]);
  }
}

/// The diagonal tiles of a block: -A to w.n, and P. Its left half 0 goes to `p`; half 1 waits in
/// w.p22 for the tile beside it.
[[gnu::always_inline]] inline void decay_diagonal(const KeyBlock &key, const GateBlock &g,
                                                  int block, int h) {
  const int first = block * kBlock + h * kHalf;
  const FloatTile &kk = key.kk->block[block].diagonal[h];
  const FloatTile &qk = key.qk->block[block].diagonal[h];
  SplitOperand &p = g.p[block];
  const Vec c = load(g.c + first);
  const Vec norm = load(key.k_norm + first);
  for (int i = 0; i < kHalf; ++i) {
    const int row = first + i;
    const __mmask16 below = static_cast<__mmask16>((1U << i) - 1);
    const __mmask16 up_to = static_cast<__mmask16>((2U << i) - 1);
    const Vec decay = norm * exp(set1(g.c[row]) - c);
    const Vec a = set1(-g.beta[row] * key.k_norm[row]) * decay * load(kk.row[i]);
    store(g.scratch->n[h].row[i], _mm512_maskz_mov_ps(below, a));
    const Vec y = _mm512_maskz_mov_ps(up_to, set1(key.q_norm[row]) * decay * load(qk.row[i]));
    if (h == 0) {
      store_split(p.high.half[0].row[i], p.low.half[0].row[i], y, zero());
    } else {
      store(g.scratch->p22.row[i], y);
    }
  }
}

/// The tile below them: -A to w.n21, and the lower half of P.
[[gnu::always_inline]] inline void decay_below(const KeyBlock &key, const GateBlock &g, int block) {
  const int first = block * kBlock;
  const FloatTile &kk = key.kk->block[block].below;
  const FloatTile &qk = key.qk->block[block].below;
  SplitOperand &p = g.p[block];
  const Vec reference = set1(g.c[first + kHalf - 1]);
  const Vec to_reference = load(key.k_norm + first) * exp(reference - load(g.c + first));
  alignas(64) float from_reference[kHalf];
  store(from_reference, exp(load(g.c + first + kHalf) - reference));
  for (int i = 0; i < kHalf; ++i) {
    const int row = first + kHalf + i;
    const Vec decay = to_reference * set1(from_reference[i]);
    const Vec a = set1(-g.beta[row] * key.k_norm[row]) * decay * load(kk.row[i]);
    store(g.scratch->n21.row[i], a);
    const Vec y = set1(key.q_norm[row]) * decay * load(qk.row[i]);
    store_split(p.high.half[1].row[i], p.low.half[1].row[i], y, load(g.scratch->p22.row[i]));
  }
}

/// Fills g.t and g.p of a block.
inline void solve_block(const KeyBlock &key, const GateBlock &g, int block) {
  for (int h = 0; h < 2; ++h) decay_diagonal(key, g, block, h);
  decay_below(key, g, block);

  SolveScratch &w = *g.scratch;
  SplitOperand &out = g.t[block];
  Vec t[kHalf];
  invert(w.n[1], t);
#pragma GCC unroll 16
  for (int i = 0; i < kHalf; ++i) store(w.t22.row[i], t[i]);
  invert(w.n[0], t);
#pragma GCC unroll 16
  for (int i = 0; i < kHalf; ++i) {
    store_split(out.high.half[0].row[i], out.low.half[0].row[i], t[i], zero());
  }
  // n21 becomes N21 T11, row by row.
  for (int i = 0; i < kHalf; ++i) {
    const float *n = w.n21.row[i];
    Vec x = set1(n[0]) * t[0];
    Vec y = set1(n[1]) * t[1];
#pragma GCC unroll 16
    for (int j = 2; j < kHalf; j += 2) {
      x = fma(set1(n[j]), t[j], x);
      y = fma(set1(n[j + 1]), t[j + 1], y);
    }
    store(w.n21.row[i], x + y);
  }
#pragma GCC unroll 16
  for (int i = 0; i < kHalf; ++i) t[i] = load(w.n21.row[i]);
    // T21 = T22 N21 T11.
#pragma GCC unroll 16
  for (int i = 0; i < kHalf; ++i) {
    Vec x = set1(w.t22.row[i][0]) * t[0];
#pragma GCC unroll 16
    for (int j = 1; j <= i; ++j) x = fma(set1(w.t22.row[i][j]), t[j], x);
    store_split(out.high.half[1].row[i], out.low.half[1].row[i], x, load(w.t22.row[i]));
  }
}

/// Fills g.a10 and g.p10.
inline void couple_blocks(const KeyBlock &key, const GateBlock &g) {
  const Vec reference = set1(g.c[kBlock - 1]);
  Vec to_reference[2];
  alignas(64) float from_reference[kBlock];
  for (int h = 0; h < 2; ++h) {
    const int at = h * kHalf;
    to_reference[h] = load(key.k_norm + at) * exp(reference - load(g.c + at));
    store(from_reference + at, exp(load(g.c + kBlock + at) - reference));
  }
  for (int i = 0; i < kBlock; ++i) {
    const int row = kBlock + i;
    const Vec a = set1(from_reference[i] * g.beta[row] * key.k_norm[row]);
    const Vec b = set1(from_reference[i] * key.q_norm[row]);
    const Vec a0 = a * to_reference[0] * load(key.kk->across.row(i, 0));
    const Vec a1 = a * to_reference[1] * load(key.kk->across.row(i, 1));
    const Vec p0 = b * to_reference[0] * load(key.qk->across.row(i, 0));
    const Vec p1 = b * to_reference[1] * load(key.qk->across.row(i, 1));
    store_split(g.a10->high.row(i), g.a10->low.row(i), a0, a1);
    store_split(g.p10->high.row(i), g.p10->low.row(i), p0, p1);
  }
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_SOLVE_H_
