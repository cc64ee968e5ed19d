#ifndef GDN_ASCEND_KERNELS_RECOMPUTE_W_U_H_
#define GDN_ASCEND_KERNELS_RECOMPUTE_W_U_H_

// U = T diag(beta) V and W = T diag(beta exp(c)) K for each chunk and value head.
//
// Precision: T diag(..) is made in f32 and goes to the Cube core as two 16-bit numbers, the rounded
// one and the rest, so that repeated keys do not lose what the solve was exact about.
//
// Who:     a block takes an item, a chunk of one key head. Each Vector core scales the columns of
//          half of T's rows, 32 at a time, for each value head, and leaves them in GM (two slots a
//          block). The Cube core multiplies: two products for U, two for W.
// Flags:   kOperands from MTE3 of the Vector cores: a slot is full. kSlotFree from MTE2 of the Cube
//          core: it has read it.
// Buffers, C = 128 (KB):
//          L1    4 operands, V and K: 2 x 192 of 512
//          L0A   operands 2 x 32 of 64
//          L0B   V 32, K 32 of 64
//          L0C   U 64, W 64 of 128
//          UB    T 2 x 16 (16-bit: 2 x 8 and 16), scaled 16, rest 16, halves 2 x 2 x 8, beta exp(c)
//                4, c and beta (head_rows.h) 2 x 12 and 8: 132 of 192
// Binds:   V, some ten instructions of a tile's size for each value head, and MTE3, which writes
//          four 16-bit tiles for it, much alike. The Cube core has four products.

#include "ascend/kernels/gate_rows.h"
#include "ascend/kernels/items.h"
#include "ascend/kernels/spans.h"

namespace gdn::ascend::kernels {

/// E: f16 or bf16; B, the type of beta, and S, that of T: float or E.
template <class E, class B, class S>
struct RecomputeWUTensors {
  SequenceTable sequences;
  int64_t key_heads;
  int64_t value_heads;       ///< Value head h reads key head h / (value_heads / key_heads).
  Gm<const E> k;             ///< [tokens, key_heads, 128].
  Gm<const E> v;             ///< [tokens, value_heads, 128].
  Gm<const B> beta;          ///< [tokens, value_heads].
  Gm<const float> g_cumsum;  ///< [tokens, value_heads].
  Gm<const S> T;             ///< [tokens, value_heads, C].
  Gm<E> operands;            ///< Scratch [blocks, 2, 4, C, C].
  Gm<E> w;                   ///< Out [tokens, value_heads, 128].
  Gm<E> u;                   ///< Out [tokens, value_heads, 128].
};

/// What the Vector cores leave for one value head: for U and for W, the rounded one and the rest.
inline constexpr int kOperandsOfHead = 4;

/// Flags between the cores of a block.
enum class WUFlag { operands, slot_free };

/// The Cube core's part.
template <class E, class B, class S, int64_t C>
class RecomputeWUCube {
 public:
  using Tensors = RecomputeWUTensors<E, B, S>;

  GDN_NPU RecomputeWUCube(Core &core, const Tensors &t) : core_(core), t_(t) {
    for (int slot = 0; slot < kSlots; ++slot) {
      for (L1<E> &operand : operands_[slot]) operand = core.take<L1<E>>("operands", C * C);
      values_[slot] = core.take<L1<E>>("values", C * kHeadWidth);
      keys_[slot] = core.take<L1<E>>("keys", C * kHeadWidth);
      rows_[slot] = core.take<L0a<E>>("rows", C * C);
      columns_[slot] = core.take<L0b<E>>("columns", C * kHeadWidth);
      products_[slot] = core.take<L0c>("products", C * kHeadWidth);
    }
  }

  GDN_NPU void run() {
    for (int slot = 0; slot < kSlots; ++slot) {
      set_flag(core_, Pipe::mte1, Pipe::mte2, slot);
      set_flag(core_, Pipe::m, Pipe::mte1, slot);
      set_flag(core_, Pipe::fix, Pipe::m, slot);
      cross_set(core_, Pipe::mte2, kSlotFree);
    }
    const int64_t group = t_.value_heads / t_.key_heads;
    Items<C> items(core_, t_.sequences, t_.key_heads, core_.block(), core_.blocks());
    while (items.next()) {
      for (int64_t h = 0; h < group; ++h) {
        run_head(items.chunk(), items.part(), items.part() * group + h);
        slot_ ^= 1;
      }
    }
    for (int slot = 0; slot < kSlots; ++slot) {
      wait_flag(core_, Pipe::mte1, Pipe::mte2, slot);
      wait_flag(core_, Pipe::m, Pipe::mte1, slot);
      wait_flag(core_, Pipe::fix, Pipe::m, slot);
    }
  }

