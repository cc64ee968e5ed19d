#ifndef GDN_ASCEND_KERNELS_CHUNK_SCALED_DOT_KKT_H_
#define GDN_ASCEND_KERNELS_CHUNK_SCALED_DOT_KKT_H_

// A[i, j] = beta_i exp(c_i - c_j) (k_i . k_j) for i > j, else 0, for each chunk and value head.
//
// Who:     a block takes an item, a chunk of one key head. The Cube core makes K K^T and leaves it
//          in GM (two slots a block; it stays in L2). Each Vector core takes half of its rows and
//          makes A of them for each value head of the key head.
// Flags:   kProducts from FIX of the Cube core: a slot of K K^T is full. kSlotFree from MTE2 of the
//          Vector cores: both have read it.
// Buffers, C = 128 (KB):
//          L1    keys        2 x 32   of 512
//          L0A   rows        2 x 32   of 64
//          L0B   columns     2 x 32   of 64
//          L0C   products    2 x 64   of 128
//          UB    products    2 x 32, A 2 x 32, c and beta (head_rows.h) 2 x 12 and 8, both of the
//                half's rows over a block 2 x 2, the triangle 1: 165 of 192
// Binds:   V, with C / 64 * 2 + 3 instructions of a tile's size for each value head, and MTE3 close
//          to it, which writes C f32 a token and head. The Cube core makes one product a key head.

#include "ascend/kernels/gate_rows.h"
#include "ascend/kernels/items.h"
#include "ascend/kernels/spans.h"

namespace gdn::ascend::kernels {

/// E: f16 or bf16; B, the type of beta: float or E.
template <class E, class B>
struct ChunkScaledDotKktTensors {
  SequenceTable sequences;
  int64_t key_heads;
  int64_t value_heads;         ///< Value head h reads key head h / (value_heads / key_heads).
  Gm<const E> k;               ///< [tokens, key_heads, 128].
  Gm<const B> beta;            ///< [tokens, value_heads].
  Gm<const float> g_cumsum;    ///< [tokens, value_heads].
  Gm<const uint8_t> triangle;  ///< [C, C / 8]: bit j of row i is 1 for i > j.
  Gm<float> products;          ///< Scratch [blocks, 2, C, C].
  Gm<float> A;                 ///< Out [tokens, value_heads, C].
};

/// Flags between the cores of a block.
enum class KktFlag { products, slot_free };

/// The Cube core's part.
template <class E, class B, int64_t C>
class ChunkScaledDotKktCube {
 public:
  using Tensors = ChunkScaledDotKktTensors<E, B>;

  GDN_NPU ChunkScaledDotKktCube(Core &core, const Tensors &t) : core_(core), t_(t) {
    for (int slot = 0; slot < kSlots; ++slot) {
      keys_[slot] = core.take<L1<E>>("keys", C * kHeadWidth);
      rows_[slot] = core.take<L0a<E>>("rows", C * kHeadWidth);
      columns_[slot] = core.take<L0b<E>>("columns", C * kHeadWidth);
      products_[slot] = core.take<L0c>("products", C * C);
    }
  }

  GDN_NPU void run() {
    for (int slot = 0; slot < kSlots; ++slot) {
      set_flag(core_, Pipe::mte1, Pipe::mte2, slot);
      set_flag(core_, Pipe::m, Pipe::mte1, slot);
      set_flag(core_, Pipe::fix, Pipe::m, slot);
    }
    Items<C> items(core_, t_.sequences, t_.key_heads, core_.block(), core_.blocks());
    while (items.next()) {
      load_keys(items.chunk(), items.part());
      multiply();
      store_products();
      slot_ ^= 1;
    }
    for (int slot = 0; slot < kSlots; ++slot) {
      wait_flag(core_, Pipe::mte1, Pipe::mte2, slot);
      wait_flag(core_, Pipe::m, Pipe::mte1, slot);
      wait_flag(core_, Pipe::fix, Pipe::m, slot);
      cross_wait(core_, kSlotFree);
    }
  }

 private:
  static constexpr int kProducts = static_cast<int>(KktFlag::products);
  static constexpr int kSlotFree = static_cast<int>(KktFlag::slot_free);

