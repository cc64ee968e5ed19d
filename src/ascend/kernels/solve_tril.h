#ifndef GDN_ASCEND_KERNELS_SOLVE_TRIL_H_
#define GDN_ASCEND_KERNELS_SOLVE_TRIL_H_

// T = (I + A)^-1 for each chunk and head, by forward substitution in f32: from T = I on, step j
// subtracts A[i, j] times row j, which is final by then, from all rows i > j. Rows up to 63 have no
// more than 64 columns, so that half of the steps touch half of the lanes.
//
// Who:     the Vector cores, an item each: a chunk of one head. The Cube core rests.
// UB:      C = 128 (KB): A, which becomes T, 64; its columns with the sign turned 64; a column over
//          blocks 2 x 4; T in 16 bits 32: 168 of 192. There is no room for the next item's A, and
//          no need: V has some ten times as much to do as the moves.
// Binds:   V, C steps of up to C * C / 64 repeats.

#include <type_traits>

#include "ascend/kernels/items.h"
#include "ascend/kernels/spans.h"

namespace gdn::ascend::kernels {

/// R: float, f16 or bf16.
template <class R>
struct SolveTrilTensors {
  SequenceTable sequences;
  int64_t heads;
  Gm<const float> A;         ///< [tokens, heads, C]; read below the diagonal alone.
  Gm<const float> identity;  ///< [8, 8].
  Gm<R> T;                   ///< Out [tokens, heads, C].
};

template <class R, int64_t C>
class SolveTril {
 public:
  using Tensors = SolveTrilTensors<R>;

  GDN_NPU SolveTril(Core &core, const Tensors &t) : core_(core), t_(t) {
    column_[0] = core.take<Ub<float>>("column", C * kBlockLanes);
    column_[1] = core.take<Ub<float>>("column", C * kBlockLanes);
    T_ = core.take<Ub<float>>("A, then T", C * C);
    columns_ = core.take<Ub<float>>("columns of -A", C * C);
    identity_ = core.take<Ub<float>>("identity", kBlockLanes * kBlockLanes);
    minus_one_ = core.take<Ub<float>>("-1", kBlockLanes);
    if constexpr (kNarrow) rounded_ = core.take<Ub<R>>("T rounded", C * C);
  }

  GDN_NPU void run() {
    // Rows past a chunk's end are whatever was there before; at first zeros.
    fill(core_, T_, 0.0F, C * C);
    fill(core_, minus_one_, -1.0F, kBlockLanes);
    if constexpr (kNarrow) {
      set_flag(core_, Pipe::mte3, Pipe::v, 0);
    } else {
      set_flag(core_, Pipe::v, Pipe::mte2, 1);
      wait_flag(core_, Pipe::v, Pipe::mte2, 1);
    }
    set_flag(core_, kLast, Pipe::mte2, 0);
    load(core_, identity_, t_.identity, {1, kBlockLanes * kBlockLanes, 0});
    const int64_t worker = core_.block() * kVectorCores + core_.vector();
    Items<C> items(core_, t_.sequences, t_.heads, worker, core_.blocks() * kVectorCores);
    while (items.next()) {
      const Chunk chunk = items.chunk();
      run_item((chunk.begin * t_.heads + items.part()) * C, chunk.length);
    }
    wait_flag(core_, kLast, Pipe::mte2, 0);
    if constexpr (kNarrow) wait_flag(core_, Pipe::mte3, Pipe::v, 0);
  }

 private:
  static constexpr bool kNarrow = !std::is_same_v<R, float>;
  static constexpr int64_t kRowBlocks = C / kBlockLanes;
  /// What is the last to read T in f32.
  static constexpr Pipe kLast = kNarrow ? Pipe::v : Pipe::mte3;

