#ifndef GDN_ASCEND_KERNELS_SOLVE_TRIL_MERGE_H_
#define GDN_ASCEND_KERNELS_SOLVE_TRIL_MERGE_H_

#include "ascend/kernels/solve_tril_tensors.h"

namespace gdn::ascend::kernels {

/// The Cube core's part of solve_tril.h.
template <class R, int64_t C>
class SolveTrilMerge {
 public:
  using Tensors = SolveTrilTensors<R>;
  using E = SolvePart<R>;

  GDN_NPU SolveTrilMerge(Core &core, const Tensors &t)
      : core_(core), t_(t), items_(core, t.sequences, t.heads, core.block(), core.blocks()) {
    for (int turn = 0; turn < kSlots; ++turn) {
      for (int side = 0; side < kSides; ++side) {
        for (L1<E> &part : items_of_[turn][side].M) part = core.take<L1<E>>("M", C * C);
      }
    }
    for (Side &side : sides_) {
      for (L1<E> &part : side.P_parts) part = core.take<L1<E>>("P in parts", kPart);
      side.left = core.take<L0a<E>>("left", kParts * kPart);
      side.right = core.take<L0b<E>>("right", kParts * kPart);
      side.P = core.take<L0c>("P", kPart);
      side.Q = core.take<L0c>("Q", kPart);
    }
    minus_identity_ = core.take<L1<E>>("-I", kPart);
    for (int level = 0; level < kLevels; ++level) {
      minus_identities_[level] =
          core.take<L0a<E>>("-I", size_of_level(level) * size_of_level(level));
    }
  }

  GDN_NPU void run() {
    begin();
    load_turn(0);
    for (int turn = 0; items_of_[turn][0].valid; turn ^= 1) {
      load_turn(turn ^ 1);
      merge_turn(turn);
    }
    for (int turn = 0; turn < kSlots; ++turn) wait_flag(core_, Pipe::mte1, Pipe::mte2, turn);
    for (int side = 0; side < kSides; ++side) wait_flag(core_, Pipe::fix, Pipe::mte1, side);
  }

 private:
  static constexpr int kOperands = static_cast<int>(SolveFlag::operands);
  static constexpr int kSlotFree = static_cast<int>(SolveFlag::slot_free);
  /// Items that take turns at the pipes.
  static constexpr int kSides = 2;
  /// Merges of blocks of 16, 32 and, for chunks of 128, 64.
  static constexpr int kLevels = C == 128 ? 3 : 2;
  /// Of a merge.
  static constexpr int kSteps = 4;
  /// Elements of an operand of all merges of a level, at most.
  static constexpr int64_t kPart = C / 2 * (C / 2);
  /// Of MTE2 and MTE1, behind those of M.
  static constexpr int kIdentityEvent = kSlots;

  GDN_NPU static constexpr int64_t size_of_level(int level) { return kFractal << level; }

  struct Item {
    bool valid = false;
    Chunk chunk;
    int64_t head;
    L1<E> M[kParts];
  };
  struct Side {
    L1<E> P_parts[kParts];
    L0a<E> left;
    L0b<E> right;
    L0c P, Q;
  };

  GDN_NPU void begin() {
    for (int slot = 0; slot < kSlots; ++slot) cross_set(core_, Pipe::mte2, kSlotFree);
    for (int turn = 0; turn < kSlots; ++turn) set_flag(core_, Pipe::mte1, Pipe::mte2, turn);
    for (int side = 0; side < kSides; ++side) set_flag(core_, Pipe::fix, Pipe::mte1, side);
    fill_l1(core_, minus_identity_, kPart);
    pipe_barrier(core_, Pipe::mte2);
    for (int64_t i = 0; i < C / 2; i += kFractal) {
      load_nd2nz(core_, minus_identity_ + (i * (C / 2) + i * kFractal), t_.minus_identity,
                 {kFractal, kFractal, kFractal}, kFractal);
    }
    set_flag(core_, Pipe::mte2, Pipe::mte1, kIdentityEvent);
    wait_flag(core_, Pipe::mte2, Pipe::mte1, kIdentityEvent);
    for (int level = 0; level < kLevels; ++level) {
      const int64_t size = size_of_level(level);
      for (int64_t i = 0; i < size; i += kFractal) {
        load_a(core_, minus_identities_[level] + i * size, minus_identity_ + i * kFractal,
               {size / kFractal, C / 2 / kFractal});
      }
    }
  }

  GDN_NPU void load_turn(int turn) {
    for (Item &item : items_of_[turn]) {
      item.valid = items_.next();
      if (!item.valid) continue;
      item.chunk = items_.chunk();
      item.head = items_.part();
    }
    if (!items_of_[turn][0].valid) return;
    wait_flag(core_, Pipe::mte1, Pipe::mte2, turn);
    for (const Item &item : items_of_[turn]) {
      if (item.valid) load_item(item);
    }
    set_flag(core_, Pipe::mte2, Pipe::mte1, turn);
  }

