#ifndef GDN_CPU_AMX_LAYOUT_H_
#define GDN_CPU_AMX_LAYOUT_H_

// What one thread keeps in its scratch memory. Tokens come in steps of 64, cut into two blocks of
// 32; value columns in panels of 32; DK and DV are padded with zeros to multiples of 32.
//
// A panel's columns are split into its even and its odd ones (half 0 and 1), since a dword of bf16
// v or o holds one of each: no shuffles. Tokens are paired (j, j + 16), so that two f32 rows make a
// row of pairs with a shift and a blend. Neither order is visible outside.

#include <cstddef>
#include <cstdint>

#include "core/delta_rule.h"
#include "cpu/amx/grid.h"
#include "cpu/kernels/scratch.h"

namespace gdn::cpu::amx {
namespace {

constexpr int kStep = 2 * kBlock;  ///< Tokens of a step.
constexpr int kPanel = 2 * kHalf;  ///< Value columns of a panel.

/// A row of a panel of a state: its even columns, its odd ones.
struct alignas(64) StateRow {
  float half[2][kHalf];
};

/// DK in blocks of 32 and DV in panels.
struct Widths {
  int key_blocks;
  int panels;

  explicit Widths(const DeltaRule &p)
      : key_blocks(static_cast<int>((p.key_dim + kBlock - 1) / kBlock)),
        panels(static_cast<int>((p.value_dim + kPanel - 1) / kPanel)) {}

  /// Rows of one panel of a state.
  int64_t state_rows() const { return int64_t{key_blocks} * kBlock; }
  size_t panel_bytes() const { return static_cast<size_t>(state_rows()) * sizeof(StateRow); }
};

/// Rows of bf16 as left operands: 32 columns of 16 rows are a tile.
struct LeftRows {
  const uint8_t *data;
  int64_t stride;  ///< Bytes.

  /// Columns 32 b .. 32 b + 31 of rows 16 half ..
  const uint8_t *tile(int b, int half) const {
    return data + half * kHalf * stride + b * kBlock * 2;
  }
};

/// A product of the tokens of a step with each other, on and below its diagonal.
struct TokenProduct {
  LowerGrid block[2];
  Grid across;  ///< Rows of block 1, columns of block 0.
};

/// What the tokens of a step and one key head give, shared by the value heads of its group.
struct KeyBlock {
  LeftRows k;
  LeftRows q;
  uint8_t *k_copy;   ///< [64][DK] bf16, for rows that cannot be used where they are.
  uint8_t *q_copy;   ///< The same of q.
  Operand *k_right;  ///< K^T as right operands [DK/32] of block 0, then a ring of 2 of block 1.
  Operand *k_left;   ///< K^T as left operands [block][DK/32].
  TokenProduct *kk;  ///< K K^T.
  TokenProduct *qk;  ///< Q K^T.
  float *k_norm;     ///< [64] 1 / |k|, or 1.
  float *q_norm;     ///< [64] scale / |q|, or scale.
};

/// Matrices of the solve of one block, see solve.h.
struct SolveScratch {
  FloatTile n[2];  ///< -A, diagonal tiles,
  FloatTile n21;   ///< and the one below them.
  FloatTile t22;
  FloatTile p22;
};

/// What the gates of a step and one value head give.
struct GateBlock {
  float *beta;          ///< [64]
  float *c;             ///< [64] cumulative log decay.
  float *read_scale;    ///< [64] beta exp(c) / |k|: rows of K S.
  float *output_scale;  ///< [64] scale exp(c) / |q|: rows of Q S.
  float *write_scale;   ///< [64] exp(c_last - c) / |k|: rows of V' in the state product.
  SolveScratch *scratch;
  SplitOperand *t;    ///< [block] T as a left operand.
  SplitOperand *p;    ///< [block] P as a left operand.
  SplitOperand *a10;  ///< A, block 1 against block 0, as a left operand.
  SplitOperand *p10;  ///< P, block 1 against block 0, the same.
};

/// W = diag(write_scale) V' of a panel as right operands: of block 0 of two, and of the last block.
struct Written {
  SplitOperand block[2];
};

/// What the panels of one value head need. Two panels are under way at a time, see run_panels().
struct PanelBlock {
  Operand *s;              ///< [DK/32] the state before the step as right operands.
  Grid *ks[2];             ///< Of each block of tokens K S.
  Grid *qs[2];             ///< Q S.
  Grid *v[2];              ///< V'.
  Grid *pv[2];             ///< P V'.
  Grid *av;                ///< A V', block 1 against block 0.
  SplitOperand *r[2];      ///< R as a right operand.
  SplitOperand *right[2];  ///< V' as a right operand.
  Written *w;              ///< [panel]
  Grid *ring;              ///< [2] what the last blocks of DK add to the state.
};

struct Workspace {
  KeyBlock key = {};
  GateBlock gate = {};
  PanelBlock panel = {};

  /// Lays everything but the states out in the arena.
  Workspace(Arena &arena, const Widths &n) {
    key.k_copy = arena.take<uint8_t>(int64_t{kStep} * n.key_blocks * kBlock * 2);
    key.q_copy = arena.take<uint8_t>(int64_t{kStep} * n.key_blocks * kBlock * 2);
    key.k_right = arena.take<Operand>(n.key_blocks + 2);
    key.k_left = arena.take<Operand>(2 * n.key_blocks);
    key.kk = arena.take<TokenProduct>(1);
    key.qk = arena.take<TokenProduct>(1);
    gate.scratch = arena.take<SolveScratch>(1);
    gate.t = arena.take<SplitOperand>(2);
    gate.p = arena.take<SplitOperand>(2);
    gate.a10 = arena.take<SplitOperand>(1);
    gate.p10 = arena.take<SplitOperand>(1);
    panel.s = arena.take<Operand>(n.key_blocks);
    // Buffers whose lives do not overlap are one: what stays in L1 is what counts.
    panel.ks[0] = panel.v[0] = panel.pv[0] = arena.take<Grid>(1);
    panel.ks[1] = panel.v[1] = arena.take<Grid>(1);
    panel.qs[0] = panel.qs[1] = arena.take<Grid>(1);
    panel.av = panel.pv[1] = arena.take<Grid>(1);
    panel.r[0] = panel.r[1] = arena.take<SplitOperand>(1);
    panel.right[0] = arena.take<SplitOperand>(1);
    panel.right[1] = arena.take<SplitOperand>(1);
    panel.ring = arena.take<Grid>(2);
    panel.w = arena.take<Written>(n.panels);
    key.k_norm = arena.take<float>(kStep);
    key.q_norm = arena.take<float>(kStep);
    gate.beta = arena.take<float>(kStep);
    gate.c = arena.take<float>(kStep);
    gate.read_scale = arena.take<float>(kStep);
    gate.output_scale = arena.take<float>(kStep);
    gate.write_scale = arena.take<float>(kStep);
  }
};

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_LAYOUT_H_
