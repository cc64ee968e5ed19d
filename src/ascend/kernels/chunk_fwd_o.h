#ifndef GDN_ASCEND_KERNELS_CHUNK_FWD_O_H_
#define GDN_ASCEND_KERNELS_CHUNK_FWD_O_H_

// O = scale (diag(exp(c)) Q S + P V'), P[i, j] = exp(c_i - c_j) (q_i . k_j) for i >= j, else 0, for
// each chunk and value head, with S the state before the chunk.
//
// Who:     a block takes an item, a chunk of one key head. The Cube core makes Q K^T. The Vector
//          cores, half of the rows each, make P and scale exp(c) Q of it for each value head, and
//          round S. The Cube core adds both products up in L0C and writes O.
// Flags:   products from FIX of the Cube core: Q K^T is in GM (one slot). operands from MTE3 of
//          the Vector cores: P, Q and S of a head are (two slots). slot_free from MTE2 of the Cube
//          core: it has read them.
// Buffers, C = 128 (KB):
//          L1    Q and K 64, P, Q, S and V' 2 x 128 of 512
//          L0A   left 2 x 32 of 64
//          L0B   right 2 x 32 of 64
//          L0C   Q K^T 64, O 64 of 128
//          UB    Q K^T 32, Q 16, work 32, S 32, rounded 2 x 16, c (head_rows.h) 12, of each row
//                over a block 2 x 2, the triangle 1: 161 of 192
// Binds:   V, some ten instructions of a tile's size for each value head, and the moves much alike.

#include "ascend/kernels/head_rows.h"
#include "ascend/kernels/items.h"
#include "ascend/kernels/spans.h"

namespace gdn::ascend::kernels {

/// E: f16 or bf16; H, the type of h: float or E.
template <class E, class H>
struct ChunkFwdOTensors {
  SequenceTable sequences;
  int64_t key_heads;
  int64_t value_heads;  ///< Value head h reads key head h / (value_heads / key_heads).
  float scale;
  Gm<const E> q;               ///< [tokens, key_heads, 128].
  Gm<const E> k;               ///< [tokens, key_heads, 128].
  Gm<const E> v_new;           ///< [tokens, value_heads, 128].
  Gm<const H> h;               ///< [chunks, value_heads, 128, 128].
  Gm<const float> g_cumsum;    ///< [tokens, value_heads].
  Gm<const uint8_t> triangle;  ///< [C, C / 8]: bit j of row i is 1 for i >= j.
  Gm<float> products;          ///< Scratch [blocks, C, C].
  Gm<E> operands;              ///< Scratch [blocks, 2, 3, 128, 128]: P, Q, S.
  Gm<E> o;                     ///< Out [tokens, value_heads, 128].
};

/// What the Vector cores leave for one value head, and its places in GM.
enum FwdOOperand { kP, kQ, kS, kFwdOOperands };
inline constexpr int64_t kOperandSize = kHeadWidth * kHeadWidth;

/// Flags between the cores of a block.
enum class FwdOFlag { products, operands, slot_free };
GDN_NPU constexpr int flag_of(FwdOFlag flag) { return static_cast<int>(flag); }

/// The Cube core's part.
template <class E, class H, int64_t C>
class ChunkFwdOCube {
 public:
  using Tensors = ChunkFwdOTensors<E, H>;

  GDN_NPU ChunkFwdOCube(Core &core, const Tensors &t) : core_(core), t_(t) {
    for (int slot = 0; slot < kSlots; ++slot) {
      for (L1<E> &operand : operands_[slot]) operand = core.take<L1<E>>("operands", kOperandSize);
      values_[slot] = core.take<L1<E>>("values", C * kHeadWidth);
      left_[slot] = core.take<L0a<E>>("left", C * kHeadWidth);
      right_[slot] = core.take<L0b<E>>("right", kOperandSize);
    }
    queries_ = core.take<L1<E>>("queries", C * kHeadWidth);
    keys_ = core.take<L1<E>>("keys", C * kHeadWidth);
    products_ = core.take<L0c>("products", C * C);
    o_ = core.take<L0c>("O", C * kHeadWidth);
  }

