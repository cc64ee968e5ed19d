#ifndef GDN_ASCEND_KERNELS_CHUNK_LOCAL_CUMSUM_H_
#define GDN_ASCEND_KERNELS_CHUNK_LOCAL_CUMSUM_H_

// c_i = g_0 + .. + g_i inside each chunk, for each head: log2(C) additions of a tile to itself,
// shifted down by 1, 2, 4, .. tokens. Rows above the tile hold zeros.
//
// Who:     the Vector cores, an item each: a chunk of up to 32 heads. The Cube core rests.
// UB:      C = 128, 32 heads, f32:
//              g             2 x (1 row of zeros + 128 rows)    2 x 16.1 KB
//              even, odd     64 rows of zeros + 128 rows        2 x 24 KB
//              sums          2 x 128 rows                       2 x 16 KB
//          112 KB of 192; g in 16 bits takes 2 x 8 KB and a tile of 16.1 KB for its values.
// Binds:   the moves of MTE2 and MTE3, 8 bytes an element, and V close to them, log2(C)
// instructions
//          an item; V where g has 16 bits.

#include <type_traits>

#include "ascend/kernels/items.h"
#include "ascend/kernels/spans.h"

namespace gdn::ascend::kernels {

/// G: float, f16 or bf16.
template <class G>
struct ChunkLocalCumsumTensors {
  SequenceTable sequences;
  int64_t heads;
  Gm<const G> g;       ///< [tokens, heads].
  Gm<float> g_cumsum;  ///< Out [tokens, heads].
};

template <class G, int64_t C>
class ChunkLocalCumsum {
 public:
  using Tensors = ChunkLocalCumsumTensors<G>;

  GDN_NPU ChunkLocalCumsum(Core &core, const Tensors &t) : core_(core), t_(t) {
    for (int slot = 0; slot < kSlots; ++slot) {
      g_[slot] = core.take<Ub<G>>("g", (kNarrow ? C : C + 1) * kHeads);
      sums_[slot] = core.take<Ub<float>>("sums", C * kHeads);
      if constexpr (!kNarrow) one_row_of_zeros_[slot] = g_[slot];
    }
    if constexpr (kNarrow) {
      one_row_of_zeros_[0] = core.take<Ub<float>>("g widened", (C + 1) * kHeads);
    }
    even_ = core.take<Ub<float>>("even rounds", (C / 2 + C) * kHeads);
    odd_ = core.take<Ub<float>>("odd rounds", (C / 2 + C) * kHeads);
  }

  GDN_NPU void run() {
    for (const Ub<float> tile : one_row_of_zeros_) fill(core_, tile, 0.0F, kHeads);
    fill(core_, even_, 0.0F, C / 2 * kHeads);
    fill(core_, odd_, 0.0F, C / 2 * kHeads);
    for (int slot = 0; slot < kSlots; ++slot) {
      set_flag(core_, Pipe::v, Pipe::mte2, slot);
      set_flag(core_, Pipe::mte3, Pipe::v, slot);
    }
    const int64_t worker = core_.block() * kVectorCores + core_.vector();
    const int64_t groups = (t_.heads + kHeads - 1) / kHeads;
    Items<C> items(core_, t_.sequences, groups, worker, core_.blocks() * kVectorCores);
    while (items.next()) {
      run_item(items.chunk(), items.part() * kHeads);
      slot_ ^= 1;
    }
    for (int slot = 0; slot < kSlots; ++slot) {
      wait_flag(core_, Pipe::v, Pipe::mte2, slot);
      wait_flag(core_, Pipe::mte3, Pipe::v, slot);
    }
  }

 private:
  static constexpr int64_t kHeads = 32;
  static constexpr bool kNarrow = !std::is_same_v<G, float>;
  /// A row of g fills whole blocks, and the sums have rows as long.
  static constexpr int64_t kRowUnit = kBlockBytes / static_cast<int64_t>(sizeof(G));

  GDN_NPU Ub<G> rows_of_g(int slot) { return kNarrow ? g_[slot] : g_[slot] + kHeads; }

  GDN_NPU void run_item(const Chunk &chunk, int64_t first_head) {
    const int64_t heads = smaller(kHeads, t_.heads - first_head);
    const int64_t row = (heads + kRowUnit - 1) / kRowUnit * kRowUnit;
    const int64_t elements = chunk.length * row;
    const int64_t at = chunk.begin * t_.heads + first_head;

    wait_flag(core_, Pipe::v, Pipe::mte2, slot_);
    load(core_, rows_of_g(slot_), t_.g + at, {chunk.length, heads, t_.heads});
    set_flag(core_, Pipe::mte2, Pipe::v, slot_);

    wait_flag(core_, Pipe::mte2, Pipe::v, slot_);
    const Ub<float> values = widened(elements);
    Ub<float> to = even_ + C / 2 * kHeads;
    Ub<float> other = odd_ + C / 2 * kHeads;
    add_shifted(to, values, row, elements);
    set_flag(core_, Pipe::v, Pipe::mte2, slot_);
    for (int64_t shift = 2; shift < C / 2; shift *= 2) {
      add_shifted(other, to, shift * row, elements);
      const Ub<float> last = to;
      to = other;
      other = last;
    }
    wait_flag(core_, Pipe::mte3, Pipe::v, slot_);
    add_shifted(sums_[slot_], to, C / 2 * row, elements);
    set_flag(core_, Pipe::v, Pipe::mte3, slot_);

    wait_flag(core_, Pipe::v, Pipe::mte3, slot_);
    const int64_t blocks = (heads + kBlockLanes - 1) / kBlockLanes;
    store(core_, t_.g_cumsum + at, sums_[slot_],
          {chunk.length, heads, t_.heads, row / kBlockLanes - blocks});
    set_flag(core_, Pipe::mte3, Pipe::v, slot_);
  }

  /// The rows of g as f32, below a row of zeros.
  GDN_NPU Ub<float> widened(int64_t elements) {
    if constexpr (kNarrow) {
      const Ub<float> to = one_row_of_zeros_[0] + kHeads;
      Spans spans(elements);
      while (spans.next()) {
        vcast<G>(core_, {to + spans.at()}, {g_[slot_] + spans.at()}, spans.repeats());
      }
      return to;
    } else {
      return rows_of_g(slot_);
    }
  }

  /// to[i] = from[i] + from[i - shift].
  GDN_NPU void add_shifted(Ub<float> to, Ub<float> from, int64_t shift, int64_t elements) {
    pipe_barrier(core_, Pipe::v);
    Spans spans(elements);
    while (spans.next()) {
      const Ub<float> at = from + spans.at();
      vbinary(core_, Binary::add, {to + spans.at()}, {at}, {at + -shift}, spans.repeats());
    }
  }

  Core &core_;
  const Tensors &t_;
  int slot_ = 0;
  Ub<G> g_[kSlots];
  Ub<float> sums_[kSlots];
  Ub<float> even_, odd_;
  /// Tiles of values that have a row of zeros above them.
  Ub<float> one_row_of_zeros_[kNarrow ? 1 : kSlots];
};

template <class G, int64_t C>
GDN_NPU void chunk_local_cumsum(Core &core, const ChunkLocalCumsumTensors<G> &t) {
  run_part<Rest, ChunkLocalCumsum<G, C>>(core, t);
}

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_CHUNK_LOCAL_CUMSUM_H_