 private:
  static constexpr int kOperands = static_cast<int>(WUFlag::operands);
  static constexpr int kSlotFree = static_cast<int>(WUFlag::slot_free);

  GDN_NPU void run_head(const Chunk &chunk, int64_t key_head, int64_t head) {
    cross_wait(core_, kOperands);
    load_operands(chunk, key_head, head);
    wait_flag(core_, Pipe::mte2, Pipe::mte1, slot_);
    multiply(operands_[slot_][0], operands_[slot_][1], values_[slot_], 0);
    store_product(t_.u, chunk, head, 0);
    multiply(operands_[slot_][2], operands_[slot_][3], keys_[slot_], 1);
    set_flag(core_, Pipe::mte1, Pipe::mte2, slot_);
    store_product(t_.w, chunk, head, 1);
  }

  /// Rows past the chunk's end are zeros, never the next sequence's.
  GDN_NPU void load_operands(const Chunk &chunk, int64_t key_head, int64_t head) {
    wait_flag(core_, Pipe::mte1, Pipe::mte2, slot_);
    if (chunk.length < C) {
      for (const L1<E> &operand : operands_[slot_]) fill_l1(core_, operand, C * C);
      fill_l1(core_, values_[slot_], C * kHeadWidth);
      fill_l1(core_, keys_[slot_], C * kHeadWidth);
      pipe_barrier(core_, Pipe::mte2);
    }
    const Gm<E> operands = t_.operands + (core_.block() * kSlots + slot_) * kOperandsOfHead * C * C;
    for (int i = 0; i < kOperandsOfHead; ++i) {
      load_nd2nz(core_, operands_[slot_][i], operands + i * C * C, {chunk.length, C, C}, C);
    }
    cross_set(core_, Pipe::mte2, kSlotFree);
    load_rows(values_[slot_], t_.v, chunk, head, t_.value_heads);
    load_rows(keys_[slot_], t_.k, chunk, key_head, t_.key_heads);
    set_flag(core_, Pipe::mte2, Pipe::mte1, slot_);
  }

  GDN_NPU void load_rows(L1<E> to, Gm<const E> from, const Chunk &chunk, int64_t head,
                         int64_t heads) {
    const int64_t stride = heads * kHeadWidth;
    load_nd2nz(core_, to, from + (chunk.begin * stride + head * kHeadWidth),
               {chunk.length, kHeadWidth, stride}, C);
  }

  /// Product `which` = (high + low) x right. Its operands in L0 alternate.
  GDN_NPU void multiply(L1<E> high, L1<E> low, L1<E> right, int which) {
    constexpr int64_t kDown = C / kFractal;
    constexpr int64_t kAcross = kHeadWidth / kFractal;
    constexpr int64_t kElements = kFractal * kFractal;
    for (int part = 0; part < 2; ++part) {
      wait_flag(core_, Pipe::m, Pipe::mte1, part);
      for (int64_t i = 0; i < kDown; ++i) {
        load_a(core_, rows_[part] + i * C * kFractal, (part == 0 ? high : low) + i * kElements,
               {kDown, kDown});
        if (part == 0) {
          load_b_transposed(core_, columns_[which] + i * kAcross * kElements, right + i * kElements,
                            {kAcross, kDown});
        }
      }
      set_flag(core_, Pipe::mte1, Pipe::m, part);

      wait_flag(core_, Pipe::mte1, Pipe::m, part);
      if (part == 0) {
        wait_flag(core_, Pipe::fix, Pipe::m, which);
      } else {
        pipe_barrier(core_, Pipe::m);
      }
      mmad(core_, products_[which], rows_[part], columns_[which], C, C, kHeadWidth,
           part == 0 ? Sum::fresh : Sum::onto);
      set_flag(core_, Pipe::m, Pipe::mte1, part);
    }
    set_flag(core_, Pipe::m, Pipe::fix, which);
  }