  GDN_NPU void run() {
    for (int slot = 0; slot < kSlots; ++slot) {
      set_flag(core_, Pipe::mte1, Pipe::mte2, slot);
      set_flag(core_, Pipe::m, Pipe::mte1, slot);
      cross_set(core_, Pipe::mte2, flag_of(FwdOFlag::slot_free));
    }
    set_flag(core_, Pipe::fix, Pipe::m, 0);
    const int64_t group = t_.value_heads / t_.key_heads;
    Items<C> items(core_, t_.sequences, t_.key_heads, core_.block(), core_.blocks());
    while (items.next()) {
      multiply_queries_keys(items.chunk(), items.part());
      for (int64_t h = 0; h < group; ++h) {
        run_head(items.chunk(), items.part() * group + h);
        slot_ ^= 1;
      }
    }
    for (int slot = 0; slot < kSlots; ++slot) {
      wait_flag(core_, Pipe::mte1, Pipe::mte2, slot);
      wait_flag(core_, Pipe::m, Pipe::mte1, slot);
    }
    wait_flag(core_, Pipe::fix, Pipe::m, 0);
  }

 private:
  static constexpr int64_t kElements = kFractal * kFractal;
  static constexpr int64_t kDown = C / kFractal;
  static constexpr int64_t kAcross = kHeadWidth / kFractal;
  /// Event of Q and K in L1, between MTE2 and MTE1; 0 and 1 are those of the slots.
  static constexpr int kItemEvent = 2;

  /// Waiting for the operands of an item's heads, which come of its Q K^T, has ordered all that the
  /// next item's needs here: Q and K in L1 and the place in GM are free.
  GDN_NPU void multiply_queries_keys(const Chunk &chunk, int64_t key_head) {
    if (chunk.length < C) {
      fill_l1(core_, queries_, C * kHeadWidth);
      fill_l1(core_, keys_, C * kHeadWidth);
      pipe_barrier(core_, Pipe::mte2);
    }
    load_rows(queries_, t_.q, chunk, key_head, t_.key_heads);
    load_rows(keys_, t_.k, chunk, key_head, t_.key_heads);
    set_flag(core_, Pipe::mte2, Pipe::mte1, kItemEvent);

    wait_flag(core_, Pipe::mte2, Pipe::mte1, kItemEvent);
    wait_flag(core_, Pipe::m, Pipe::mte1, 0);
    load_left(left_[0], queries_, kAcross);
    load_b(core_, right_[0], keys_, {kDown * kAcross, 1});
    multiply(products_, 0, kHeadWidth, C, Sum::fresh);
    set_flag(core_, Pipe::m, Pipe::fix, 0);

    wait_flag(core_, Pipe::m, Pipe::fix, 0);
    store_nz2nd(core_, t_.products + core_.block() * C * C, products_, {C, C, C}, C);
    cross_set(core_, Pipe::fix, flag_of(FwdOFlag::products));
  }

  GDN_NPU void run_head(const Chunk &chunk, int64_t head) {
    cross_wait(core_, flag_of(FwdOFlag::operands));
    load_operands(chunk, head);
    wait_flag(core_, Pipe::mte2, Pipe::mte1, slot_);
    wait_flag(core_, Pipe::m, Pipe::mte1, 0);
    load_left(left_[0], operands_[slot_][kP], kDown);
    load_right(right_[0], values_[slot_], kDown);
    wait_flag(core_, Pipe::fix, Pipe::m, 0);
    multiply(o_, 0, C, kHeadWidth, Sum::fresh);
    wait_flag(core_, Pipe::m, Pipe::mte1, 1);
    load_left(left_[1], operands_[slot_][kQ], kAcross);
    load_right(right_[1], operands_[slot_][kS], kAcross);
    set_flag(core_, Pipe::mte1, Pipe::mte2, slot_);
    pipe_barrier(core_, Pipe::m);
    multiply(o_, 1, kHeadWidth, kHeadWidth, Sum::onto);
    set_flag(core_, Pipe::m, Pipe::fix, 1);

    const int64_t stride = t_.value_heads * kHeadWidth;
    wait_flag(core_, Pipe::m, Pipe::fix, 1);
    store_nz2nd(core_, t_.o + (chunk.begin * stride + head * kHeadWidth), o_,
                {chunk.length, kHeadWidth, stride}, C);
    set_flag(core_, Pipe::fix, Pipe::m, 0);
  }