  GDN_NPU void run_item(int64_t at, int64_t length) {
    const Rows rows{length, C, t_.heads * C};
    wait_flag(core_, kLast, Pipe::mte2, 0);
    load(core_, T_, t_.A + at, rows);
    set_flag(core_, Pipe::mte2, Pipe::v, 0);

    wait_flag(core_, Pipe::mte2, Pipe::v, 0);
    begin(length);
    substitute(length);
    if constexpr (kNarrow) {
      wait_flag(core_, Pipe::mte3, Pipe::v, 0);
      pipe_barrier(core_, Pipe::v);
      Spans spans(length * C);
      while (spans.next()) {
        vround<R>(core_, {rounded_ + spans.at()}, {T_ + spans.at()}, spans.repeats());
      }
    }
    set_flag(core_, Pipe::v, Pipe::mte3, 0);

    wait_flag(core_, Pipe::v, Pipe::mte3, 0);
    if constexpr (kNarrow) {
      store(core_, t_.T + at, rounded_, rows);
      set_flag(core_, Pipe::mte3, Pipe::v, 0);
    } else {
      store(core_, t_.T + at, T_, rows);
    }
    set_flag(core_, kLast, Pipe::mte2, 0);
  }

  /// The columns of -A; T = I.
  GDN_NPU void begin(int64_t length) {
    const int64_t groups = (length + kFractal - 1) / kFractal;
    for (int64_t j = 0; j < C; j += kBlockLanes) {
      vtranspose(core_, columns_ + j * C, T_ + j, groups,
                 {kRowBlocks, kFractal * kRowBlocks, kRowBlocks, 2});
    }
    pipe_barrier(core_, Pipe::v);
    for (int64_t j = 0; j < C; j += kBlockLanes) {
      // Rows of 8 columns, as many of their blocks as were written.
      for (int64_t r = 0; r < groups * 2; r += kBlockLanes) {
        const int64_t lanes = smaller(kBlockLanes, groups * 2 - r) * kBlockLanes;
        const Lanes<float> part{columns_ + (j * C + r * kBlockLanes), 1, kRowBlocks};
        vbinary(core_, Binary::mul, part, part, {minus_one_, 0, 0}, {kBlockLanes, lanes});
      }
    }
    fill(core_, T_, 0.0F, C * C);
    pipe_barrier(core_, Pipe::v);
    // Blocks of 8 x 8: a repeat is one of them, its blocks are their rows.
    vbinary(core_, Binary::max, {T_, kRowBlocks, C + 1}, {identity_, 1, 0}, {identity_, 1, 0},
            {kRowBlocks});
  }

  /// The next column is spread while this one is used.
  GDN_NPU void substitute(int64_t length) {
    spread_column(0, length);
    for (int64_t j = 0; j + 1 < length; ++j) {
      pipe_barrier(core_, Pipe::v);
      if (j + 2 < length) spread_column(j + 1, length);
      for (int64_t p = 0; p <= j; p += kLanes) {
        vmla(core_, {T_ + ((j + 1) * C + p), 1, kRowBlocks},
             {column_[j % 2] + (j + 1) * kBlockLanes, 0, 1}, {T_ + (j * C + p), 1, 0},
             {length - 1 - j});
      }
    }
  }

  /// -A[i, j] for all i > j, each over a block.
  GDN_NPU void spread_column(int64_t j, int64_t length) {
    const int64_t first = (j + 1) / kBlockLanes * kBlockLanes;
    vbrcb(core_, column_[j % 2] + first * kBlockLanes, columns_ + (j * C + first),
          (larger(length, j + 2) - first + kBlockLanes - 1) / kBlockLanes);
  }

  Core &core_;
  const Tensors &t_;
  Ub<float> column_[2];
  Ub<float> T_, columns_, identity_, minus_one_;
  Ub<R> rounded_;
};

template <class R, int64_t C>
GDN_NPU void solve_tril(Core &core, const SolveTrilTensors<R> &t) {
  run_part<Rest, SolveTril<R, C>>(core, t);
}

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_SOLVE_TRIL_H_