  GDN_NPU void store_product(Gm<E> to, const Chunk &chunk, int64_t head, int which) {
    const int64_t stride = t_.value_heads * kHeadWidth;
    wait_flag(core_, Pipe::m, Pipe::fix, which);
    store_nz2nd(core_, to + (chunk.begin * stride + head * kHeadWidth), products_[which],
                {chunk.length, kHeadWidth, stride}, C);
    set_flag(core_, Pipe::fix, Pipe::m, which);
  }

  Core &core_;
  const Tensors &t_;
  int slot_ = 0;
  L1<E> operands_[kSlots][kOperandsOfHead];
  L1<E> values_[kSlots], keys_[kSlots];
  L0a<E> rows_[kSlots];
  L0b<E> columns_[kSlots];
  L0c products_[kSlots];
};

/// A Vector core's part: rows [first_, first_ + C / 2) of each chunk, 32 at a time.
template <class E, class B, class S, int64_t C>
class RecomputeWUVector {
 public:
  using Tensors = RecomputeWUTensors<E, B, S>;

  GDN_NPU RecomputeWUVector(Core &core, const Tensors &t)
      : core_(core), t_(t), first_(core.vector() * C / 2), gates_(core, kGatesEvent) {
    for (int slot = 0; slot < kSlots; ++slot) {
      T_[slot] = core.take<Ub<S>>("T", kRows * C);
      high_[slot] = core.take<Ub<E>>("high", kRows * C);
      low_[slot] = core.take<Ub<E>>("low", kRows * C);
    }
    if constexpr (kNarrow) wide_ = core.take<Ub<float>>("T widened", kRows * C);
    scaled_ = core.take<Ub<float>>("scaled", kRows * C);
    rest_ = core.take<Ub<float>>("rest", kRows * C);
    decay_ = core.take<Ub<float>>("beta exp(c)", kBlockLanes * C);
  }

  GDN_NPU void run() {
    gates_.begin();
    for (int slot = 0; slot < kSlots; ++slot) {
      set_flag(core_, Pipe::v, Pipe::mte2, kTEvent + slot);
      set_flag(core_, Pipe::mte3, Pipe::v, slot);
    }
    Items<C> items(core_, t_.sequences, t_.key_heads, core_.block(), core_.blocks());
    while (items.next()) run_item(items.chunk(), items.part());
    for (int slot = 0; slot < kSlots; ++slot) {
      wait_flag(core_, Pipe::v, Pipe::mte2, kTEvent + slot);
      wait_flag(core_, Pipe::mte3, Pipe::v, slot);
      cross_wait(core_, kSlotFree);
    }
    gates_.end();
  }

 private:
  static constexpr int64_t kRows = 32;
  static constexpr bool kNarrow = !std::is_same_v<S, float>;
  static constexpr int kOperands = static_cast<int>(WUFlag::operands);
  static constexpr int kSlotFree = static_cast<int>(WUFlag::slot_free);
  /// Events between MTE2 and V, each of them one for each slot.
  static constexpr int kTEvent = 0;
  static constexpr int kGatesEvent = 2;