  /// Rows past the chunk's end are zeros, never the next sequence's.
  GDN_NPU void load_operands(const Chunk &chunk, int64_t head) {
    wait_flag(core_, Pipe::mte1, Pipe::mte2, slot_);
    if (chunk.length < C) {
      fill_l1(core_, operands_[slot_][kP], C * C);
      fill_l1(core_, operands_[slot_][kQ], C * kHeadWidth);
      fill_l1(core_, values_[slot_], C * kHeadWidth);
      pipe_barrier(core_, Pipe::mte2);
    }
    const Gm<E> from =
        t_.operands + (core_.block() * kSlots + slot_) * kFwdOOperands * kOperandSize;
    load_nd2nz(core_, operands_[slot_][kP], from + kP * kOperandSize, {chunk.length, C, C}, C);
    load_nd2nz(core_, operands_[slot_][kQ], from + kQ * kOperandSize,
               {chunk.length, kHeadWidth, kHeadWidth}, C);
    load_nd2nz(core_, operands_[slot_][kS], from + kS * kOperandSize,
               {kHeadWidth, kHeadWidth, kHeadWidth}, kHeadWidth);
    cross_set(core_, Pipe::mte2, flag_of(FwdOFlag::slot_free));
    load_rows(values_[slot_], t_.v_new, chunk, head, t_.value_heads);
    set_flag(core_, Pipe::mte2, Pipe::mte1, slot_);
  }

  GDN_NPU void load_rows(L1<E> to, Gm<const E> from, const Chunk &chunk, int64_t head,
                         int64_t heads) {
    const int64_t stride = heads * kHeadWidth;
    load_nd2nz(core_, to, from + (chunk.begin * stride + head * kHeadWidth),
               {chunk.length, kHeadWidth, stride}, C);
  }

  /// C rows, `across` fractals each, as A.
  GDN_NPU void load_left(L0a<E> to, L1<E> from, int64_t across) {
    for (int64_t i = 0; i < kDown; ++i) {
      load_a(core_, to + i * across * kElements, from + i * kElements, {across, kDown});
    }
  }

  /// `down` rows of fractals, 128 wide, as B.
  GDN_NPU void load_right(L0b<E> to, L1<E> from, int64_t down) {
    for (int64_t i = 0; i < down; ++i) {
      load_b_transposed(core_, to + i * kAcross * kElements, from + i * kElements, {kAcross, down});
    }
  }

  /// Of what was loaded into one of L0's places, which is free then.
  GDN_NPU void multiply(L0c to, int place, int64_t k, int64_t n, Sum sum) {
    set_flag(core_, Pipe::mte1, Pipe::m, place);
    wait_flag(core_, Pipe::mte1, Pipe::m, place);
    mmad(core_, to, left_[place], right_[place], C, k, n, sum);
    set_flag(core_, Pipe::m, Pipe::mte1, place);
  }

  Core &core_;
  const Tensors &t_;
  int slot_ = 0;
  L1<E> operands_[kSlots][kFwdOOperands];
  L1<E> values_[kSlots];
  L1<E> queries_, keys_;
  L0a<E> left_[kSlots];
  L0b<E> right_[kSlots];
  L0c products_, o_;
};

/// A Vector core's part: tokens [first_token_, first_token_ + C / 2) of each chunk, and rows
/// [first_row_, first_row_ + 64) of S.
template <class E, class H, int64_t C>
class ChunkFwdOVector {
 public:
  using Tensors = ChunkFwdOTensors<E, H>;

  GDN_NPU ChunkFwdOVector(Core &core, const Tensors &t)
      : core_(core),
        t_(t),
        first_token_(core.vector() * kTokens),
        first_row_(core.vector() * kRows),
        c_(core, "c") {
    constexpr int64_t kRounded = kRoundsState ? kRows : kTokens;
    for (Ub<E> &rounded : rounded_) rounded = core.take<Ub<E>>("rounded", kRounded * kHeadWidth);
    products_ = core.take<Ub<float>>("products", kTokens * C);
    queries_ = core.take<Ub<E>>("queries", kTokens * kHeadWidth);
    work_ = core.take<Ub<float>>("work", kTokens * kHeadWidth);
    state_ = core.take<Ub<H>>("S", kRows * kHeadWidth);
    c_of_row_ = core.take<Ub<float>>("c of each row", kTokens * kBlockLanes);
    factors_ = core.take<Ub<float>>("scale exp(c)", kTokens * kBlockLanes);
    scale_ = core.take<Ub<float>>("scale", kBlockLanes);
    zero_ = core.take<Ub<float>>("zero", kBlockLanes);
    triangle_ = core.take<Ub<uint8_t>>("triangle", kTokens * C / 8);
  }

