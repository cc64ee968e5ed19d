#ifndef GDN_ASCEND_KERNELS_SOLVE_TRIL_H_
#define GDN_ASCEND_KERNELS_SOLVE_TRIL_H_

// T = (I + A)^-1 for each chunk and head, by blocked forward substitution:
//
//     T of a block of 16:  from T = I on, step j subtracts A[i, j] times row j, which is final by
//                          then, from all rows i > j
//
//     [ I + A1    0    ]-1   [ X      0 ]       X = (I + A1)^-1, Y = (I + A2)^-1
//     [   B     I + A2 ]   = [ Q      Y ]       P = -B X, Q = Y P
//
// which merges two blocks of 16, then of 32, then of 64. Both are exact; there is no series.
//
// Precision: blocks of 16 are made in f32. The merges add in f32 and take their operands as two
//          16-bit numbers each, the rounded one and the rest, of T's own type, or f16 where T is in
//          f32. Relative RMS of T in f32 in tests/ascend/inverse_test.cc: 6e-7 at most. Where keys
//          are much alike, one number alone loses 1e-3 in f16 and 1e-2 in bf16; two of bf16 lose
//          5e-5, less than T's own rounding. What f16 cannot hold, numbers beyond 65504, does not
//          occur with keys of length 1.
// Who:     a block takes an item, a chunk of one head. Each Vector core makes the diagonal blocks
//          of half of its rows, all of them beside each other; stores T from there to the right,
//          which is zeros behind them; and leaves M in GM (two slots a block): T of the blocks on
//          the diagonal, -A below. The Cube core merges two items side by side and stores T's
//          blocks below the diagonal. In L1 M becomes T on the way: Q takes the place of -B.
//          What is left of P or Q when it has been rounded is made in L0C, by a product with -I.
// Flags:   kOperands from MTE3 of the Vector cores: a slot is full. kSlotFree from MTE2 of the Cube
//          core: it has read it.
// Order:   on the Cube core MTE1 -> M -> FIX -> MTE1 is one ring for each item of the two, whose
//          three events order all of its buffers but M; on a Vector core MTE2 -> V -> MTE3 -> MTE2
//          is one for each slot.
// Buffers, C = 128 (KB):
//          L1    M 2 x 2 x 2 x 32, P in parts 2 x 2 x 8, -I 8: 296 of 512
//          L0A   -B or Y 2 x 16, -I 10.5: 42.5 of 64
//          L0B   X, P or Q 2 x 16 of 64
//          L0C   P 2 x 16, Q 2 x 16: 64 of 128
//          UB    M 2 x 32, its parts 2 x 2 x 16, rest 32, X, I and columns 4 each: 172 of 192
// Binds:   FIX and MTE2 of the Cube core, 2.0 thousand model cycles an item each with T in f32
//          (V 1.5, MTE3 1.6), and the rings: 3.3 from item to item. Forward substitution alone took
//          9.8, of V. C = 64: V 0.8, FIX and MTE2 0.7, 1.0 from item to item; it took 2.6.

#include "ascend/kernels/solve_tril_diagonal.h"
#include "ascend/kernels/solve_tril_merge.h"

namespace gdn::ascend::kernels {

template <class R, int64_t C>
GDN_NPU void solve_tril(Core &core, const SolveTrilTensors<R> &t) {
  run_part<SolveTrilMerge<R, C>, SolveTrilDiagonal<R, C>>(core, t);
}

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_SOLVE_TRIL_H_
