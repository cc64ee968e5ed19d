#ifndef GDN_CPU_AMX_LAYOUT_H_
#define GDN_CPU_AMX_LAYOUT_H_

// What one thread keeps in its scratch memory. Tokens come in steps of 64, cut into two blocks of
// 32; value columns in panels of 32; DK and DV are padded with zeros to multiples of 32.
//
// A panel's columns are split into its even and its odd ones (half 0 and 1), since a dword of bf16
// v or o holds one of each: no shuffles. Tokens are paired (j, j + 16), so that two f32 rows make a
// row of pairs with a shift and a blend. Neither order is visible outside.
//
// All blocks are whole tiles of 1024 bytes (tile_ops.h).

#include <cstddef>
#include <cstdint>

#include "core/delta_rule.h"
#include "cpu/amx/tile_ops.h"

namespace gdn::cpu::amx {
namespace {

constexpr int kStep = 64;   ///< Tokens of a step.
constexpr int kBlock = 32;  ///< Tokens of a block.
constexpr int kPanel = 32;  ///< Value columns of a panel.
constexpr int kHalf = 16;   ///< Rows or columns of a tile.

/// Tiles of W of one half of a panel: block 0 of two, then the last block, each a high and a low
/// bf16 half.
constexpr int kWrittenTiles = 4;

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

/// Rows of bf16 as left operands: 32 columns of 16 rows are a tile.
struct LeftRows {
  const uint8_t *data;
  int64_t stride;  ///< Bytes.

  /// Columns 32 b .. 32 b + 31 of rows 16 half ..
  const uint8_t *tile(int b, int half) const { return data + half * kHalf * stride + b * 64; }
};

/// What the tokens of a step and one key head give, shared by the value heads of its group.
struct KeyBlock {
  LeftRows k;
  LeftRows q;
  uint8_t *k_copy;   ///< [64][DK] bf16, for rows that cannot be used where they are.
  uint8_t *q_copy;   ///< The same of q.
  uint8_t *k_right;  ///< K^T as a right operand, [DK/32][half][16 DK pairs][16 tokens], of block 0;
                     ///< then the same of block 1 as a ring of 2 of DK/32.
  uint8_t *k_left;   ///< K^T as a left operand [block][DK/16][16][16 token pairs].
  float *kk;         ///< K K^T: tiles (0,0), (1,0), (1,1) of block 0, those of block 1, then the
                     ///< product of block 1 with block 0, [half][half].
  float *qk;         ///< Q K^T, the same.
  float *k_norm;     ///< [64] 1 / |k|, or 1.
  float *q_norm;     ///< [64] scale / |q|, or scale.
};

/// What the gates of a step and one value head give.
struct GateBlock {
  float *beta;          ///< [64]
  float *c;             ///< [64] cumulative log decay.
  float *read_scale;    ///< [64] beta exp(c) / |k|: rows of K S.
  float *output_scale;  ///< [64] scale exp(c) / |q|: rows of Q S.
  float *write_scale;   ///< [64] exp(c_last - c) / |k|: rows of V' in the state product.
  float *matrix;        ///< Scratch of the solve, 5 tiles.
  uint8_t *t;           ///< T as a left operand [block][high, low][half][16][16 token pairs].
  uint8_t *p;           ///< P as a left operand [block][high, low][half][16][16 token pairs].
  uint8_t *a10;         ///< A, block 1 against block 0, as a left operand [high, low].
  uint8_t *p10;         ///< P, block 1 against block 0, the same.
};

/// What the panels of one value head need. Two panels are under way at a time, see run_panels().
struct PanelBlock {
  uint8_t *s;         ///< State before the step as a right operand [half][DK/32][16][16].
  float *ks[2];       ///< Of each block of tokens K S, tiles [token half][half].
  float *qs[2];       ///< Q S, the same.
  float *v[2];        ///< V', the same.
  float *pv[2];       ///< P V', the same.
  float *av;          ///< A V', block 1 against block 0.
  uint8_t *r[2];      ///< R as a right operand [high, low][half][16 token pairs][16].
  uint8_t *right[2];  ///< V' as a right operand [high, low].
  uint8_t *w;         ///< diag(write_scale) V': [panel][half][block][high, low].
  float *ring;        ///< Ring of 2 x 4 tiles: decayed state rows.
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
  w.key.k_copy = c.tiles<uint8_t>(4 * n.dk);
  w.key.q_copy = c.tiles<uint8_t>(4 * n.dk);
  w.key.k_right = c.tiles<uint8_t>(2 * n.dk + 4);
  w.key.k_left = c.tiles<uint8_t>(4 * n.dk);
  w.key.kk = c.tiles<float>(10);
  w.key.qk = c.tiles<float>(10);
  w.gate.matrix = c.tiles<float>(5);
  w.gate.t = c.tiles<uint8_t>(8);
  w.gate.p = c.tiles<uint8_t>(8);
  w.gate.a10 = c.tiles<uint8_t>(4);
  w.gate.p10 = c.tiles<uint8_t>(4);
  w.panel.s = c.tiles<uint8_t>(2 * n.dk);
  // Buffers whose lives do not overlap are one: what stays in L1 is what counts.
  w.panel.ks[0] = w.panel.v[0] = w.panel.pv[0] = c.tiles<float>(4);
  w.panel.ks[1] = w.panel.v[1] = c.tiles<float>(4);
  w.panel.qs[0] = w.panel.qs[1] = c.tiles<float>(4);
  w.panel.av = w.panel.pv[1] = c.tiles<float>(4);
  w.panel.r[0] = w.panel.r[1] = c.tiles<uint8_t>(4);
  w.panel.right[0] = c.tiles<uint8_t>(4);
  w.panel.right[1] = c.tiles<uint8_t>(4);
  w.panel.ring = c.tiles<float>(8);
  w.panel.w = c.tiles<uint8_t>(2 * kWrittenTiles * n.dv);
  w.key.k_norm = c.row();
  w.key.q_norm = c.row();
  w.gate.beta = c.row();
  w.gate.c = c.row();
  w.gate.read_scale = c.row();
  w.gate.output_scale = c.row();
  w.gate.write_scale = c.row();
  c.row();  // eight rows: two whole tiles
  w.states = c.tiles<uint8_t>(0);
  return c.size();
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_LAYOUT_H_
