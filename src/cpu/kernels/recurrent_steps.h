#ifndef GDN_CPU_KERNELS_RECURRENT_STEPS_H_
#define GDN_CPU_KERNELS_RECURRENT_STEPS_H_

// One token over some value columns of one head's state, for each of the two state layouts. A step
// reads the state twice and writes it once: S^T k must be known whole before S can change. The
// second pass finds it in the cache. Include GDN_TILE, gates.h and row_norm.h first.
//
// `source` and `target` may be the same memory. The bits of a column depend neither on the
// columns beside it nor on source and target being f32 tensors or a block on the stack.

#include <type_traits>

#include "cpu/kernels/recurrent_rows.h"
#include "cpu/kernels/shifted_rows.h"
#include "cpu/processor.h"

namespace gdn::cpu::GDN_ISA {
namespace {

/// State rows are keys: [DK][DV].
struct KeyFirst {
  static constexpr int64_t kBlockColumns = kTileColumns;

  /// Whether the state that comes next is worth fetching by instructions. Where all states of the
  /// call fit a cache, an AMD processor's own prefetchers keep up with whole rows of f32, and the
  /// instructions cost more than they bring.
  template <class S>
  static bool worth_fetching(const DeltaRule &p) {
    constexpr int64_t kCached = int64_t{32} << 20;
    if (sizeof(S) < sizeof(float) || kWidth < 16 || !processor().amd) return true;
    const int64_t elements = p.sequences.count * p.heads.value_heads * p.key_dim * p.value_dim;
    return elements * static_cast<int64_t>(sizeof(S)) > kCached;
  }

  template <class S>
  static Rows<S> rows(const Tensor &t, int64_t slot, int64_t head, int64_t column) {
    return {t.at<S>(slot, head, 0, column), t.stride[2]};
  }

  static Extent extent(int64_t key_dim, int64_t columns) { return {key_dim, columns}; }

  /// Elements from column 0 to column c.
  template <class S>
  static int64_t column_offset(Rows<S>, int64_t c) {
    return c;
  }

  /// v and o hold `columns` elements, readable and writable up to a whole Vec. `ahead` lies where
  /// the state that comes next will be read (or null).
  template <class S>
  static void step(const RecurrentToken &token, int64_t key_dim, int64_t columns, Rows<S> source,
                   Rows<S> target, const S *ahead, const float *v, float *o) {
    alignas(64) float w[kMaxColumns];
    for (int64_t j = 0; j < columns; j += kWidth) store(w + j, zero());
    bool shifted = false;
    if constexpr (kShifted<S>) {
      // Where states are fetched, memory is the limit, and such rows cost 1.03 of aligned ones.
      shifted = ahead == nullptr && ShiftedRows<S>::serve(source, columns);
      if (shifted) ShiftedRows<S>::read(token, source, key_dim, columns, w);
    }
    if (!shifted) {
      for_each_slice(key_dim, columns, [&](auto width, int64_t d, int64_t c) {
        const S *next = ahead != nullptr ? ahead + d * source.stride + c : nullptr;
        read(token, width, rows_at(source, d, c), next, d, key_dim, w + c);
      });
    }
    const Vec decay = set1(token.decay.whole);
    const Vec beta = set1(token.beta);
    for (int64_t j = 0; j < columns; j += kWidth) {
      store(w + j, beta * fnma(decay, load(w + j), load(v + j)));
      store(o + j, zero());
    }
    if constexpr (kShifted<S>) {
      if (shifted) {
        return ShiftedRows<S>::write(token, source, target, key_dim, columns, w, o);
      }
    }
    for_each_slice(key_dim, columns, [&](auto width, int64_t d, int64_t c) {
      const S *next = ahead != nullptr ? ahead + d * source.stride + c : nullptr;
      write(token, width, rows_at(source, d, c), rows_at(target, d, c), next, d, key_dim, w + c,
            o + c);
    });
  }

 private:
  template <class S>
  static constexpr bool kShifted = kShifts &&std::is_same_v<S, float>;

  /// Vectors of a slice of columns, whose sums stay in registers. Eight hide the latency of a
  /// multiply-add and leave room for the factors where there are 16 registers.
  static constexpr int kSlice = 8;
  /// Keys that pass over a slice before the next slice of these rows.
  static constexpr int64_t kBand = 64;

  template <class S>
  static Rows<S> rows_at(Rows<S> rows, int64_t d, int64_t c) {
    return {rows.data + d * rows.stride + c, rows.stride};
  }

