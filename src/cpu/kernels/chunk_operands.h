#ifndef GDN_CPU_KERNELS_CHUNK_OPERANDS_H_
#define GDN_CPU_KERNELS_CHUNK_OPERANDS_H_

// What the value heads of a key head share in one step: q and k packed as matrix operands, k
// transposed, and the triangles of K K^T and Q K^T. Include GDN_TILE and row_norm.h first.

#include "cpu/kernels/scratch.h"

namespace gdn::cpu::GDN_ISA {
namespace {

/// Tokens of a step. Longer ones add operations to the triangles and the solve and save passes over
/// the state, which are hidden behind arithmetic already.
constexpr int64_t kStep = 32;

/// Elements of a packed row: DK up to a multiple of what a transposition takes; the rest is 0.
inline int64_t padded_key_dim(int64_t key_dim) { return (key_dim + 31) / 32 * 32; }

/// The operand type that multiplies inputs of type E.
template <class E, bool kBf16Dot = kHasBf16Dot>
struct OperandOf {
  using type = F32Operand;
};
template <>
struct OperandOf<Bf16, true> {
  using type = Bf16Operand;
};

/// y = x for n elements, then zeros up to `padded`, a multiple of kWidth.
template <class E>
inline void pack_row(const E *x, int64_t n, int64_t padded, float *y) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(y + i, load(x + i));
  for (; i < padded; i += kWidth) store(y + i, i < n ? load_n(x + i, n - i) : zero());
}
inline void pack_row(const Bf16 *x, int64_t n, int64_t padded, Bf16 *y) {
  int64_t i = 0;
  for (; i + 2 * kWidth <= n; i += 2 * kWidth) std::memcpy(y + i, x + i, 2 * kWidth * sizeof *y);
  if (i == padded) return;
  std::memcpy(y + i, x + i, static_cast<size_t>(n - i) * sizeof *y);
  std::memset(static_cast<void *>(y + n), 0, static_cast<size_t>(padded - n) * sizeof *y);
}

/// The factor that normalises a packed row, which is shrunk first if it is an extreme one.
template <class E>
inline float normalise_packed(E *x, int64_t n) {
  const int64_t whole = (n + kWidth - 1) / kWidth * kWidth;
  const RowNorm norm = l2norm_of(x, whole);
  if (norm.shrink != 1.0F) {
    const Vec shrink = set1(norm.shrink);
    for (int64_t i = 0; i < whole; i += kWidth) store(x + i, shrink * load(x + i));
  }
  return norm.factor;
}

/// factor[i] = that of row i of `rows` packed rows of n elements: all ordinary ones at once.
template <class E>
inline void normalise_packed_rows(E *x, int64_t stride, int64_t rows, int64_t n, float *factor) {
  const int64_t whole = (n + kWidth - 1) / kWidth * kWidth;
  alignas(64) float sums[kStep] = {};
  for (int64_t i = 0; i < rows; ++i) sums[i] = sum_of_squares(x + i * stride, whole);
  for (int64_t i = 0; i < rows; i += kWidth) {
    store(factor + i, rsqrt(load(sums + i) + set1(kL2NormEps)));
  }
  for (int64_t i = 0; i < rows; ++i) {
    if (!is_ordinary(sums[i])) factor[i] = normalise_packed(x + i * stride, n);
  }
}

template <class Operand>
struct ChunkOperands {
  using Element = typename Operand::Element;
  static constexpr int64_t kPack = Operand::kPack;

  int64_t key_dim;
  int64_t depth;      ///< Of a product over keys: DK up to whole groups of kPack.
  int64_t row;        ///< Elements of a row of q and k.
  Element *q;         ///< [kStep][row].
  Element *k;         ///< [kStep][row].
  Element *k_panel;   ///< [row / kPack][kStep][kPack]: tokens as columns.
  Element *k_turned;  ///< [row][kStep]: keys as rows; with kPack 1 the same as k_panel.
  float *kk;          ///< [kStep][kStep], K K^T on and below the diagonal.
  float *qk;          ///< [kStep][kStep], Q K^T on and below the diagonal.
  float *q_norm;      ///< [kStep], factor of each row of q: l2norm and scale.
  float *k_norm;      ///< [kStep], factor of each row of k: l2norm.

