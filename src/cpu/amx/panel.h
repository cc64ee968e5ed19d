#ifndef GDN_CPU_AMX_PANEL_H_
#define GDN_CPU_AMX_PANEL_H_

// One step of one panel of 32 value columns, D = DK / 32. For each block of 32 tokens:
//
//     multiply    S -> bf16 (once); K S and Q S                         8 D products
//     residual    R  = diag(beta) V - diag(read_scale) K S - A V' of the block before
//                 V' = T R                                              12 products
//     values      V' and W = diag(write_scale) V' as right operands
//                 P V', this block and the one before; A V'             12 products each
//     output      O  = diag(output_scale) Q S + P V'
//     update      S <- exp(c_last) S + K^T W                            8 D products
//
// T, R, V', W, P and A are a high and a low bf16 part each.
//
// The update runs after the other stages of all panels: the tiles of K and Q that those read, and
// those of K^T that it reads, do not fit the L1 cache together. At D = 4 a panel takes 200
// products, 3200 cycles of the tile unit, for 64 tokens; 4 panels and the products of keys.h make
// 14100 cycles, 220 a token.

#include "cpu/amx/layout.h"
#include "cpu/amx/pairs.h"
#include "cpu/amx/products.h"

namespace gdn::cpu::amx {
namespace {

/// A panel's place in memory.
struct Panel {
  StateRow *state;  ///< [DK]
  const uint16_t *v;
  uint16_t *o;
  __mmask32 columns;
};

/// What the panels of one step and value head share.
struct PanelStep {
  const KeyBlock &key;
  const GateBlock &gate;
  const PanelBlock &block;
  int key_blocks;    ///< DK / 32.
  int count;         ///< Tokens.
  int blocks;        ///< Blocks of 32 tokens: 1 or 2.
  float decay;       ///< Of the whole step.
  int64_t v_stride;  ///< Elements from token to token.
  int64_t o_stride;
};

/// Vector work to run beside products: none.
struct Nothing {
  [[gnu::always_inline]] void operator()(int /*b*/) const {}
};

/// Spreads the 16 token pairs of a block over blocks [begin, end) of DK.
struct Share {
  int begin;
  int end;

  int from(int b) const { return at(b); }
  int to(int b) const { return at(b + 1); }

 private:
  int at(int b) const {
    return b <= begin ? 0 : b >= end ? kHalf : kHalf * (b - begin) / (end - begin);
  }
};

/// Rows 32 b .. 32 b + 31 of a state as a right operand.
[[gnu::always_inline]] inline void pack_state(const PanelStep &s, const StateRow *state, int b) {
  const StateRow *rows = state + b * kBlock;
#pragma GCC unroll 8
  for (int i = 0; i < kHalf; ++i) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const Vec x = load(rows[2 * i].half[h]);
      const Vec y = load(rows[2 * i + 1].half[h]);
      _mm512_store_si512(s.block.s[b].half[h].row[i], pack_bf16(x, y));
    }
  }
}

/// out = 32 rows of K or Q times the state. beside(b) is vector work to run with the products of
/// block b of DK. It comes first: a tile load cannot take its data from stores that have not
/// retired, so what beside() stores must not wait for this block's products.
template <class F>
[[gnu::always_inline]] inline void multiply_state(const PanelStep &s, const LeftRows &rows,
                                                  int token_block, Grid &out, F beside) {
  zero_grid();
  for (int b = 0; b < s.key_blocks; ++b) {
    beside(b);
    multiply(rows, token_block, b, s.block.s[b]);
  }
  store_grid(out);
}

/// A row of v; zeros past the last token.
template <bool kFull>
[[gnu::always_inline]] inline __m512i load_value(const PanelStep &s, const Panel &p, int row) {
  if (kFull) return _mm512_loadu_si512(p.v + row * s.v_stride);
  if (row >= s.count) return _mm512_setzero_si512();
  return _mm512_maskz_loadu_epi16(p.columns, p.v + row * s.v_stride);
}