  /// A slice of kVectors vectors of columns. The last one begins at column `last` and may share
  /// columns with the one before it: both then compute the same. (A vector cut by a mask would, for
  /// the processor, overlap the next row, whose load would wait for its store.)
  template <int kVectors, class Lanes>
  struct Width {
    int64_t last;
    Lanes lanes;

    int64_t column(int j) const { return j + 1 < kVectors ? j * kWidth : last; }
  };

  /// Calls f(Width, first key, first column) for slices that cover all columns of
  /// each band of keys.
  template <class F>
  static void for_each_slice(int64_t key_dim, int64_t columns, F &&f) {
    const int64_t vectors = (columns + kWidth - 1) / kWidth;
    const int64_t slices = (vectors + kSlice - 1) / kSlice;
    const int64_t whole = (vectors + slices - 1) / slices * kWidth;
    for (int64_t d = 0; d < key_dim; d += kBand) {
      for (int64_t c = 0; c < columns; c += whole) {
        const int64_t left = columns - c < whole ? columns - c : whole;
        with_width_of<kSlice>(left, [&](auto width) { f(width, d, c); });
      }
    }
  }

  template <int kVectors, class F>
  static void with_width_of(int64_t columns, F &&f) {
    if constexpr (kVectors > 1) {
      if (columns <= (kVectors - 1) * kWidth) return with_width_of<kVectors - 1>(columns, f);
      f(Width<kVectors, WholeLanes>{columns - kWidth, {}});
    } else if (columns == kWidth) {
      f(Width<1, WholeLanes>{0, {}});
    } else {
      f(Width<1, FirstLanes>{0, {columns}});
    }
  }

  /// sums += k^T S over a band of rows. A function of its own: inlined into larger ones its loops
  /// were measured 3 % slower. At the beginning of a line of code: the same instructions 48 bytes
  /// past one took up to 1.5 times as long for rows of 255 that come from memory.
  template <int kVectors, class Lanes, class S>
  [[gnu::noinline, gnu::aligned(64)]] static void read(const RecurrentToken &token,
                                                       Width<kVectors, Lanes> width, Rows<S> source,
                                                       const S *next, int64_t first,
                                                       int64_t key_dim, float *sums) {
    const int64_t end = key_dim - first < kBand ? key_dim : first + kBand;
    if constexpr (in_pairs<kVectors, S>()) {
      if (width.last == (kVectors - 1) * kWidth) {
        return read_pairs<kVectors / 2>(token, source, first, end, sums);
      }
    }
    Vec sum[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) sum[j] = load(sums + width.column(j));
    const S *row = source.data;
    for (int64_t d = first; d < end; ++d, row += source.stride) {
      const Vec k = set1(token.k[d]);
      if (next != nullptr) fetch_row<0, kRead<kVectors, S>>(next + (d - first) * source.stride);
#pragma GCC unroll 8
      for (int j = 0; j + 1 < kVectors; ++j) sum[j] = fma(k, load(row + j * kWidth), sum[j]);
      sum[kVectors - 1] = fma(k, width.lanes.load(row + width.last), sum[kVectors - 1]);
    }
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) store(sums + width.column(j), sum[j]);
  }

