#ifndef GDN_ASCEND_KERNELS_SOLVE_TRIL_DIAGONAL_H_
#define GDN_ASCEND_KERNELS_SOLVE_TRIL_DIAGONAL_H_

#include "ascend/kernels/solve_tril_tensors.h"
#include "ascend/kernels/spans.h"

namespace gdn::ascend::kernels {

/// A Vector core's part of solve_tril.h: rows [first_, first_ + C / 2) of each chunk.
template <class R, int64_t C>
class SolveTrilDiagonal {
 public:
  using Tensors = SolveTrilTensors<R>;
  using E = SolvePart<R>;

  GDN_NPU SolveTrilDiagonal(Core &core, const Tensors &t)
      : core_(core),
        t_(t),
        first_(core.vector() * kRows),
        items_(core, t.sequences, t.heads, core.block(), core.blocks()) {
    for (int slot = 0; slot < kSlots; ++slot) {
      M_[slot] = core.take<Ub<float>>("M", kRows * C);
      parts_[slot][kHigh] = core.take<Ub<E>>("high", kRows * C);
      parts_[slot][kLow] = core.take<Ub<E>>("low", kRows * C);
    }
    rest_ = core.take<Ub<float>>("rest, or columns over blocks", kRows * larger(C, kSpread));
    X_ = core.take<Ub<float>>("X", kFractal * kRows);
    identity_ = core.take<Ub<float>>("identity", kFractal * kRows);
    columns_ = core.take<Ub<float>>("columns", kFractal * kRows);
    small_identity_ = core.take<Ub<float>>("identity of 8", kBlockLanes * kBlockLanes);
    minus_one_ = core.take<Ub<float>>("-1", kBlockLanes);
  }

  GDN_NPU void run() {
    begin();
    // The next item's rows come while V works on this one's.
    Item next = load_next();
    while (next.valid) {
      const Item item = next;
      next = load_next();
      run_item(item);
    }
    for (int slot = 0; slot < kSlots; ++slot) {
      wait_flag(core_, Pipe::mte3, Pipe::mte2, slot);
      cross_wait(core_, kSlotFree);
    }
  }

 private:
  static constexpr int kOperands = static_cast<int>(SolveFlag::operands);
  static constexpr int kSlotFree = static_cast<int>(SolveFlag::slot_free);
  static constexpr bool kNarrow = !std::is_same_v<R, float>;
  static constexpr int64_t kRows = C / 2;
  /// Diagonal blocks; X holds them beside each other.
  static constexpr int64_t kBlocks = kRows / kFractal;
  static constexpr int64_t kRowBlocks = C / kBlockLanes;
  static constexpr int64_t kXRowBlocks = kRows / kBlockLanes;
  /// Lanes that a row's numbers of all columns of a diagonal block take, each over a block.
  static constexpr int64_t kSpread = kFractal * kBlockLanes;
  /// Of MTE2 and V, behind those of the slots.
  static constexpr int kIdentityEvent = kSlots;

  struct Item {
    bool valid;
    Chunk chunk;
    int64_t head;
    int64_t rows;  ///< Of this core.
  };

  GDN_NPU void begin() {
    load(core_, small_identity_, t_.identity, {1, kBlockLanes * kBlockLanes, 0});
    set_flag(core_, Pipe::mte2, Pipe::v, kIdentityEvent);
    fill(core_, minus_one_, -1.0F, kBlockLanes);
    fill(core_, identity_, 0.0F, kFractal * kRows);
    // Rows past a chunk's end are whatever was there before; at first zeros.
    for (int slot = 0; slot < kSlots; ++slot) {
      fill(core_, M_[slot], 0.0F, kRows * C);
      set_flag(core_, Pipe::v, Pipe::mte3, slot);
      wait_flag(core_, Pipe::v, Pipe::mte3, slot);
      set_flag(core_, Pipe::mte3, Pipe::mte2, slot);
    }
    wait_flag(core_, Pipe::mte2, Pipe::v, kIdentityEvent);
    pipe_barrier(core_, Pipe::v);
    for (int64_t p = 0; p < kFractal; p += kBlockLanes) {
      const Lanes<float> rows{small_identity_, 0, 1};
      vbinary(core_, Binary::max, {identity_ + (p * kRows + p), 2, kXRowBlocks}, rows, rows,
              {kBlockLanes, kBlocks * kBlockLanes});
    }
  }

  GDN_NPU Item load_next() {
    if (!items_.next()) return {false, {}, 0, 0};
    const Chunk chunk = items_.chunk();
    const Item item{true, chunk, items_.part(), zero_to(kRows, chunk.length - first_)};
    if (item.rows > 0) {
      wait_flag(core_, Pipe::mte3, Pipe::mte2, next_);
      load(core_, M_[next_], t_.A + row_of_T(item, 0), {item.rows, C, t_.heads * C});
      set_flag(core_, Pipe::mte2, Pipe::v, next_);
      next_ ^= 1;
    }
    return item;
  }

