#ifndef GDN_CPU_KERNELS_SHIFTED_ROWS_H_
#define GDN_CPU_KERNELS_SHIFTED_ROWS_H_

// The two passes of a step over K-first f32 rows that do not start with a cache line, as those of
// any width but the multiples of 16: a vector of such a row lies in two lines, and its load takes
// as long as two. ShiftedRow loads lines. The bits are those of KeyFirst's own passes. Include
// GDN_TILE and recurrent_rows.h first.

#include <type_traits>

#include "cpu/processor.h"

namespace gdn::cpu::GDN_ISA {
namespace {

/// S is float: a template, so that sets without kShifts do not compile it.
template <class S>
class ShiftedRows {
 public:
  /// Whether these rows take less time by lines: they are long, and of any two neighbours at least
  /// one starts in the middle of a line. (Only AMD's processors were measured.)
  static bool serve(Rows<S> rows, int64_t columns) {
    return processor().amd && columns > (kLeast - 1) * kWidth && in_a_line(rows, 1) &&
           in_a_line(rows, 2);
  }

  /// sums += k^T S.
  static void read(const RecurrentToken &token, Rows<S> source, int64_t key_dim, int64_t columns,
                   float *sums) {
    with_vectors_of<kLeast, kMost>(columns, [&](auto vectors) {
      read_rows<vectors()>(token, source, key_dim, columns, sums);
    });
  }

  /// S <- decay S + k w^T; sums += q^T S.
  ///
  /// A line that ends a row is loaded with the elements after it, for which it would have to wait
  /// if they had just been stored. Where the next row is near, two slices take turns: of them one
  /// is left alone while the other is done.
  static void write(const RecurrentToken &token, Rows<S> source, Rows<S> target, int64_t key_dim,
                    int64_t columns, const float *w, float *sums) {
    if (source.stride >= columns + kWidth) {
      with_vectors_of<kLeast, kMost>(columns, [&](auto vectors) {
        write_slice<vectors()>(token, source, target, 0, key_dim, columns, w, sums);
      });
      return;
    }
    const int64_t first = first_slice(columns);
    for (int64_t d = 0; d < key_dim; d += kBand) {
      const int64_t end = key_dim - d < kBand ? key_dim : d + kBand;
      const auto slice = [&](int64_t c, int64_t count) {
        with_vectors_of<kLeast / 2, kMost / 2>(count, [&](auto vectors) {
          write_slice<vectors()>(token, {source.data + d * source.stride + c, source.stride},
                                 {target.data + d * target.stride + c, target.stride}, d, end,
                                 count, w + c, sums + c);
        });
      };
      slice(0, first);
      slice(first, columns - first);
    }
  }

 private:
  /// Vectors of a row: as many as a step has, and as few as pay for a row's masks.
  static constexpr int kMost = static_cast<int>(kMaxColumns) / kWidth;
  static constexpr int kLeast = 11;
  /// Keys that pass over a slice before the other slice of these rows.
  static constexpr int64_t kBand = 64;

  /// Whether row i starts in the middle of a cache line.
  static bool in_a_line(Rows<S> rows, int64_t i) {
    constexpr uintptr_t kLine = 64;
    const auto address = reinterpret_cast<uintptr_t>(rows.data + i * rows.stride);
    return address % kLine != 0 && address % sizeof(S) == 0;
  }

  /// Columns of the first of two slices, whose sums and factors fit the registers.
  static int64_t first_slice(int64_t columns) {
    return ((columns + kWidth - 1) / kWidth + 1) / 2 * kWidth;
  }

  /// Calls f with the vectors that `columns` take, kFew to kMany.
  template <int kFew, int kMany, class F>
  static void with_vectors_of(int64_t columns, F &&f) {
    if constexpr (kMany > kFew) {
      if (columns <= (kMany - 1) * kWidth) return with_vectors_of<kFew, kMany - 1>(columns, f);
    }
    f(std::integral_constant<int, kMany>());
  }

  template <int kVectors>
  [[gnu::noinline, gnu::aligned(64)]] static void read_rows(const RecurrentToken &token,
                                                            Rows<S> source, int64_t key_dim,
                                                            int64_t columns, float *sums) {
    Vec sum[kVectors];
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) sum[j] = load(sums + j * kWidth);
    const S *from = source.data;
    for (int64_t d = 0; d < key_dim; ++d, from += source.stride) {
      const Vec k = set1(token.k[d]);
      ShiftedRow<kVectors> row(from, columns);
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) sum[j] = fma(k, row.next(j), sum[j]);
    }
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) store(sums + j * kWidth, sum[j]);
  }

  /// Keys [first, end); source and target lie at key `first`.
  template <int kVectors>
  [[gnu::noinline, gnu::aligned(64)]] static void write_slice(const RecurrentToken &token,
                                                              Rows<S> source, Rows<S> target,
                                                              int64_t first, int64_t end,
                                                              int64_t columns, const float *w,
                                                              float *sums) {
    Vec sum[kVectors];
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) sum[j] = load(sums + j * kWidth);
    // As many factors as fit the registers beside the sums: those of a slice, or none.
    constexpr int kKept = kVectors <= kMost / 2 ? kVectors : 0;
    Vec factor[kKept + 1];
#pragma GCC unroll 16
    for (int j = 0; j < kKept; ++j) factor[j] = load(w + j * kWidth);
    const Vec kept = set1(token.decay.kept);
    const Vec rest = set1(token.decay.rest);
    const int64_t left = columns - (kVectors - 1) * kWidth;
    const S *from = source.data;
    S *to = target.data;
    for (int64_t d = first; d < end; ++d, from += source.stride, to += target.stride) {
      const Vec k = set1(token.k[d]);
      const Vec q = set1(token.q[d]);
      ShiftedRow<kVectors> row(from, columns);
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) {
        const Vec s = row.next(j);
        const Vec value = j < kKept ? factor[j < kKept ? j : 0] : load(w + j * kWidth);
        const Vec y = fma(k, value, fma(kept, s, rest * s));
        sum[j] = fma(q, y, sum[j]);
        if (j + 1 < kVectors) {
          store(to + j * kWidth, y);
        } else {
          store_n(to + j * kWidth, y, left);
        }
      }
    }
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) store(sums + j * kWidth, sum[j]);
  }
};

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_SHIFTED_ROWS_H_