  /// Rows past the chunk's end are zeros, never the next sequence's.
  GDN_NPU void load_keys(const Chunk &chunk, int64_t head) {
    wait_flag(core_, Pipe::mte1, Pipe::mte2, slot_);
    if (chunk.length < C) {
      fill_l1(core_, keys_[slot_], C * kHeadWidth);
      pipe_barrier(core_, Pipe::mte2);
    }
    const int64_t stride = t_.key_heads * kHeadWidth;
    load_nd2nz(core_, keys_[slot_], t_.k + (chunk.begin * stride + head * kHeadWidth),
               {chunk.length, kHeadWidth, stride}, C);
    set_flag(core_, Pipe::mte2, Pipe::mte1, slot_);
  }

  /// The fractals of K in L1 are those of its rows for A, and of K^T's columns for B.
  GDN_NPU void multiply() {
    constexpr int64_t kDown = C / kFractal;
    constexpr int64_t kAcross = kHeadWidth / kFractal;
    constexpr int64_t kElements = kFractal * kFractal;
    wait_flag(core_, Pipe::mte2, Pipe::mte1, slot_);
    wait_flag(core_, Pipe::m, Pipe::mte1, slot_);
    for (int64_t i = 0; i < kDown; ++i) {
      load_a(core_, rows_[slot_] + i * kAcross * kElements, keys_[slot_] + i * kElements,
             {kAcross, kDown});
    }
    load_b(core_, columns_[slot_], keys_[slot_], {kDown * kAcross, 1});
    set_flag(core_, Pipe::mte1, Pipe::mte2, slot_);
    set_flag(core_, Pipe::mte1, Pipe::m, slot_);

    wait_flag(core_, Pipe::mte1, Pipe::m, slot_);
    wait_flag(core_, Pipe::fix, Pipe::m, slot_);
    mmad(core_, products_[slot_], rows_[slot_], columns_[slot_], C, kHeadWidth, C, Sum::fresh);
    set_flag(core_, Pipe::m, Pipe::mte1, slot_);
    set_flag(core_, Pipe::m, Pipe::fix, slot_);
  }

  GDN_NPU void store_products() {
    cross_wait(core_, kSlotFree);
    wait_flag(core_, Pipe::m, Pipe::fix, slot_);
    store_nz2nd(core_, t_.products + (core_.block() * kSlots + slot_) * C * C, products_[slot_],
                {C, C, C}, C);
    set_flag(core_, Pipe::fix, Pipe::m, slot_);
    cross_set(core_, Pipe::fix, kProducts);
  }

  Core &core_;
  const Tensors &t_;
  int slot_ = 0;
  L1<E> keys_[kSlots];
  L0a<E> rows_[kSlots];
  L0b<E> columns_[kSlots];
  L0c products_[kSlots];
};

/// A Vector core's part: rows [first_, first_ + C / 2) of each chunk.
template <class E, class B, int64_t C>
class ChunkScaledDotKktVector {
 public:
  using Tensors = ChunkScaledDotKktTensors<E, B>;

  GDN_NPU ChunkScaledDotKktVector(Core &core, const Tensors &t)
      : core_(core), t_(t), first_(core.vector() * kRows), gates_(core, kGatesEvent) {
    for (int slot = 0; slot < kSlots; ++slot) {
      products_[slot] = core.take<Ub<float>>("products", kRows * C);
      A_[slot] = core.take<Ub<float>>("A", kRows * C);
    }
    c_of_row_ = core.take<Ub<float>>("c of each row", kRows * kBlockLanes);
    beta_of_row_ = core.take<Ub<float>>("beta of each row", kRows * kBlockLanes);
    zero_ = core.take<Ub<float>>("zero", kBlockLanes);
    triangle_ = core.take<Ub<uint8_t>>("triangle", kRows * C / 8);
  }

  GDN_NPU void run() {
    begin();
    Items<C> items(core_, t_.sequences, t_.key_heads, core_.block(), core_.blocks());
    while (items.next()) {
      run_item(items.chunk(), items.part());
      slot_ ^= 1;
    }
    for (int slot = 0; slot < kSlots; ++slot) {
      wait_flag(core_, Pipe::v, Pipe::mte2, kProductsEvent + slot);
      wait_flag(core_, Pipe::mte3, Pipe::v, slot);
    }
    gates_.end();
  }

 private:
  static constexpr int kProducts = static_cast<int>(KktFlag::products);
  static constexpr int kSlotFree = static_cast<int>(KktFlag::slot_free);
  static constexpr int64_t kRows = C / 2;
  static constexpr int64_t kParts = C / kLanes;
  /// Events between MTE2 and V, each of them one for each slot.
  static constexpr int kProductsEvent = 0;
  static constexpr int kGatesEvent = 2;