  /// Rows past the chunk's end are zeros.
  GDN_NPU void load_item(const Item &item) {
    cross_wait(core_, kOperands);
    if (item.chunk.length < C) {
      for (const L1<E> &part : item.M) fill_l1(core_, part, C * C);
      pipe_barrier(core_, Pipe::mte2);
    }
    const Gm<E> operands = t_.operands + (core_.block() * kSlots + operands_) * kParts * C * C;
    for (int part = 0; part < kParts; ++part) {
      load_nd2nz(core_, item.M[part], operands + part * C * C, {item.chunk.length, C, C}, C);
    }
    cross_set(core_, Pipe::mte2, kSlotFree);
    operands_ ^= 1;
  }

  /// Each step of one item, then of the other: while a pipe works on one, the next pipe works on
  /// the other.
  GDN_NPU void merge_turn(int turn) {
    const Item(&items)[kSides] = items_of_[turn];
    wait_flag(core_, Pipe::mte2, Pipe::mte1, turn);
    for (int level = 0; level < kLevels; ++level) {
      for (int step = 0; step < kSteps; ++step) {
        for (int side = 0; side < kSides; ++side) {
          if (items[side].valid && step < steps(items[side], level)) {
            run_step(step, level, side, items[side]);
          }
        }
      }
    }
    set_flag(core_, Pipe::mte1, Pipe::mte2, turn);
  }

  /// The last level's merges are the last to use their result.
  GDN_NPU static int steps(const Item &item, int level) {
    if (pairs(item, level) == 0) return 0;
    return pairs(item, level + 1) == 0 ? kSteps - 1 : kSteps;
  }

  /// Merges that have a row of the chunk below the diagonal.
  GDN_NPU static int64_t pairs(const Item &item, int level) {
    const int64_t size = size_of_level(level);
    return (item.chunk.length + size - 1) / (2 * size);
  }

  // The steps, with P = -B X and Q = Y P, where X and Y are inverses already:
  //
  //     step  MTE1 to L0          M                                FIX
  //     0     -B, X               P = -B X                         P rounded, to L1
  //     1     Y, P rounded        P -= P rounded, Q = Y P rounded  the rest of P, to L1
  //     2     the rest of P       Q += Y times it                  Q, to T and rounded to M in L1
  //     3     Q rounded           Q -= Q rounded                   the rest of Q, to M

  GDN_NPU void run_step(int step, int level, int side, const Item &item) {
    const Merge merge{level, size_of_level(level), pairs(item, level), side, item};
    wait_flag(core_, Pipe::fix, Pipe::mte1, side);
    if (step == 0) load_B_and_X(merge);
    if (step == 1) load_Y_and_P(merge);
    if (step == 2) load_rest_of_P(merge);
    if (step == 3) load_Q(merge);
    set_flag(core_, Pipe::mte1, Pipe::m, side);

    wait_flag(core_, Pipe::mte1, Pipe::m, side);
    const Side &s = sides_[side];
    if (step == 0) {
      multiply(merge, s.P, kHigh, kHigh, Sum::fresh);
      multiply(merge, s.P, kHigh, kLow, Sum::onto);
      multiply(merge, s.P, kLow, kHigh, Sum::onto);
    }
    if (step == 1) {
      subtract_rounded(merge, s.P);
      multiply(merge, s.Q, kHigh, kHigh, Sum::fresh);
      multiply(merge, s.Q, kLow, kHigh, Sum::onto);
    }
    if (step == 2) multiply(merge, s.Q, kHigh, kLow, Sum::onto);
    if (step == 3) subtract_rounded(merge, s.Q);
    set_flag(core_, Pipe::m, Pipe::fix, side);

    wait_flag(core_, Pipe::m, Pipe::fix, side);
    if (step == 0) store_P(merge, kHigh);
    if (step == 1) store_P(merge, kLow);
    if (step == 2) store_T(merge);
    if (step == 2 && steps(item, level) == kSteps) store_Q(merge, kHigh);
    if (step == 3) store_Q(merge, kLow);
    set_flag(core_, Pipe::fix, Pipe::mte1, side);
  }

  /// A step of the merges of a level in an item.
  struct Merge {
    int level;
    int64_t size;   ///< Of a block.
    int64_t pairs;  ///< Of blocks.
    int side;
    const Item &item;

    GDN_NPU int64_t elements() const { return size * size; }
    /// First row and column of a pair.
    GDN_NPU int64_t begin(int64_t pair) const { return 2 * size * pair; }
    /// A block of M.
    GDN_NPU L1<E> block(int part, int64_t row, int64_t column) const {
      return item.M[part] + (column * C + row * kFractal);
    }
  };

  // MTE1.