  GDN_NPU void run_item(const Item &item) {
    if (item.rows > 0) {
      wait_flag(core_, Pipe::mte2, Pipe::v, slot_);
      negate(item.rows);
      substitute();
      place_diagonal();
      split(item.rows);
      set_flag(core_, Pipe::v, Pipe::mte3, slot_);

      wait_flag(core_, Pipe::v, Pipe::mte3, slot_);
      store_T(item);
    }
    cross_wait(core_, kSlotFree);
    if (item.rows > 0) {
      const Gm<E> operands = t_.operands + (core_.block() * kSlots + operands_) * kParts * C * C;
      for (int part = 0; part < kParts; ++part) {
        store(core_, operands + (part * C + first_) * C, parts_[slot_][part],
              {1, item.rows * C, 0});
      }
      set_flag(core_, Pipe::mte3, Pipe::mte2, slot_);
      slot_ ^= 1;
    }
    cross_set(core_, Pipe::mte3, kOperands);
    operands_ ^= 1;
  }

  /// Where a row of this core begins in A and T.
  GDN_NPU int64_t row_of_T(const Item &item, int64_t row) const {
    return ((item.chunk.begin + first_ + row) * t_.heads + item.head) * C;
  }

  /// M = -A.
  GDN_NPU void negate(int64_t rows) {
    Spans spans(rows * C);
    while (spans.next()) {
      const Lanes<float> part{M_[slot_] + spans.at()};
      vbinary(core_, Binary::mul, part, part, {minus_one_, 0, 0}, spans.repeats());
    }
    pipe_barrier(core_, Pipe::v);
  }

  /// X of all diagonal blocks at once. Number (j, b, i) of the columns is -A[i, j] of block b.
  GDN_NPU void substitute() {
    for (int64_t j = 0; j < kFractal; j += kBlockLanes) {
      vtranspose(core_, columns_ + j * kRows, M_[slot_] + (first_ + j), kBlocks,
                 {kRowBlocks, kFractal * kRowBlocks + 2, kXRowBlocks, 2});
    }
    const Lanes<float> identity{identity_};
    vbinary(core_, Binary::max, {X_}, identity, identity, {kFractal * kRows / kLanes});
    pipe_barrier(core_, Pipe::v);
    vbrcb(core_, rest_, columns_, kFractal * kXRowBlocks);
    for (int64_t j = 0; j + 1 < kFractal; ++j) {
      pipe_barrier(core_, Pipe::v);
      // One half of all blocks' columns, then the other, which is zero in the first rows.
      for (int64_t p = 0; p <= j; p += kBlockLanes) {
        vmla(core_, {X_ + ((j + 1) * kRows + p), 2, kXRowBlocks},
             {rest_ + (j * kRows + j + 1) * kBlockLanes, kFractal, 1}, {X_ + (j * kRows + p), 2, 0},
             {kFractal - 1 - j, kBlocks * kBlockLanes});
      }
    }
    pipe_barrier(core_, Pipe::v);
  }

  /// X to its place in M, and zeros behind it.
  GDN_NPU void place_diagonal() {
    for (int64_t b = 0; b < kBlocks; ++b) {
      const Ub<float> rows = M_[slot_] + b * kFractal * C;
      const int64_t column = first_ + b * kFractal;
      const Lanes<float> X{X_ + b * kFractal, 1, kXRowBlocks};
      vbinary(core_, Binary::max, {rows + column, 1, kRowBlocks}, X, X, {kFractal, kFractal});
      for (int64_t p = column + kFractal; p < C; p += kLanes) {
        vdup(core_, {rows + p, 1, kRowBlocks}, 0.0F, {kFractal, smaller(kLanes, C - p)});
      }
    }
    pipe_barrier(core_, Pipe::v);
  }

  /// M as two 16-bit numbers.
  GDN_NPU void split(int64_t rows) {
    Spans spans(rows * C);
    while (spans.next()) {
      const int64_t at = spans.at();
      const Repeats &all = spans.repeats();
      vround<E>(core_, {parts_[slot_][kHigh] + at}, {M_[slot_] + at}, all);
      pipe_barrier(core_, Pipe::v);
      vcast<E>(core_, {rest_ + at}, {parts_[slot_][kHigh] + at}, all);
      pipe_barrier(core_, Pipe::v);
      vbinary(core_, Binary::sub, {rest_ + at}, {M_[slot_] + at}, {rest_ + at}, all);
      pipe_barrier(core_, Pipe::v);
      vround<E>(core_, {parts_[slot_][kLow] + at}, {rest_ + at}, all);
    }
  }

  /// T from the diagonal blocks on to the right: of the rounded part, which has T's type, or of M.
  GDN_NPU void store_T(const Item &item) {
    Ub<R> from;
    if constexpr (kNarrow) {
      from = parts_[slot_][kHigh];
    } else {
      from = M_[slot_];
    }
    for (int64_t row = 0; row < item.rows; row += kFractal) {
      const int64_t column = first_ + row;
      store(core_, t_.T + (row_of_T(item, row) + column), from + (row * C + column),
            {smaller(kFractal, item.rows - row), C - column, t_.heads * C,
             column * static_cast<int64_t>(sizeof(R)) / kBlockBytes});
    }
  }

  Core &core_;
  const Tensors &t_;
  int64_t first_;
  Items<C> items_;
  int next_ = 0;      ///< Slot of M to be loaded.
  int slot_ = 0;      ///< Slot of M to be used, and of its parts.
  int operands_ = 0;  ///< Slot of the operands in GM.
  Ub<float> M_[kSlots];
  Ub<E> parts_[kSlots][kParts];
  Ub<float> rest_, X_, identity_, columns_, small_identity_, minus_one_;
};

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_SOLVE_TRIL_DIAGONAL_H_