  GDN_NPU void run_item(const Chunk &chunk, int64_t key_head) {
    const int64_t end = smaller(chunk.length, first_ + C / 2);
    const int64_t group = t_.value_heads / t_.key_heads;
    for (int64_t g = 0; g < group; g += kBlockLanes) {
      const int64_t first_head = key_head * group + g;
      const int64_t heads = smaller(kBlockLanes, group - g);
      if (first_ < end) {
        gates_.load(t_.g_cumsum, t_.beta, chunk, first_head, heads, t_.value_heads);
        split_gates();
      }
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t row = first_; row < end; row += kRows) {
          load_rows(chunk, first_head + h, row, smaller(kRows, end - row));
        }
        cross_wait(core_, kSlotFree);
        for (int64_t row = first_; row < end; row += kRows) {
          scale_rows(h, row, smaller(kRows, end - row));
        }
        cross_set(core_, Pipe::mte3, kOperands);
        slot_ ^= 1;
      }
    }
  }

  /// c, and beta, whose zeros past a chunk's end drop what may be there in T's columns.
  GDN_NPU void split_gates() {
    gates_.split();
    const Repeats all{kBlockLanes * C / kLanes};
    vexp(core_, {decay_}, {gates_.c(0)}, all);
    pipe_barrier(core_, Pipe::v);
    vbinary(core_, Binary::mul, {decay_}, {decay_}, {gates_.beta(0)}, all);
  }

  /// Rows of T, at most two times before they are scaled.
  GDN_NPU void load_rows(const Chunk &chunk, int64_t head, int64_t row, int64_t rows) {
    wait_flag(core_, Pipe::v, Pipe::mte2, kTEvent + next_);
    load(core_, T_[next_], t_.T + ((chunk.begin + row) * t_.value_heads + head) * C,
         {rows, C, t_.value_heads * C});
    set_flag(core_, Pipe::mte2, Pipe::v, kTEvent + next_);
    next_ ^= 1;
  }

  /// Both operands of some rows of T, for U and for W.
  GDN_NPU void scale_rows(int64_t h, int64_t row, int64_t rows) {
    wait_flag(core_, Pipe::mte2, Pipe::v, kTEvent + T_slot_);
    const Repeats all{rows * C / kLanes};
    Ub<float> T;
    if constexpr (kNarrow) {
      vcast<S>(core_, {wide_}, {T_[T_slot_]}, all);
      pipe_barrier(core_, Pipe::v);
      T = wide_;
    } else {
      T = T_[T_slot_];
    }
    const Gm<E> operands =
        t_.operands + ((core_.block() * kSlots + slot_) * kOperandsOfHead * C + row) * C;
    scale_columns(T, gates_.beta(h), rows);
    store_halves(operands, rows);
    scale_columns(T, decay_ + h * C, rows);
    set_flag(core_, Pipe::v, Pipe::mte2, kTEvent + T_slot_);
    store_halves(operands + 2 * C * C, rows);
    T_slot_ ^= 1;
  }

  GDN_NPU void scale_columns(Ub<float> T, Ub<float> by, int64_t rows) {
    for (int64_t p = 0; p < C; p += kLanes) {
      vbinary(core_, Binary::mul, {scaled_ + p, 1, C / kBlockLanes}, {T + p, 1, C / kBlockLanes},
              {by + p, 1, 0}, {rows});
    }
  }

  /// What is scaled as two 16-bit numbers, to GM.
  GDN_NPU void store_halves(Gm<E> to, int64_t rows) {
    const Repeats all{rows * C / kLanes};
    wait_flag(core_, Pipe::mte3, Pipe::v, out_);
    pipe_barrier(core_, Pipe::v);
    vround<E>(core_, {high_[out_]}, {scaled_}, all);
    pipe_barrier(core_, Pipe::v);
    vcast<E>(core_, {rest_}, {high_[out_]}, all);
    pipe_barrier(core_, Pipe::v);
    vbinary(core_, Binary::sub, {rest_}, {scaled_}, {rest_}, all);
    pipe_barrier(core_, Pipe::v);
    vround<E>(core_, {low_[out_]}, {rest_}, all);
    set_flag(core_, Pipe::v, Pipe::mte3, out_);

    wait_flag(core_, Pipe::v, Pipe::mte3, out_);
    store(core_, to, high_[out_], {1, rows * C, 0});
    store(core_, to + C * C, low_[out_], {1, rows * C, 0});
    set_flag(core_, Pipe::mte3, Pipe::v, out_);
    out_ ^= 1;
  }

  Core &core_;
  const Tensors &t_;
  int64_t first_;
  int slot_ = 0;    ///< Of the operands in GM.
  int next_ = 0;    ///< Slot of T to be loaded.
  int T_slot_ = 0;  ///< Slot of T to be scaled.
  int out_ = 0;     ///< Slot of the halves.
  GateRows<B, C> gates_;
  Ub<S> T_[kSlots];
  Ub<E> high_[kSlots], low_[kSlots];
  Ub<float> wide_, scaled_, rest_, decay_;
};

template <class E, class B, class S, int64_t C>
GDN_NPU void recompute_w_u(Core &core, const RecomputeWUTensors<E, B, S> &t) {
  run_part<RecomputeWUCube<E, B, S, C>, RecomputeWUVector<E, B, S, C>>(core, t);
}

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_RECOMPUTE_W_U_H_
