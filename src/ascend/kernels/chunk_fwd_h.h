#ifndef GDN_ASCEND_KERNELS_CHUNK_FWD_H_H_
#define GDN_ASCEND_KERNELS_CHUNK_FWD_H_H_

// For each sequence and value head, chunk by chunk, with S the state before the chunk:
//
//     h      = S
//     V'     = U - W S
//     S     <- exp(c_last) S + K^T diag(exp(c_last - c)) V'
//
// Who:     a block takes an item, a sequence of one value head. A Vector core keeps half of S's
//          rows in f32 and makes half of V'. The Cube core multiplies W S and K^T V'. It gets S
//          and the decayed V' in 16 bits and gives back f32, through GM (it stays in L2).
// Order:   Vector (S) -> Cube (W S) -> Vector (V') -> Cube (K^T V') -> Vector (S): one chain, whose
//          flags between cores order all but the first and last moves of an item. No other event
//          is needed to use a buffer again.
// Buffers, C = 128 (KB):
//          L1    K 2 x 32, W 32, S 32, V' 32 of 512
//          L0A   32 of 64, L0B 32 of 64, L0C 64 of 128: one product at a time
//          UB    S 32, product 32, V' 32, U 16, S rounded 16, V' and decayed V' rounded 2 x 16, c
//                (head_rows.h) 8, its factors 2: 170 of 192
// Binds:   the chain, more than any pipe: while one kind of core works, the other waits. Two items
//          a block by turns would hide that, and do not fit into UB beside each other.

#include "ascend/kernels/head_rows.h"
#include "ascend/kernels/items.h"
#include "ascend/kernels/spans.h"

namespace gdn::ascend::kernels {

/// E: f16 or bf16; H, the type of h: float or E.
template <class E, class H>
struct ChunkFwdHTensors {
  SequenceTable sequences;
  int64_t key_heads;
  int64_t value_heads;       ///< Value head h reads key head h / (value_heads / key_heads).
  Gm<const E> k;             ///< [tokens, key_heads, 128].
  Gm<const E> w;             ///< [tokens, value_heads, 128].
  Gm<const E> u;             ///< [tokens, value_heads, 128].
  Gm<const float> g_cumsum;  ///< [tokens, value_heads].
  bool has_initial_state;
  Gm<const float> initial_state;  ///< [sequences, value_heads, 128, 128].
  Gm<E> operands;                 ///< Scratch [blocks, 2, 128, 128]: S, then decayed V'.
  Gm<float> products;             ///< Scratch [blocks, 2, 128, 128]: W S, then K^T V'.
  Gm<H> h;                        ///< Out [chunks, value_heads, 128, 128].
  Gm<E> v_new;                    ///< Out [tokens, value_heads, 128].
  bool has_final_state;
  Gm<float> final_state;  ///< Out [sequences, value_heads, 128, 128].
};

/// Elements of a state.
inline constexpr int64_t kStateSize = kHeadWidth * kHeadWidth;

/// Flags between the cores of a block: what is in GM.
enum class FwdHFlag { state, w_s, values, k_values };
GDN_NPU constexpr int flag_of(FwdHFlag flag) { return static_cast<int>(flag); }

/// The Cube core's part.
template <class E, class H, int64_t C>
class ChunkFwdHCube {
 public:
  using Tensors = ChunkFwdHTensors<E, H>;

  GDN_NPU ChunkFwdHCube(Core &core, const Tensors &t) : core_(core), t_(t) {
    for (L1<E> &k : k_) k = core.take<L1<E>>("K", C * kHeadWidth);
    w_ = core.take<L1<E>>("W", C * kHeadWidth);
    state_ = core.take<L1<E>>("S", kStateSize);
    values_ = core.take<L1<E>>("V'", C * kHeadWidth);
    left_ = core.take<L0a<E>>("left", C * kHeadWidth);
    right_ = core.take<L0b<E>>("right", kStateSize);
    product_ = core.take<L0c>("product", kStateSize);
  }

  GDN_NPU void run() {
    Sequences<C> items(core_, t_.sequences, t_.value_heads, core_.block(), core_.blocks());
    while (items.next()) {
      Chunks<C> chunks(items.sequence());
      while (chunks.next()) {
        run_chunk(chunks.chunk(), items.part());
        slot_ ^= 1;
      }
    }
  }

 private:
  static constexpr int64_t kElements = kFractal * kFractal;
  static constexpr int64_t kDown = C / kFractal;
  static constexpr int64_t kAcross = kHeadWidth / kFractal;