  GDN_NPU void run() {
    fill(core_, scale_, t_.scale, kBlockLanes);
    fill(core_, zero_, 0.0F, kBlockLanes);
    c_.clear_slot(0);
    set_flag(core_, Pipe::v, Pipe::mte2, kGatesEvent);
    wait_flag(core_, Pipe::v, Pipe::mte2, kGatesEvent);
    for (int slot = 0; slot < kSlots; ++slot) set_flag(core_, Pipe::mte3, Pipe::v, slot);
    set_flag(core_, kStateReader, Pipe::mte2, kStateEvent);
    load(core_, triangle_, t_.triangle + first_token_ * C / 8, {1, kTokens * C / 8, 0});
    Items<C> items(core_, t_.sequences, t_.key_heads, core_.block(), core_.blocks());
    while (items.next()) run_item(items.chunk(), items.part());
    for (int slot = 0; slot < kSlots; ++slot) {
      wait_flag(core_, Pipe::mte3, Pipe::v, slot);
      cross_wait(core_, flag_of(FwdOFlag::slot_free));
    }
    wait_flag(core_, kStateReader, Pipe::mte2, kStateEvent);
  }

 private:
  static constexpr int64_t kTokens = C / 2;
  static constexpr int64_t kRows = kHeadWidth / 2;
  static constexpr bool kRoundsState = !std::is_same_v<H, E>;
  /// What reads S in UB.
  static constexpr Pipe kStateReader = kRoundsState ? Pipe::v : Pipe::mte3;
  // Events between MTE2 and V (or MTE3).
  static constexpr int kGatesEvent = 0;
  static constexpr int kStateEvent = 1;

  GDN_NPU void run_item(const Chunk &chunk, int64_t key_head) {
    const int64_t tokens = zero_to(kTokens, chunk.length - first_token_);
    cross_wait(core_, flag_of(FwdOFlag::products));
    if (tokens > 0) load_item(chunk, key_head, tokens);
    const int64_t group = t_.value_heads / t_.key_heads;
    for (int64_t g = 0; g < group; g += kBlockLanes) {
      const int64_t first_head = key_head * group + g;
      const int64_t heads = smaller(kBlockLanes, group - g);
      if (tokens > 0) load_gates(chunk, first_head, heads);
      for (int64_t h = 0; h < heads; ++h) {
        load_state(chunk.index, first_head + h);
        cross_wait(core_, flag_of(FwdOFlag::slot_free));
        if (tokens > 0) {
          compute_P(h, tokens);
          compute_Q(tokens);
        }
        give_state();
        cross_set(core_, Pipe::mte3, flag_of(FwdOFlag::operands));
        slot_ ^= 1;
      }
    }
  }

  /// The Cube core gives an item's Q K^T when it has all operands of the item before, so what those
  /// came of is free. MTE2 loads the gates after these, so V need not wait for them by themselves.
  GDN_NPU void load_item(const Chunk &chunk, int64_t key_head, int64_t tokens) {
    const int64_t stride = t_.key_heads * kHeadWidth;
    load(core_, products_, t_.products + (core_.block() * C + first_token_) * C,
         {1, tokens * C, 0});
    load(core_, queries_, t_.q + ((chunk.begin + first_token_) * stride + key_head * kHeadWidth),
         {tokens, kHeadWidth, stride});
  }

  /// More than 8 heads come one after the other: waiting for a slot of their operands has ordered
  /// them.
  GDN_NPU void load_gates(const Chunk &chunk, int64_t first_head, int64_t heads) {
    c_.load_slot(0, t_.g_cumsum + (chunk.begin * t_.value_heads + first_head), chunk.length, heads,
                 t_.value_heads);
    set_flag(core_, Pipe::mte2, Pipe::v, kGatesEvent);

    wait_flag(core_, Pipe::mte2, Pipe::v, kGatesEvent);
    c_.split_slot(0);
    pipe_barrier(core_, Pipe::v);
    c_.clear_slot(0);
  }

  GDN_NPU void load_state(int64_t index, int64_t head) {
    wait_flag(core_, kStateReader, Pipe::mte2, kStateEvent);
    load(core_, state_,
         t_.h + ((index * t_.value_heads + head) * kOperandSize + first_row_ * kHeadWidth),
         {1, kRows * kHeadWidth, 0});
    set_flag(core_, Pipe::mte2, kStateReader, kStateEvent);
  }

