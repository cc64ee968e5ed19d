#ifndef GDN_CPU_AMX_PRODUCTS_H_
#define GDN_CPU_AMX_PRODUCTS_H_

// Products of 32 x 32 blocks in the tile registers: 0 to 3 hold the grid [row half][column half], 4
// and 5 the halves of the left operand, 6 and 7 those of the right one.

#include "cpu/amx/layout.h"

namespace gdn::cpu::amx {
namespace {

[[gnu::always_inline]] inline void zero_grid() {
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
}

[[gnu::always_inline]] inline void store_grid(Grid &out) {
  tile_store<0>(&out.tile[0][0]);
  tile_store<1>(&out.tile[0][1]);
  tile_store<2>(&out.tile[1][0]);
  tile_store<3>(&out.tile[1][1]);
}

/// Grid += left * right.
[[gnu::always_inline]] inline void multiply(const Operand &left, const Operand &right) {
  tile_load<6>(&right.half[0]);
  tile_load<4>(&left.half[0]);
  tile_dp<0, 4, 6>();
  tile_load<7>(&right.half[1]);
  tile_dp<1, 4, 7>();
  tile_load<5>(&left.half[1]);
  tile_dp<2, 5, 6>();
  tile_dp<3, 5, 7>();
}

/// Grid += columns 32 b .. of a block of 32 rows * right.
[[gnu::always_inline]] inline void multiply(const LeftRows &rows, int block, int b,
                                            const Operand &right) {
  tile_load<4>(rows.tile(b, 2 * block), rows.stride);
  tile_load<6>(&right.half[0]);
  tile_dp<0, 4, 6>();
  tile_load<7>(&right.half[1]);
  tile_dp<1, 4, 7>();
  tile_load<5>(rows.tile(b, 2 * block + 1), rows.stride);
  tile_dp<2, 5, 6>();
  tile_dp<3, 5, 7>();
}

/// Grid += the left operand as it is loaded * right.
[[gnu::always_inline]] inline void multiply_loaded(const Operand &right) {
  tile_load<6>(&right.half[0]);
  tile_dp<0, 4, 6>();
  tile_load<7>(&right.half[1]);
  tile_dp<1, 4, 7>();
  tile_dp<2, 5, 6>();
  tile_dp<3, 5, 7>();
}

/// Grid += left * right, whose low part comes last.
[[gnu::always_inline]] inline void multiply(const Operand &left, const SplitOperand &right) {
  multiply(left, right.high);
  multiply_loaded(right.low);
}

/// Grid += left * right. The product of the low parts would be below f32's rounding.
[[gnu::always_inline]] inline void multiply(const SplitOperand &left, const SplitOperand &right) {
  multiply(left.low, right.high);
  multiply(left.high, right);
}

/// out = left * right.
[[gnu::always_inline]] inline void multiply(const SplitOperand &left, const SplitOperand &right,
                                            Grid &out) {
  zero_grid();
  multiply(left, right);
  store_grid(out);
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_PRODUCTS_H_