  /// S <- decay S + k w^T over a band of rows; sums += q^T S.
  template <int kVectors, class Lanes, class S>
  [[gnu::noinline, gnu::aligned(64)]] static void write(
      const RecurrentToken &token, Width<kVectors, Lanes> width, Rows<S> source, Rows<S> target,
      const S *next, int64_t first, int64_t key_dim, const float *values, float *sums) {
    const int64_t end = key_dim - first < kBand ? key_dim : first + kBand;
    if constexpr (in_pairs<kVectors, S>()) {
      if (width.last == (kVectors - 1) * kWidth) {
        return write_pairs<kVectors / 2>(token, source, target, next, first, end, values, sums);
      }
    }
    Vec w[kVectors];
    Vec sum[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) {
      w[j] = load(values + width.column(j));
      sum[j] = load(sums + width.column(j));
    }
    const Vec kept = set1(token.decay.kept);
    const Vec rest = set1(token.decay.rest);
    const S *row = source.data;
    S *to = target.data;
    for (int64_t d = first; d < end; ++d, row += source.stride, to += target.stride) {
      const Vec k = set1(token.k[d]);
      const Vec q = set1(token.q[d]);
      if (next != nullptr) {
        fetch_row<kRead<kVectors, S>, kVectors>(next + (d - first) * source.stride);
      }
      // Before its columns are stored by the vector before.
      const Vec last = width.lanes.load(row + width.last);
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) {
        const Vec s = j + 1 < kVectors ? load(row + j * kWidth) : last;
        const Vec y = fma(k, w[j], fma(kept, s, rest * s));
        sum[j] = fma(q, y, sum[j]);
        if (j + 1 < kVectors) {
          store(to + j * kWidth, y);
        } else {
          width.lanes.store(to + width.last, y);
        }
      }
    }
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) store(sums + width.column(j), sum[j]);
  }

  /// Vectors of a row of f32 that the first pass fetches: memory is then busy in both. 16-bit rows
  /// have fewer lines, and a first pass that is already bound by instructions, as sets of 128 bits
  /// have.
  template <int kVectors, class S>
  static constexpr int kRead = sizeof(S) == sizeof(float) && kWidth > 4 ? kVectors / 2 : 0;

  /// Fetches vectors [kFirst, kEnd) of a row.
  template <int kFirst, int kEnd, class S>
  static void fetch_row(const S *row) {
    constexpr int kLine = 64 / static_cast<int>(sizeof(S));
#pragma GCC unroll 8
    for (int i = kFirst * kWidth; i < kEnd * kWidth; i += kLine) prefetch(row + i);
  }

  /// Whether a register of bf16 pairs is widened and narrowed at once, so that a sum holds every
  /// other column.
  template <int kVectors, class S>
  static constexpr bool in_pairs() {
    return kHasBf16Dot && std::is_same_v<std::remove_const_t<S>, Bf16> && kVectors % 2 == 0;
  }

  template <int kPairs, class S>
  [[gnu::always_inline]] static void read_pairs(const RecurrentToken &token, Rows<S> source,
                                                int64_t first, int64_t end, float *sums) {
    Vec sum[kPairs][2];
#pragma GCC unroll 8
    for (int j = 0; j < kPairs; ++j) split_two(sums + j * 2 * kWidth, sum[j]);
    const S *row = source.data;
    for (int64_t d = first; d < end; ++d, row += source.stride) {
      const Vec k = set1(token.k[d]);
#pragma GCC unroll 8
      for (int j = 0; j < kPairs; ++j) {
        const auto pairs = load_pairs(row + j * 2 * kWidth);
        sum[j][0] = fma(k, first_of_pairs(pairs), sum[j][0]);
        sum[j][1] = fma(k, second_of_pairs(pairs), sum[j][1]);
      }
    }
#pragma GCC unroll 8
    for (int j = 0; j < kPairs; ++j) join_two(sum[j], sums + j * 2 * kWidth);
  }

  template <int kPairs, class S>
  [[gnu::always_inline]] static void write_pairs(const RecurrentToken &token, Rows<S> source,
                                                 Rows<S> target, const S *next, int64_t first,
                                                 int64_t end, const float *values, float *sums) {
    Vec w[kPairs][2];
    Vec sum[kPairs][2];
#pragma GCC unroll 8
    for (int j = 0; j < kPairs; ++j) {
      split_two(values + j * 2 * kWidth, w[j]);
      split_two(sums + j * 2 * kWidth, sum[j]);
    }
    const Vec kept = set1(token.decay.kept);
    const Vec rest = set1(token.decay.rest);
    const S *row = source.data;
    S *to = target.data;
    for (int64_t d = first; d < end; ++d, row += source.stride, to += target.stride) {
      const Vec k = set1(token.k[d]);
      const Vec q = set1(token.q[d]);
      if (next != nullptr) fetch_row<0, 2 * kPairs>(next + (d - first) * source.stride);
#pragma GCC unroll 8
      for (int j = 0; j < kPairs; ++j) {
        const auto pairs = load_pairs(row + j * 2 * kWidth);
        const Vec s[2] = {first_of_pairs(pairs), second_of_pairs(pairs)};
        Vec y[2];
        for (int i = 0; i < 2; ++i) {
          y[i] = fma(k, w[j][i], fma(kept, s[i], rest * s[i]));
          sum[j][i] = fma(q, y[i], sum[j][i]);
        }
        store_pairs(to + j * 2 * kWidth, y[0], y[1]);
      }
    }
#pragma GCC unroll 8
    for (int j = 0; j < kPairs; ++j) join_two(sum[j], sums + j * 2 * kWidth);
  }
};

/// State rows are values: [DV][DK].
struct ValueFirst {
  static constexpr int64_t kBlockColumns = kWidth;

  template <class S>
  static bool worth_fetching(const DeltaRule &) {
    return true;
  }

  template <class S>
  static Rows<S> rows(const Tensor &t, int64_t slot, int64_t head, int64_t column) {
    return {t.at<S>(slot, head, 0, column), t.stride[3]};
  }

