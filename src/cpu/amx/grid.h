#ifndef GDN_CPU_AMX_GRID_H_
#define GDN_CPU_AMX_GRID_H_

// Tiles in memory, and the 2 x 2 grids of them that a block of 32 x 32 is made of.

#include <cstdint>

#include "cpu/amx/tile_ops.h"

namespace gdn::cpu::amx {
namespace {

constexpr int kHalf = 16;          ///< Rows or columns of a tile.
constexpr int kBlock = 2 * kHalf;  ///< Of a grid.

/// What the tile unit accumulates.
struct alignas(64) FloatTile {
  float row[kHalf][kHalf];
};

/// bf16 pairs: a left operand [16][32], or a right operand [32][16] with two rows in each.
struct alignas(64) PairTile {
  uint32_t row[kHalf][kHalf];
};

static_assert(sizeof(FloatTile) == kTileBytes && sizeof(PairTile) == kTileBytes);

/// A product of 32 x 32: tile[row half][column half].
struct Grid {
  FloatTile tile[2][2];

  /// The columns of one half of a row.
  const float *row(int i, int half) const { return tile[i >> 4][half].row[i & 15]; }
};

/// The tiles of such a product that reach its diagonal or lie below it.
struct LowerGrid {
  FloatTile diagonal[2];
  FloatTile below;
};

/// An operand of 32 x 32: the row halves of a left one, the column halves of a right one.
struct Operand {
  PairTile half[2];

  /// A row of a left operand.
  uint32_t *row(int i) { return half[i >> 4].row[i & 15]; }
};

/// An operand in f32's precision but for its last bits, as a sum.
struct SplitOperand {
  Operand high;
  Operand low;
};

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_GRID_H_