  GDN_NPU void run_chunk(const Chunk &chunk, int64_t head) {
    const int64_t key_head = head / (t_.value_heads / t_.key_heads);
    const Gm<E> operands = t_.operands + core_.block() * 2 * kStateSize;
    const Gm<float> products = t_.products + core_.block() * 2 * kStateSize;
    if (chunk.length < C) clear_rows();
    load_rows(w_, t_.w, chunk, head, t_.value_heads);
    load_rows(k_[slot_], t_.k, chunk, key_head, t_.key_heads);

    cross_wait(core_, flag_of(FwdHFlag::state));
    load_nd2nz(core_, state_, operands, {kHeadWidth, kHeadWidth, kHeadWidth}, kHeadWidth);
    set_flag(core_, Pipe::mte2, Pipe::mte1, 0);
    wait_flag(core_, Pipe::mte2, Pipe::mte1, 0);
    for (int64_t i = 0; i < kDown; ++i) {
      load_a(core_, left_ + i * kAcross * kElements, w_ + i * kElements, {kAcross, kDown});
    }
    load_right(right_, state_, kAcross);
    multiply(C, kHeadWidth);
    store_nz2nd(core_, products, product_, {chunk.length, kHeadWidth, kHeadWidth}, C);
    cross_set(core_, Pipe::fix, flag_of(FwdHFlag::w_s));

    cross_wait(core_, flag_of(FwdHFlag::values));
    if (chunk.length < C) {
      fill_l1(core_, values_, C * kHeadWidth);
      pipe_barrier(core_, Pipe::mte2);
    }
    load_nd2nz(core_, values_, operands + kStateSize, {chunk.length, kHeadWidth, kHeadWidth}, C);
    set_flag(core_, Pipe::mte2, Pipe::mte1, 1);
    wait_flag(core_, Pipe::mte2, Pipe::mte1, 1);
    // The fractals of K turned over are those of K^T, in their order.
    load_a_transposed(core_, left_, k_[slot_], {kAcross * kDown, 1});
    load_right(right_, values_, kDown);
    multiply(kHeadWidth, C);
    store_nz2nd(core_, products + kStateSize, product_, {kHeadWidth, kHeadWidth, kHeadWidth},
                kHeadWidth);
    cross_set(core_, Pipe::fix, flag_of(FwdHFlag::k_values));
  }

  /// Rows past a chunk's end are zeros, never the next sequence's.
  GDN_NPU void clear_rows() {
    fill_l1(core_, w_, C * kHeadWidth);
    fill_l1(core_, k_[slot_], C * kHeadWidth);
    pipe_barrier(core_, Pipe::mte2);
  }

  GDN_NPU void load_rows(L1<E> to, Gm<const E> from, const Chunk &chunk, int64_t head,
                         int64_t heads) {
    const int64_t stride = heads * kHeadWidth;
    load_nd2nz(core_, to, from + (chunk.begin * stride + head * kHeadWidth),
               {chunk.length, kHeadWidth, stride}, C);
  }

  /// A matrix of `down` rows of fractals as B.
  GDN_NPU void load_right(L0b<E> to, L1<E> from, int64_t down) {
    for (int64_t i = 0; i < down; ++i) {
      load_b_transposed(core_, to + i * kAcross * kElements, from + i * kElements, {kAcross, down});
    }
  }

  GDN_NPU void multiply(int64_t m, int64_t k) {
    set_flag(core_, Pipe::mte1, Pipe::m, 0);
    wait_flag(core_, Pipe::mte1, Pipe::m, 0);
    mmad(core_, product_, left_, right_, m, k, kHeadWidth, Sum::fresh);
    set_flag(core_, Pipe::m, Pipe::fix, 0);
    wait_flag(core_, Pipe::m, Pipe::fix, 0);
  }

  Core &core_;
  const Tensors &t_;
  int slot_ = 0;  ///< Of K, which comes before the last chunk's product has read its own.
  L1<E> k_[kSlots];
  L1<E> w_, state_, values_;
  L0a<E> left_;
  L0b<E> right_;
  L0c product_;
};

/// A Vector core's part: rows [first_row_, first_row_ + 64) of S, and tokens [first_token_,
/// first_token_ + C / 2) of each chunk.
template <class E, class H, int64_t C>
class ChunkFwdHVector {
 public:
  using Tensors = ChunkFwdHTensors<E, H>;

  GDN_NPU ChunkFwdHVector(Core &core, const Tensors &t)
      : core_(core),
        t_(t),
        first_row_(core.vector() * kRows),
        first_token_(core.vector() * C / 2),
        c_(core, "c") {
    state_ = core.take<Ub<float>>("S", kRows * kHeadWidth);
    product_ = core.take<Ub<float>>("product", kRows * kHeadWidth);
    values_ = core.take<Ub<float>>("V'", C / 2 * kHeadWidth);
    u_ = core.take<Ub<E>>("U", C / 2 * kHeadWidth);
    state_rounded_ = core.take<Ub<E>>("S rounded", kRows * kHeadWidth);
    values_rounded_ = core.take<Ub<E>>("V' rounded", C / 2 * kHeadWidth);
    decayed_rounded_ = core.take<Ub<E>>("decayed V' rounded", C / 2 * kHeadWidth);
    factors_ = core.take<Ub<float>>("exp(c_last - c)", C / 2 * kBlockLanes);
    last_ = core.take<Ub<float>>("exp(c_last)", kBlockLanes * kBlockLanes);
  }

