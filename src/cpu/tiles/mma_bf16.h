#ifndef GDN_CPU_TILES_MMA_BF16_H_
#define GDN_CPU_TILES_MMA_BF16_H_

// The matrix operand of sets with a bf16 dot product, for mma() of mma.h. A tile header with
// kHasBf16Dot includes this after tile.h and defines, before both:
//
//   dot_pairs(acc, a, b)            acc[i] += a[0] b[2 i] + a[1] b[2 i + 1]
//   store_pairs(p, x, y)            p[2 i], p[2 i + 1] = x[i], y[i], rounded to nearest even
//   load_pairs(p)                   kWidth pairs in a register
//   first_of_pairs(x)               x[2 i] as f32; second_of_pairs(x): x[2 i + 1]
//   split_pairs(p, first, second)   the elements of 2 kWidth pairs in memory

namespace gdn::cpu::GDN_ISA {
namespace {

/// Products of bf16 pairs, summed in f32.
struct Bf16Operand {
  using Element = Bf16;
  static constexpr int kPack = 2;

  template <int M>
  [[gnu::always_inline]] static inline void step(Tile<M> &c, const Bf16 *a, int64_t a_stride,
                                                 const Bf16 *b) {
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      c.v[m][0] = dot_pairs(c.v[m][0], a + m * a_stride, b);
      c.v[m][1] = dot_pairs(c.v[m][1], a + m * a_stride, b + 2 * kWidth);
    }
  }

  template <int M>
  [[gnu::always_inline]] static inline void step_twin(Tile<M> &c, const Bf16 *a, const Bf16 *a2,
                                                      int64_t a_stride, const Bf16 *b) {
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      c.v[m][0] = dot_pairs(c.v[m][0], a + m * a_stride, b);
      c.v[m][1] = dot_pairs(c.v[m][1], a2 + m * a_stride, b);
    }
  }

  /// Writes kWidth columns of one group of kPack rows of a panel, rounding to bf16.
  static inline void store_row_group(Bf16 *p, const Vec *rows) { store_pairs(p, rows[0], rows[1]); }

  /// rows[i] -= what store_row_group() wrote for it.
  static inline void subtract_row_group(const Bf16 *p, Vec *rows) {
    const auto pairs = load_pairs(p);
    rows[0] = rows[0] - first_of_pairs(pairs);
    rows[1] = rows[1] - second_of_pairs(pairs);
  }

  /// From a panel [rows / 2][2 kWidth][2] the plain matrix [rows][2 kWidth].
  static inline void split_panel(const Bf16 *panel, int64_t rows, Bf16 *matrix) {
    for (int64_t i = 0; i < rows; i += 2) {
      split_pairs(panel + i * kTileColumns, matrix + i * kTileColumns,
                  matrix + (i + 1) * kTileColumns);
    }
  }
};

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_TILES_MMA_BF16_H_