/// Token pairs [first, last) of block B: r = R = diag(beta) v - diag(read_scale) K S - A V'.
template <bool kFull, int B>
[[gnu::always_inline]] inline void residual(const PanelStep &s, const Panel &p, int first,
                                            int last) {
  const GateBlock &g = s.gate;
  SplitOperand &out = *s.block.r[B];
#pragma GCC unroll 2
  for (int j = first; j < last; ++j) {
    const int row = B * kBlock + j;
    const __m512i v[2] = {load_value<kFull>(s, p, row), load_value<kFull>(s, p, row + kHalf)};
    Vec r[2][2];
#pragma GCC unroll 2
    for (int t = 0; t < 2; ++t) {
      const Vec beta = set1(g.beta[row + t * kHalf]);
      const Vec scale = set1(g.read_scale[row + t * kHalf]);
      Vec even = beta * first_of_pairs(v[t]);
      Vec odd = beta * second_of_pairs(v[t]);
      if (B == 1) {
        even = even - load(s.block.av->tile[t][0].row[j]);
        odd = odd - load(s.block.av->tile[t][1].row[j]);
      }
      r[t][0] = fnma(scale, load(s.block.ks[B]->tile[t][0].row[j]), even);
      r[t][1] = fnma(scale, load(s.block.ks[B]->tile[t][1].row[j]), odd);
    }
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      store_split(out.high.half[h].row[j], out.low.half[h].row[j], r[0][h], r[1][h]);
    }
  }
}

/// V' = T R of block B.
template <int B>
[[gnu::always_inline]] inline void solve_values(const PanelStep &s) {
  multiply(s.gate.t[B], *s.block.r[B], *s.block.v[B]);
}

/// Token pairs [first, last) of V' of block B as right operands: as it is, and scaled as W.
template <int B, bool kLast>
[[gnu::always_inline]] inline void pack_values(const PanelStep &s, Written &w, int first,
                                               int last) {
  const float *scale = s.gate.write_scale + B * kBlock;
  SplitOperand &right = *s.block.right[B];
  SplitOperand &written = w.block[kLast ? 1 : 0];
#pragma GCC unroll 2
  for (int j = first; j < last; ++j) {
    const Vec scale_x = set1(scale[j]);
    const Vec scale_y = set1(scale[j + kHalf]);
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const Vec x = load(s.block.v[B]->tile[0][h].row[j]);
      const Vec y = load(s.block.v[B]->tile[1][h].row[j]);
      store_split(right.high.half[h].row[j], right.low.half[h].row[j], x, y);
      store_split(written.high.half[h].row[j], written.low.half[h].row[j], x * scale_x,
                  y * scale_y);
    }
  }
}

/// Rows [first, last) of block B of o = diag(output_scale) Q S + P V', in bf16.
template <bool kFull, int B>
[[gnu::always_inline]] inline void write_output(const PanelStep &s, const Panel &p, int first,
                                                int last) {
#pragma GCC unroll 2
  for (int i = first; i < last; ++i) {
    const int row = B * kBlock + i;
    if (!kFull && row >= s.count) break;
    const Vec scale = set1(s.gate.output_scale[row]);
    const Grid &qs = *s.block.qs[B];
    const Grid &pv = *s.block.pv[B];
    const Vec x = fma(scale, load(qs.row(i, 0)), load(pv.row(i, 0)));
    const Vec y = fma(scale, load(qs.row(i, 1)), load(pv.row(i, 1)));
    uint16_t *o = p.o + row * s.o_stride;
    if (kFull) {
      _mm512_storeu_si512(o, pack_bf16(x, y));
    } else {
      _mm512_mask_storeu_epi16(o, p.columns, pack_bf16(x, y));
    }
  }
}

/// Rows 32 b .. 32 b + 31 of a state: times its decay, plus the ring's products.
[[gnu::always_inline]] inline void add_products(const PanelStep &s, StateRow *state, int b) {
  const Vec decay = set1(s.decay);
  const Grid &in = s.block.ring[b & 1];
#pragma GCC unroll 2
  for (int t = 0; t < 2; ++t) {
    StateRow *rows = state + b * kBlock + t * kHalf;
#pragma GCC unroll 16
    for (int i = 0; i < kHalf; ++i) {
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        float *row = rows[i].half[h];
        store(row, fma(decay, load(row), load(in.tile[t][h].row[i])));
      }
    }
  }
}

/// state = decay state + K^T w over all blocks; beside(b) as in multiply_state(). The vector units
/// add what the tiles of the block before have multiplied, so that no tile is loaded from a late
/// store.
template <class F>
[[gnu::always_inline]] inline void update_state(const PanelStep &s, StateRow *state,
                                                const Written &w, F beside) {
  for (int b = 0; b < s.key_blocks; ++b) {
    beside(b);
    const Operand *left = s.key.k_left + b;
    zero_grid();
    if (s.blocks == 2) {
      multiply(*left, w.block[0]);
      left += s.key_blocks;
    }
    multiply(*left, w.block[1]);
    if (b > 0) add_products(s, state, b - 1);
    store_grid(s.block.ring[b & 1]);
  }
  add_products(s, state, s.key_blocks - 1);
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_PANEL_H_