  GDN_NPU void compute_P(int64_t h, int64_t tokens) {
    const Ub<float> c = c_.row(h);
    const Repeats all{tokens * C / kLanes};
    vbrcb(core_, c_of_row_, c + first_token_, (tokens + kBlockLanes - 1) / kBlockLanes);
    pipe_barrier(core_, Pipe::v);
    for (int64_t p = 0; p < C; p += kLanes) {
      vbinary(core_, Binary::sub, {work_ + p, 1, C / kBlockLanes}, {c_of_row_, 0, 1}, {c + p, 1, 0},
              {tokens});
    }
    pipe_barrier(core_, Pipe::v);
    vexp(core_, {work_}, {work_}, all);
    pipe_barrier(core_, Pipe::v);
    vbinary(core_, Binary::mul, {work_}, {work_}, {products_}, all);
    pipe_barrier(core_, Pipe::v);
    vbinary(core_, Binary::mul, {work_}, {work_}, {scale_, 0, 0}, all);
    pipe_barrier(core_, Pipe::v);
    vselect(core_, {work_}, triangle_, {work_}, zero_, all);
    give_work(operand(kP, first_token_ * C), tokens * C);
  }

  GDN_NPU void compute_Q(int64_t tokens) {
    const Repeats groups{(tokens + kBlockLanes - 1) / kBlockLanes};
    vexp(core_, {factors_}, {c_of_row_}, groups);
    pipe_barrier(core_, Pipe::v);
    vbinary(core_, Binary::mul, {factors_}, {factors_}, {scale_, 0, 0}, groups);
    vcast<E>(core_, {work_}, {queries_}, {tokens * kHeadWidth / kLanes});
    pipe_barrier(core_, Pipe::v);
    for (int64_t p = 0; p < kHeadWidth; p += kLanes) {
      const Lanes<float> part{work_ + p, 1, kHeadWidth / kBlockLanes};
      vbinary(core_, Binary::mul, part, part, {factors_, 0, 1}, {tokens});
    }
    give_work(operand(kQ, first_token_ * kHeadWidth), tokens * kHeadWidth);
  }

  /// What V has worked out, rounded, to GM.
  GDN_NPU void give_work(Gm<E> to, int64_t elements) {
    wait_flag(core_, Pipe::mte3, Pipe::v, out_);
    pipe_barrier(core_, Pipe::v);
    vround<E>(core_, {rounded_[out_]}, {work_}, {elements / kLanes});
    give_rounded(to, elements);
  }

  GDN_NPU void give_rounded(Gm<E> to, int64_t elements) {
    set_flag(core_, Pipe::v, Pipe::mte3, out_);
    wait_flag(core_, Pipe::v, Pipe::mte3, out_);
    store(core_, to, rounded_[out_], {1, elements, 0});
    set_flag(core_, Pipe::mte3, Pipe::v, out_);
    out_ ^= 1;
  }

  GDN_NPU void give_state() {
    const Gm<E> to = operand(kS, first_row_ * kHeadWidth);
    wait_flag(core_, Pipe::mte2, kStateReader, kStateEvent);
    if constexpr (kRoundsState) {
      wait_flag(core_, Pipe::mte3, Pipe::v, out_);
      vround<E>(core_, {rounded_[out_]}, {state_}, {kRows * kHeadWidth / kLanes});
      give_rounded(to, kRows * kHeadWidth);
    } else {
      store(core_, to, state_, {1, kRows * kHeadWidth, 0});
    }
    set_flag(core_, kStateReader, Pipe::mte2, kStateEvent);
  }

  GDN_NPU Gm<E> operand(int which, int64_t at) const {
    return t_.operands +
           (((core_.block() * kSlots + slot_) * kFwdOOperands + which) * kOperandSize + at);
  }

  Core &core_;
  const Tensors &t_;
  int64_t first_token_, first_row_;
  int slot_ = 0;  ///< Of the operands in GM.
  int out_ = 0;   ///< Slot of what is rounded.
  HeadRows<float, C, 1> c_;
  Ub<E> rounded_[kSlots];
  Ub<E> queries_;
  Ub<H> state_;
  Ub<float> products_, work_, c_of_row_, factors_, scale_, zero_;
  Ub<uint8_t> triangle_;
};

template <class E, class H, int64_t C>
GDN_NPU void chunk_fwd_o(Core &core, const ChunkFwdOTensors<E, H> &t) {
  run_part<ChunkFwdOCube<E, H, C>, ChunkFwdOVector<E, H, C>>(core, t);
}

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_CHUNK_FWD_O_H_
