#ifndef GDN_CPU_TILES_MMA_H_
#define GDN_CPU_TILES_MMA_H_

// The matrix micro-kernel: C[M x kTileColumns] += A[M x K] B[K x kTileColumns], C in f32 registers.
//
// A  row major, `a_stride` elements from row to row, K elements of a row side by side; each is
//    broadcast to all columns. No alignment is needed.
// B  a panel: [K / kPack][columns][kPack], that is kPack consecutive k of one column side by side.
//    `b_stride` elements from one group of kPack k to the next: columns * kPack of the whole panel,
//    of which the tile is a part that starts at b. No alignment is needed; 64 bytes is faster.
// C  Tile<M>: M rows of two vectors, so kTileColumns = 2 kWidth. M <= kTileRows keeps it, two
//    vectors of B and a broadcast within the registers.
// K  counts elements, a multiple of kPack; 0 leaves C as it is.
//
// The sum over k runs in order into one accumulator per element, so an element's bits depend on
// nothing but its row of A and its column of B.
//
// Operands: F32Operand (float, kPack 1) everywhere, Bf16Operand (Bf16, kPack 2; mma_bf16.h) with
// kHasBf16Dot. A panel of B is made by store_row_group().

#include "cpu/tiles/elements.h"

namespace gdn::cpu::GDN_ISA {
namespace {

constexpr int kTileColumns = 2 * kWidth;

/// M x kTileColumns floats in registers.
template <int M>
struct Tile {
  Vec v[M][2];
};

template <int M>
[[gnu::always_inline]] inline void clear(Tile<M> &c) {
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) c.v[m][0] = c.v[m][1] = zero();
}

template <int M>
[[gnu::always_inline]] inline void load_tile(Tile<M> &c, const float *p, int64_t stride) {
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
    c.v[m][0] = load(p + m * stride);
    c.v[m][1] = load(p + m * stride + kWidth);
  }
}

template <int M>
[[gnu::always_inline]] inline void store_tile(const Tile<M> &c, float *p, int64_t stride) {
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
    store(p + m * stride, c.v[m][0]);
    store(p + m * stride + kWidth, c.v[m][1]);
  }
}

/// f32 products.
struct F32Operand {
  using Element = float;
  static constexpr int kPack = 1;

  template <int M>
  [[gnu::always_inline]] static inline void step(Tile<M> &c, const float *a, int64_t a_stride,
                                                 const float *b) {
    const Vec b0 = load(b);
    const Vec b1 = load(b + kWidth);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      const Vec x = set1(a[m * a_stride]);
      c.v[m][0] = fma(x, b0, c.v[m][0]);
      c.v[m][1] = fma(x, b1, c.v[m][1]);
    }
  }

  /// One vector of columns for the rows of two matrices: a in v[..][0], a2 in v[..][1].
  template <int M>
  [[gnu::always_inline]] static inline void step_twin(Tile<M> &c, const float *a, const float *a2,
                                                      int64_t a_stride, const float *b) {
    const Vec b0 = load(b);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      c.v[m][0] = fma(set1(a[m * a_stride]), b0, c.v[m][0]);
      c.v[m][1] = fma(set1(a2[m * a_stride]), b0, c.v[m][1]);
    }
  }

  /// Writes kWidth columns of one group of kPack rows of a panel.
  static inline void store_row_group(float *p, const Vec *rows) { store(p, rows[0]); }
};

/// Products of bf16 pairs, summed in f32: of a set with kHasBf16Dot.
struct Bf16Operand;

/// The micro-kernel described above.
template <class Operand, int M>
[[gnu::always_inline]] inline void mma(Tile<M> &c, const typename Operand::Element *a,
                                       int64_t a_stride, const typename Operand::Element *b,
                                       int64_t b_stride, int64_t k) {
  for (int64_t i = 0; i < k; i += Operand::kPack) {
    Operand::step(c, a + i, a_stride, b);
    b += b_stride;
  }
}

/// The same for two matrices A of the same shape and kWidth columns of B: c.v[m][0] += row m of a
/// times B, c.v[m][1] += row m of a2 times B.
template <class Operand, int M>
[[gnu::always_inline]] inline void mma_twin(Tile<M> &c, const typename Operand::Element *a,
                                            const typename Operand::Element *a2, int64_t a_stride,
                                            const typename Operand::Element *b, int64_t b_stride,
                                            int64_t k) {
  for (int64_t i = 0; i < k; i += Operand::kPack) {
    Operand::step_twin(c, a + i, a2 + i, a_stride, b);
    b += b_stride;
  }
}

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_TILES_MMA_H_