  ChunkOperands(Arena &arena, int64_t key_dim_)
      : key_dim(key_dim_),
        depth((key_dim_ + kPack - 1) / kPack * kPack),
        row(padded_key_dim(key_dim_)) {
    q = arena.take<Element>(kStep * row);
    k = arena.take<Element>(kStep * row);
    k_panel = arena.take<Element>(kStep * row);
    k_turned = kPack == 1 ? k_panel : arena.take<Element>(kStep * row);
    kk = arena.take<float>(kStep * kStep);
    qk = arena.take<float>(kStep * kStep);
    q_norm = arena.take<float>(kStep);
    k_norm = arena.take<float>(kStep);
  }

  /// Packs n tokens; rows past n become 0 and their memory is not read.
  template <class E>
  void pack(const DeltaRule &p, int64_t batch, int64_t token, int64_t head, int64_t n) {
    for (int64_t i = 0; i < kStep; ++i) {
      Element *q_row = q + i * row;
      Element *k_row = k + i * row;
      if (i >= n) {
        std::memset(static_cast<void *>(q_row), 0, static_cast<size_t>(row) * sizeof(Element));
        std::memset(static_cast<void *>(k_row), 0, static_cast<size_t>(row) * sizeof(Element));
        continue;
      }
      pack_row(p.q.at<E>(batch, token + i, head), key_dim, row, q_row);
      pack_row(p.k.at<E>(batch, token + i, head), key_dim, row, k_row);
    }
    if (p.qk_l2norm) {
      normalise_packed_rows(q, row, n, key_dim, q_norm);
      normalise_packed_rows(k, row, n, key_dim, k_norm);
    }
    for (int64_t i = 0; i < kStep; ++i) {
      const bool inside = i < n;
      q_norm[i] = inside ? p.scale * (p.qk_l2norm ? q_norm[i] : 1.0F) : 0.0F;
      k_norm[i] = inside ? (p.qk_l2norm ? k_norm[i] : 1.0F) : 0.0F;
    }
    for (int64_t i = 0; i < kStep; i += kWidth) {
      for (int64_t d = 0; d < row; d += kWidth * kPack) {
        transpose_square(k + i * row + d, row / kPack, k_panel + d * kStep + i * kPack, kStep);
      }
    }
    if constexpr (kPack == 2) Operand::split_panel(k_panel, row, k_turned);
  }

  /// kk and qk for the first n rows, in tiles that touch the diagonal or lie below it.
  void multiply(int64_t n) {
    for (int64_t i = 0; i < n; i += kTileRows) {
      for (int64_t j = 0; j < i + kTileRows; j += kTileColumns) {
        if (i + kTileRows - j <= kWidth) {
          half_tiles(i, j);
        } else {
          whole_tile(k, kk, i, j);
          whole_tile(q, qk, i, j);
        }
      }
    }
  }

 private:
  void whole_tile(const Element *a, float *target, int64_t i, int64_t j) {
    Tile<kTileRows> c;
    clear(c);
    mma<Operand>(c, a + i * row, row, k_panel + j * kPack, kStep * kPack, depth);
    store_tile(c, target + i * kStep + j, kStep);
  }

  /// Only the first kWidth columns of the tile reach the diagonal: kk and qk share its registers.
  void half_tiles(int64_t i, int64_t j) {
    Tile<kTileRows> c;
    clear(c);
    mma_twin<Operand>(c, k + i * row, q + i * row, row, k_panel + j * kPack, kStep * kPack, depth);
    for (int m = 0; m < kTileRows; ++m) {
      store(kk + (i + m) * kStep + j, c.v[m][0]);
      store(qk + (i + m) * kStep + j, c.v[m][1]);
    }
  }
};

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_CHUNK_OPERANDS_H_
