#ifndef GDN_ASCEND_KERNELS_SOLVE_TRIL_H_
#define GDN_ASCEND_KERNELS_SOLVE_TRIL_H_

// T = (I + A)^-1 for each chunk and head, by blocked forward substitution:
//
//     X      = (I + A)^-1 of each 16 x 16 block on the diagonal: from X = I on, step j subtracts
//              A[i, j] times row j, which is final by then, from all rows i > j
//     [ X  0 ]-1    [  X^-1             0   ]
//     [ B  Y ]    = [ -Y^-1 B X^-1     Y^-1 ]    merges two blocks of 16, then of 32, then of 64
//
// Precision: the blocks of 16 are made in f32. The merges' operands go to the Cube core as two
// 16-bit numbers, the rounded one and the rest, of T's own type, or f16 where T is in f32. One
// number alone loses 1e-2 (bf16) and 1e-3 (f16) of T where keys are much alike; two lose 5e-5 and
// 5e-7 there. What f16 cannot hold, A beyond 65504, T in f32 cannot have either.
//
// Who:     a block takes an item, a chunk of one head. Each Vector core makes the diagonal blocks
// of
//          half of its rows, four beside each other in 64 lanes; stores T from there to the right,
//          which is all zeros behind them; and leaves M in GM (two slots a block), X on the
//          diagonal, -B below it. The Cube core merges two items side by side and stores T's blocks
//          below the diagonal. M in L1 becomes T on the way: a merge's result takes -B's place.
// Rest:    what is left of a product is made where it lies: L0C -= I x the rounded one.
// Flags:   kOperands from MTE3 of the Vector cores: a slot is full. kSlotFree from MTE2 of the Cube
//          core: it has read it.
// Order:   on the Cube core MTE1 -> M -> FIX -> MTE1 is one ring for each item of the two, so that
//          three events order all of its buffers but M; on a Vector core MTE2 -> V -> MTE3 -> MTE2
//          is one for each slot.
// Buffers, C = 128 (KB):
//          L1    M 4 x 2 x 32, -B X^-1 2 x 2 x 8, -I 8: 296 of 512
//          L0A   -B or Y^-1 2 x 16, -I 10.5: 42.5 of 64
//          L0B   X^-1 or -B X^-1 2 x 16 of 64
//          L0C   -B X^-1 2 x 16, -Y^-1 B X^-1 2 x 16: 64 of 128
//          UB    M 2 x 32, its halves 2 x 2 x 16, rest 32, X, I and columns 4 each: 172 of 192
// Binds:   FIX of the Cube core and MTE2 beside it. By forward substitution alone it was V, with C
//          steps of up to C * C / 64 repeats.

#include "ascend/kernels/solve_tril_diagonal.h"
#include "ascend/kernels/solve_tril_merge.h"

namespace gdn::ascend::kernels {

template <class R, int64_t C>
GDN_NPU void solve_tril(Core &core, const SolveTrilTensors<R> &t) {
  run_part<SolveTrilMerge<R, C>, SolveTrilDiagonal<R, C>>(core, t);
}

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_SOLVE_TRIL_H_