  GDN_NPU void load_B_and_X(const Merge &merge) {
    for (int64_t pair = 0; pair < merge.pairs; ++pair) {
      const int64_t x = merge.begin(pair);
      const int64_t y = x + merge.size;
      for (int part = 0; part < kParts; ++part) {
        load_left(merge, pair, part, merge.block(part, y, x));
        load_right(merge, pair, part, merge.block(part, x, x), C);
      }
    }
  }

  GDN_NPU void load_Y_and_P(const Merge &merge) {
    for (int64_t pair = 0; pair < merge.pairs; ++pair) {
      const int64_t y = merge.begin(pair) + merge.size;
      for (int part = 0; part < kParts; ++part) {
        load_left(merge, pair, part, merge.block(part, y, y));
      }
      load_P(merge, pair, kHigh);
    }
  }

  GDN_NPU void load_rest_of_P(const Merge &merge) {
    for (int64_t pair = 0; pair < merge.pairs; ++pair) load_P(merge, pair, kLow);
  }

  GDN_NPU void load_Q(const Merge &merge) {
    for (int64_t pair = 0; pair < merge.pairs; ++pair) {
      const int64_t x = merge.begin(pair);
      load_right(merge, pair, kHigh, merge.block(kHigh, x + merge.size, x), C);
    }
  }

  GDN_NPU void load_P(const Merge &merge, int64_t pair, int part) {
    load_right(merge, pair, part, sides_[merge.side].P_parts[part] + pair * merge.elements(),
               merge.size);
  }

  GDN_NPU void load_left(const Merge &merge, int64_t pair, int part, L1<E> from) {
    const L0a<E> to = sides_[merge.side].left + (part * kPart + pair * merge.elements());
    for (int64_t i = 0; i < merge.size; i += kFractal) {
      load_a(core_, to + i * merge.size, from + i * kFractal,
             {merge.size / kFractal, C / kFractal});
    }
  }

  /// From a matrix in L1 that has `height` rows.
  GDN_NPU void load_right(const Merge &merge, int64_t pair, int part, L1<E> from, int64_t height) {
    const L0b<E> to = sides_[merge.side].right + (part * kPart + pair * merge.elements());
    for (int64_t i = 0; i < merge.size; i += kFractal) {
      load_b_transposed(core_, to + i * merge.size, from + i * kFractal,
                        {merge.size / kFractal, height / kFractal});
    }
  }

  // M. All pairs' products lie beside each other, columns of one matrix.

  GDN_NPU void multiply(const Merge &merge, L0c to, int left, int right, Sum sum) {
    const Side &side = sides_[merge.side];
    const int64_t size = merge.size;
    if (sum == Sum::onto) pipe_barrier(core_, Pipe::m);
    for (int64_t at = 0; at < merge.pairs * merge.elements(); at += merge.elements()) {
      mmad(core_, to + at, side.left + (left * kPart + at), side.right + (right * kPart + at), size,
           size, size, sum);
    }
  }

  /// What was rounded stands in L0B.
  GDN_NPU void subtract_rounded(const Merge &merge, L0c from) {
    const int64_t size = merge.size;
    for (int64_t at = 0; at < merge.pairs * merge.elements(); at += merge.elements()) {
      mmad(core_, from + at, minus_identities_[merge.level], sides_[merge.side].right + at, size,
           size, size, Sum::onto);
    }
  }

  // FIX.

  GDN_NPU void store_P(const Merge &merge, int part) {
    const Side &side = sides_[merge.side];
    store_l1(core_, side.P_parts[part], side.P, merge.size, merge.pairs * merge.size,
             {merge.size, merge.size});
  }

  /// For the next level, where -B was.
  GDN_NPU void store_Q(const Merge &merge, int part) {
    for (int64_t pair = 0; pair < merge.pairs; ++pair) {
      const int64_t x = merge.begin(pair);
      store_l1(core_, merge.block(part, x + merge.size, x),
               sides_[merge.side].Q + pair * merge.elements(), merge.size, merge.size,
               {C, merge.size});
    }
  }

  GDN_NPU void store_T(const Merge &merge) {
    const Chunk &chunk = merge.item.chunk;
    for (int64_t pair = 0; pair < merge.pairs; ++pair) {
      const int64_t x = merge.begin(pair);
      const int64_t y = x + merge.size;
      store_nz2nd(core_, t_.T + (((chunk.begin + y) * t_.heads + merge.item.head) * C + x),
                  sides_[merge.side].Q + pair * merge.elements(),
                  {smaller(merge.size, chunk.length - y), merge.size, t_.heads * C}, merge.size);
    }
  }

  Core &core_;
  const Tensors &t_;
  Items<C> items_;
  int operands_ = 0;  ///< Slot of the operands in GM.
  Item items_of_[kSlots][kSides];
  Side sides_[kSides];
  L1<E> minus_identity_;
  L0a<E> minus_identities_[kLevels];
};

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_SOLVE_TRIL_MERGE_H_