  GDN_NPU void begin() {
    fill(core_, zero_, 0.0F, kBlockLanes);
    gates_.begin();
    for (int slot = 0; slot < kSlots; ++slot) {
      set_flag(core_, Pipe::v, Pipe::mte2, kProductsEvent + slot);
      set_flag(core_, Pipe::mte3, Pipe::v, slot);
      cross_set(core_, Pipe::mte2, kSlotFree);
    }
    load(core_, triangle_, t_.triangle + first_ * C / 8, {1, kRows * C / 8, 0});
  }

  GDN_NPU void run_item(const Chunk &chunk, int64_t key_head) {
    const int64_t rows = zero_to(kRows, chunk.length - first_);
    cross_wait(core_, kProducts);
    if (rows > 0) {
      wait_flag(core_, Pipe::v, Pipe::mte2, kProductsEvent + slot_);
      load(core_, products_[slot_],
           t_.products + ((core_.block() * kSlots + slot_) * C + first_) * C, {1, rows * C, 0});
    }
    cross_set(core_, Pipe::mte2, kSlotFree);
    if (rows == 0) return;

    const int64_t group = t_.value_heads / t_.key_heads;
    for (int64_t g = 0; g < group; g += kBlockLanes) {
      const int64_t first_head = key_head * group + g;
      const int64_t heads = smaller(kBlockLanes, group - g);
      // After the products, so that V need not wait for these by themselves.
      gates_.load(t_.g_cumsum, t_.beta, chunk, first_head, heads, t_.value_heads);
      gates_.split();
      for (int64_t h = 0; h < heads; ++h) {
        compute_A(h, rows);
        store_A(chunk.begin + first_, first_head + h, rows);
        out_ ^= 1;
      }
    }
    set_flag(core_, Pipe::v, Pipe::mte2, kProductsEvent + slot_);
  }

  GDN_NPU void compute_A(int64_t h, int64_t rows) {
    const Ub<float> c = gates_.c(h);
    const Ub<float> A = A_[out_];
    const Repeats all{rows * kParts};
    const int64_t row_blocks = C / kBlockLanes;
    vbrcb(core_, c_of_row_, c + first_, (rows + kBlockLanes - 1) / kBlockLanes);
    vbrcb(core_, beta_of_row_, gates_.beta(h) + first_, (rows + kBlockLanes - 1) / kBlockLanes);
    wait_flag(core_, Pipe::mte3, Pipe::v, out_);
    pipe_barrier(core_, Pipe::v);
    for (int64_t p = 0; p < C; p += kLanes) {
      vbinary(core_, Binary::sub, {A + p, 1, row_blocks}, {c_of_row_, 0, 1}, {c + p, 1, 0}, {rows});
    }
    pipe_barrier(core_, Pipe::v);
    vexp(core_, {A}, {A}, all);
    pipe_barrier(core_, Pipe::v);
    for (int64_t p = 0; p < C; p += kLanes) {
      vbinary(core_, Binary::mul, {A + p, 1, row_blocks}, {A + p, 1, row_blocks},
              {beta_of_row_, 0, 1}, {rows});
    }
    pipe_barrier(core_, Pipe::v);
    vbinary(core_, Binary::mul, {A}, {A}, {products_[slot_]}, all);
    pipe_barrier(core_, Pipe::v);
    vselect(core_, {A}, triangle_, {A}, zero_, all);
    set_flag(core_, Pipe::v, Pipe::mte3, out_);
  }

  GDN_NPU void store_A(int64_t token, int64_t head, int64_t rows) {
    wait_flag(core_, Pipe::v, Pipe::mte3, out_);
    store(core_, t_.A + (token * t_.value_heads + head) * C, A_[out_],
          {rows, C, t_.value_heads * C});
    set_flag(core_, Pipe::mte3, Pipe::v, out_);
  }

  Core &core_;
  const Tensors &t_;
  int64_t first_;
  int slot_ = 0;  ///< Of the products.
  int out_ = 0;   ///< Slot of A.
  GateRows<B, C> gates_;
  Ub<float> products_[kSlots], A_[kSlots];
  Ub<float> c_of_row_, beta_of_row_, zero_;
  Ub<uint8_t> triangle_;
};

template <class E, class B, int64_t C>
GDN_NPU void chunk_scaled_dot_kkt(Core &core, const ChunkScaledDotKktTensors<E, B> &t) {
  run_part<ChunkScaledDotKktCube<E, B, C>, ChunkScaledDotKktVector<E, B, C>>(core, t);
}

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_CHUNK_SCALED_DOT_KKT_H_