  static Extent extent(int64_t key_dim, int64_t columns) { return {columns, key_dim}; }

  template <class S>
  static int64_t column_offset(Rows<S> rows, int64_t c) {
    return c * rows.stride;
  }

  template <class S>
  [[gnu::noinline]] static void step(const RecurrentToken &token, int64_t key_dim, int64_t columns,
                                     Rows<S> source, Rows<S> target, const S *ahead, const float *v,
                                     float *o) {
    for (int64_t c = 0; c < columns; c += kWidth) {
      const int64_t rows = columns - c < kWidth ? columns - c : kWidth;
      const S *from = source.data + c * source.stride;
      const S *next = ahead != nullptr ? ahead + c * source.stride : from;
      group(token, key_dim, rows, Rows<const S>{from, source.stride},
            Rows<S>{target.data + c * target.stride, target.stride}, next, v + c, o + c);
    }
  }

 private:
  /// Rows that share the loads of k and q.
  static constexpr int kTogether = 4;

  /// Sum over the lanes of each of kWidth vectors, as the lanes of one.
  static Vec reduce_rows(const float *sums) {
    alignas(64) float turned[kWidth * kWidth];
    transpose_square(sums, kWidth, turned, kWidth);
    Vec total = load(turned);
    for (int i = 1; i < kWidth; ++i) total = total + load(turned + i * kWidth);
    return total;
  }

  template <class S>
  static void group(const RecurrentToken &token, int64_t key_dim, int64_t rows,
                    Rows<const S> source, Rows<S> target, const S *ahead, const float *v,
                    float *o) {
    alignas(64) float sums[kWidth * kWidth];
    alignas(64) float w[kWidth];
    const Vec decay = set1(token.decay.whole);
    for (int i = 0; i < kWidth; ++i) store(sums + i * kWidth, zero());
    for (int64_t r = 0; r < rows;) {
      if (rows - r >= kTogether) {
        read_rows<kTogether>(token, key_dim, source.from(r), sums + r * kWidth);
        r += kTogether;
      } else {
        read_rows<1>(token, key_dim, source.from(r), sums + r * kWidth);
        ++r;
      }
    }
    const Vec values = load_n(v, rows);
    store(w, set1(token.beta) * fnma(decay, reduce_rows(sums), values));
    for (int64_t r = 0; r < rows;) {
      const S *next = ahead + r * source.stride;
      float *to = sums + r * kWidth;
      if (rows - r >= kTogether) {
        write_rows<kTogether>(token, key_dim, source.from(r), target.from(r), next, w + r, to);
        r += kTogether;
      } else {
        write_rows<1>(token, key_dim, source.from(r), target.from(r), next, w + r, to);
        ++r;
      }
    }
    store_n(o, reduce_rows(sums), rows);
  }

  /// Lane sums of S k for kRows rows.
  template <int kRows, class S>
  [[gnu::always_inline]] static void read_rows(const RecurrentToken &token, int64_t key_dim,
                                               Rows<const S> source, float *sums) {
    Vec sum[kRows];
    for (Vec &s : sum) s = zero();
    for_each_lanes(key_dim, [&](int64_t d, auto lanes) {
      const Vec k = load(token.k + d);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) {
        sum[i] = fma(lanes.load(source.data + i * source.stride + d), k, sum[i]);
      }
    });
    for (int i = 0; i < kRows; ++i) store(sums + i * kWidth, sum[i]);
  }

  /// S <- decay S + w k^T for kRows rows; lane sums of S q.
  template <int kRows, class S>
  [[gnu::always_inline]] static void write_rows(const RecurrentToken &token, int64_t key_dim,
                                                Rows<const S> source, Rows<S> target, const S *next,
                                                const float *w, float *sums) {
    const Vec kept = set1(token.decay.kept);
    const Vec rest = set1(token.decay.rest);
    Vec sum[kRows];
    for (Vec &s : sum) s = zero();
    for_each_lanes(key_dim, [&](int64_t d, auto lanes) {
      const Vec k = load(token.k + d);
      const Vec q = load(token.q + d);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) {
        prefetch(next + i * source.stride + d);
        const Vec s = lanes.load(source.data + i * source.stride + d);
        const Vec y = fma(k, set1(w[i]), fma(kept, s, rest * s));
        lanes.store(target.data + i * target.stride + d, y);
        sum[i] = fma(q, y, sum[i]);
      }
    });
    for (int i = 0; i < kRows; ++i) store(sums + i * kWidth, sum[i]);
  }
};

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_RECURRENT_STEPS_H_