  GDN_NPU void run() {
    c_.clear_slot(0);
    set_flag(core_, Pipe::v, Pipe::mte3, kStateEvent);
    wait_flag(core_, Pipe::v, Pipe::mte3, kStateEvent);
    set_flag(core_, Pipe::mte3, Pipe::mte2, kStateEvent);
    Sequences<C> items(core_, t_.sequences, t_.value_heads, core_.block(), core_.blocks());
    while (items.next()) {
      begin_sequence(items.sequence().index, items.part());
      Chunks<C> chunks(items.sequence());
      while (chunks.next()) run_chunk(chunks.chunk(), items.part());
      end_sequence(items.sequence().index, items.part());
    }
    wait_flag(core_, Pipe::mte3, Pipe::mte2, kStateEvent);
  }

 private:
  static constexpr int64_t kRows = kHeadWidth / 2;
  static constexpr int64_t kRowBlocks = kHeadWidth / kBlockLanes;
  static constexpr Repeats kState{kRows * kHeadWidth / kLanes};
  // Events, between all pairs of pipes.
  static constexpr int kStateEvent = 0;
  static constexpr int kTokensEvent = 1;
  static constexpr int kProductEvent = 2;

  /// Where this core's rows of a state begin.
  GDN_NPU int64_t state_at(int64_t entry, int64_t head) const {
    return (entry * t_.value_heads + head) * kStateSize + first_row_ * kHeadWidth;
  }

  GDN_NPU void begin_sequence(int64_t sequence, int64_t head) {
    wait_flag(core_, Pipe::mte3, Pipe::mte2, kStateEvent);
    if (t_.has_initial_state) {
      load(core_, state_, t_.initial_state + state_at(sequence, head), {1, kRows * kHeadWidth, 0});
    }
    set_flag(core_, Pipe::mte2, Pipe::v, kStateEvent);
    wait_flag(core_, Pipe::mte2, Pipe::v, kStateEvent);
    if (!t_.has_initial_state) fill(core_, state_, 0.0F, kRows * kHeadWidth);
  }

  GDN_NPU void end_sequence(int64_t sequence, int64_t head) {
    set_flag(core_, Pipe::v, Pipe::mte3, kStateEvent);
    wait_flag(core_, Pipe::v, Pipe::mte3, kStateEvent);
    if (t_.has_final_state) {
      store(core_, t_.final_state + state_at(sequence, head), state_, {1, kRows * kHeadWidth, 0});
    }
    set_flag(core_, Pipe::mte3, Pipe::mte2, kStateEvent);
  }

  GDN_NPU void run_chunk(const Chunk &chunk, int64_t head) {
    const int64_t tokens = zero_to(C / 2, chunk.length - first_token_);
    store_state(chunk.index, head);
    load_tokens(chunk, head, tokens);
    compute_factors(chunk.length, tokens);
    cross_wait(core_, flag_of(FwdHFlag::w_s));
    if (tokens > 0) {
      load_product(0, first_token_, tokens);
      compute_values(tokens);
      store_values(chunk, head, tokens);
    }
    cross_set(core_, Pipe::mte3, flag_of(FwdHFlag::values));
    cross_wait(core_, flag_of(FwdHFlag::k_values));
    load_product(1, first_row_, kRows);
    update_state();
  }

  /// To the Cube core in 16 bits, and as h in its type.
  GDN_NPU void store_state(int64_t index, int64_t head) {
    pipe_barrier(core_, Pipe::v);
    vround<E>(core_, {state_rounded_}, {state_}, kState);
    set_flag(core_, Pipe::v, Pipe::mte3, kStateEvent);
    wait_flag(core_, Pipe::v, Pipe::mte3, kStateEvent);
    const Rows all{1, kRows * kHeadWidth, 0};
    store(core_, operand(0, first_row_), state_rounded_, all);
    if constexpr (std::is_same_v<H, float>) {
      store(core_, t_.h + state_at(index, head), state_, all);
    } else {
      store(core_, t_.h + state_at(index, head), state_rounded_, all);
    }
    cross_set(core_, Pipe::mte3, flag_of(FwdHFlag::state));
  }

