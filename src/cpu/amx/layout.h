#ifndef GDN_CPU_AMX_LAYOUT_H_
#define GDN_CPU_AMX_LAYOUT_H_

// What one thread keeps in its scratch memory. Tokens come in steps of 32, value columns in panels
// of 32; DK and DV are padded with zeros to multiples of 32.
//
// A panel's columns are split into its even and its odd ones (half 0 and 1), since a dword of bf16
// v or o holds one of each: no shuffles. Tokens are paired (j, j + 16), so that two f32 rows make a
// row of pairs with a shift and a blend. Neither order is visible outside.
//
// All blocks are whole tiles of 1024 bytes (tile_ops.h).

#include <cstddef>
#include <cstdint>

#include "cpu/amx/tile_ops.h"
#include "problem/delta_rule.h"

namespace gdn::cpu::amx {
namespace {

constexpr int kStep = 32;   ///< Tokens of a step.
constexpr int kPanel = 32;  ///< Value columns of a panel.
constexpr int kHalf = 16;   ///< Rows or columns of a tile.

/// Widths in blocks of 32.
struct Widths {
  int dk;
  int dv;

  explicit Widths(const DeltaRule &p)
      : dk(static_cast<int>((p.key_dim + 31) / 32)),
        dv(static_cast<int>((p.value_dim + 31) / 32)) {}

  /// Bytes of one panel of a state, f32 [half][DK][16].
  size_t panel_bytes() const { return static_cast<size_t>(dk) * 4 * kTileBytes; }
};

/// What the tokens of a step and one key head give, shared by the value heads of its group.
struct KeyBlock {
  uint8_t *k;        ///< Left operand [DK/32][token half][16][32] bf16.
  uint8_t *q;        ///< The same of q.
  uint8_t *k_right;  ///< K^T as a right operand [DK/32][token half][16 DK pairs][16 tokens].
  uint8_t *k_left;   ///< K^T as a left operand [DK/16][16][16 token pairs].
  float *kk;         ///< K K^T, tiles (0,0), (1,0), (1,1).
  float *qk;         ///< Q K^T, the same tiles.
  float *k_norm;     ///< [32] 1 / |k|, or 1.
  float *q_norm;     ///< [32] scale / |q|, or scale.
};

/// What the gates of a step and one value head give.
struct GateBlock {
  float *beta;          ///< [32]
  float *c;             ///< [32] cumulative log decay.
  float *read_scale;    ///< [32] beta exp(c) / |k|: rows of K S.
  float *output_scale;  ///< [32] scale exp(c) / |q|: rows of Q S.
  float *write_scale;   ///< [32] exp(c_last - c) / |k|: rows of V' in the state product.
  float *matrix;        ///< Scratch of the solve: -A and its parts, 5 tiles.
  uint8_t *t;           ///< T as a left operand [token half][16][16 token pairs].
  uint8_t *p;           ///< The same of tril(Q K^T exp(c_i - c_j)).
};

/// What one panel of value columns needs.
struct PanelBlock {
  uint8_t *s;        ///< State before the step as a right operand [half][DK/32][16][16].
  float *ks;         ///< K S, tiles [token half][half].
  float *qs;         ///< Q S.
  float *v;          ///< V'.
  float *pv;         ///< P V'.
  uint8_t *r;        ///< diag(beta) (V - ..) as a right operand [half][16 token pairs][16].
  uint8_t *v_right;  ///< V' the same.
  uint8_t *w_high;   ///< diag(write_scale) V', upper bf16 half.
  uint8_t *w_low;    ///< What w_high leaves, in bf16.
};

struct Workspace {
  KeyBlock key;
  GateBlock gate;
  PanelBlock panel;
  uint8_t *states;  ///< [heads of the item][panels of the item] of Widths::panel_bytes().
};

/// Cuts memory into blocks; with a null base it only counts.
class Carver {
 public:
  explicit Carver(void *base) : base_(static_cast<uint8_t *>(base)) {}

  template <class E>
  E *tiles(int n) {
    E *p = base_ == nullptr ? nullptr : reinterpret_cast<E *>(base_ + size_);
    size_ += static_cast<size_t>(n) * kTileBytes;
    return p;
  }
  float *row() {
    float *p = base_ == nullptr ? nullptr : reinterpret_cast<float *>(base_ + size_);
    size_ += kStep * sizeof(float);
    return p;
  }
  size_t size() const { return size_; }

 private:
  uint8_t *base_;
  size_t size_ = 0;
};

/// Lays the workspace out at base and returns its bytes, without the states, which follow.
inline size_t carve(Workspace &w, void *base, const Widths &n) {
  Carver c(base);
  w.key.k = c.tiles<uint8_t>(2 * n.dk);
  w.key.q = c.tiles<uint8_t>(2 * n.dk);
  w.key.k_right = c.tiles<uint8_t>(2 * n.dk);
  w.key.k_left = c.tiles<uint8_t>(2 * n.dk);
  w.key.kk = c.tiles<float>(3);
  w.key.qk = c.tiles<float>(3);
  w.gate.matrix = c.tiles<float>(5);
  w.gate.t = c.tiles<uint8_t>(2);
  w.gate.p = c.tiles<uint8_t>(2);
  w.panel.s = c.tiles<uint8_t>(2 * n.dk);
  w.panel.ks = c.tiles<float>(4);
  w.panel.qs = c.tiles<float>(4);
  w.panel.v = c.tiles<float>(4);
  w.panel.pv = c.tiles<float>(4);
  w.panel.r = c.tiles<uint8_t>(2);
  w.panel.v_right = c.tiles<uint8_t>(2);
  w.panel.w_high = c.tiles<uint8_t>(2);
  w.panel.w_low = c.tiles<uint8_t>(2);
  w.key.k_norm = c.row();
  w.key.q_norm = c.row();
  w.gate.beta = c.row();
  w.gate.c = c.row();
  w.gate.read_scale = c.row();
  w.gate.output_scale = c.row();
  w.gate.write_scale = c.row();
  c.row();  // eight rows: a whole tile
  w.states = c.tiles<uint8_t>(0);
  return c.size();
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_LAYOUT_H_