  GDN_NPU void load_tokens(const Chunk &chunk, int64_t head, int64_t tokens) {
    const int64_t stride = t_.value_heads * kHeadWidth;
    c_.load_slot(0, t_.g_cumsum + (chunk.begin * t_.value_heads + head), chunk.length, 1,
                 t_.value_heads);
    if (tokens > 0) {
      load(core_, u_, t_.u + ((chunk.begin + first_token_) * stride + head * kHeadWidth),
           {tokens, kHeadWidth, stride});
    }
    set_flag(core_, Pipe::mte2, Pipe::v, kTokensEvent);
    wait_flag(core_, Pipe::mte2, Pipe::v, kTokensEvent);
  }

  /// exp(c_last), and exp(c_last - c) of each token over a block.
  GDN_NPU void compute_factors(int64_t length, int64_t tokens) {
    c_.split_slot(0);
    pipe_barrier(core_, Pipe::v);
    const Ub<float> c = c_.row(0);
    const int64_t last = length - 1;
    const Lanes<float> c_last{last_ + last % kBlockLanes * kBlockLanes, 0, 0};
    vbrcb(core_, last_, c + last / kBlockLanes * kBlockLanes, 1);
    if (tokens > 0) {
      const int64_t groups = (tokens + kBlockLanes - 1) / kBlockLanes;
      vbrcb(core_, factors_, c + first_token_, groups);
      pipe_barrier(core_, Pipe::v);
      vbinary(core_, Binary::sub, {factors_}, c_last, {factors_}, {groups});
    }
    pipe_barrier(core_, Pipe::v);
    exp_c_last_ = c_last;
    vexp(core_, {c_last.at}, {c_last.at}, {1, kBlockLanes});
    if (tokens > 0) {
      vexp(core_, {factors_}, {factors_}, {(tokens + kBlockLanes - 1) / kBlockLanes});
    }
  }

  /// Rows of a product of the Cube core.
  GDN_NPU void load_product(int which, int64_t first, int64_t rows) {
    load(core_, product_,
         t_.products + ((core_.block() * 2 + which) * kStateSize + first * kHeadWidth),
         {1, rows * kHeadWidth, 0});
    set_flag(core_, Pipe::mte2, Pipe::v, kProductEvent);
    wait_flag(core_, Pipe::mte2, Pipe::v, kProductEvent);
  }

  /// V' and its decayed form, rounded.
  GDN_NPU void compute_values(int64_t tokens) {
    const Repeats all{tokens * kHeadWidth / kLanes};
    vcast<E>(core_, {values_}, {u_}, all);
    pipe_barrier(core_, Pipe::v);
    vbinary(core_, Binary::sub, {values_}, {values_}, {product_}, all);
    pipe_barrier(core_, Pipe::v);
    vround<E>(core_, {values_rounded_}, {values_}, all);
    pipe_barrier(core_, Pipe::v);
    for (int64_t p = 0; p < kHeadWidth; p += kLanes) {
      const Lanes<float> part{values_ + p, 1, kRowBlocks};
      vbinary(core_, Binary::mul, part, part, {factors_, 0, 1}, {tokens});
    }
    pipe_barrier(core_, Pipe::v);
    vround<E>(core_, {decayed_rounded_}, {values_}, all);
  }

  GDN_NPU void store_values(const Chunk &chunk, int64_t head, int64_t tokens) {
    const int64_t stride = t_.value_heads * kHeadWidth;
    set_flag(core_, Pipe::v, Pipe::mte3, kTokensEvent);
    wait_flag(core_, Pipe::v, Pipe::mte3, kTokensEvent);
    store(core_, t_.v_new + ((chunk.begin + first_token_) * stride + head * kHeadWidth),
          values_rounded_, {tokens, kHeadWidth, stride});
    store(core_, operand(1, first_token_), decayed_rounded_, {1, tokens * kHeadWidth, 0});
  }

  GDN_NPU void update_state() {
    pipe_barrier(core_, Pipe::v);
    vbinary(core_, Binary::mul, {state_}, {state_}, exp_c_last_, kState);
    pipe_barrier(core_, Pipe::v);
    vbinary(core_, Binary::add, {state_}, {state_}, {product_}, kState);
  }

  /// Rows of what the Cube core reads.
  GDN_NPU Gm<E> operand(int which, int64_t first) const {
    return t_.operands + ((core_.block() * 2 + which) * kStateSize + first * kHeadWidth);
  }

  Core &core_;
  const Tensors &t_;
  int64_t first_row_, first_token_;
  HeadRows<float, C, 1> c_;
  Ub<float> state_, product_, values_, factors_, last_;
  Lanes<float> exp_c_last_;
  Ub<E> u_, state_rounded_, values_rounded_, decayed_rounded_;
};

template <class E, class H, int64_t C>
GDN_NPU void chunk_fwd_h(Core &core, const ChunkFwdHTensors<E, H> &t) {
  run_part<ChunkFwdHCube<E, H, C>, ChunkFwdHVector<E, H, C>>(core, t);
}

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_CHUNK_FWD_H_H_
