#ifndef GDN_CPU_KERNELS_STAGE_TILES_H_
#define GDN_CPU_KERNELS_STAGE_TILES_H_

// What the stage kernels share: pieces of a chunk as f32 operands of mma.h, all on the stack.
// Everything is padded with zeros to whole tiles, so products need no edge cases; memory past a
// chunk, a row or a sequence is never read. Include GDN_TILE first.

#include "core/stages.h"
#include "cpu/kernels/blocks.h"

namespace gdn::cpu::GDN_ISA {
namespace {

constexpr int64_t kMaxChunk = 128;
constexpr int64_t kMaxDim = 256;  ///< DK and DV.

/// Rows of a tensor, a unit stride along each.
template <class E>
struct Rows {
  E *data;
  int64_t stride;

  E *row(int64_t i) const { return data + i * stride; }
  Rows from(int64_t i) const { return {row(i), stride}; }
};

/// Rows from `token` on of t[batch, .., head, ..].
template <class E>
inline Rows<E> token_rows(const Tensor &t, int64_t batch, int64_t token, int64_t head) {
  return {t.at<E>(batch, token, head), t.stride[1]};
}

/// The first n elements of a row as f32, then zeros up to `padded`, a multiple of kWidth.
template <class E>
inline void widen_row(const E *x, int64_t n, int64_t padded, float *y) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(y + i, load(x + i));
  for (; i < padded; i += kWidth) store(y + i, i < n ? load_n(x + i, n - i) : zero());
}

/// kTileRows rows of an A operand: n of them (as many as there are), then zeros.
template <class E>
inline void widen_tile(Rows<E> x, int64_t n, int64_t width, float *y, int64_t y_stride) {
  for (int64_t i = 0; i < kTileRows; ++i) {
    const int64_t padded = (width + kWidth - 1) / kWidth * kWidth;
    if (i < n) {
      widen_row(x.row(i), width, padded, y + i * y_stride);
    } else {
      std::memset(y + i * y_stride, 0, static_cast<size_t>(padded) * sizeof(float));
    }
  }
}

/// A B operand [n][kTileColumns] of `columns` columns from `column` on, row i times factor[i].
template <class E>
inline void widen_panel(Rows<E> x, int64_t column, int64_t columns, int64_t n, const float *factor,
                        float *panel) {
  for (int64_t i = 0; i < n; ++i) {
    float *y = panel + i * kTileColumns;
    widen_row(x.row(i) + column, columns, kTileColumns, y);
    if (factor == nullptr) continue;
    const Vec f = set1(factor[i]);
    store(y, load(y) * f);
    store(y + kWidth, load(y + kWidth) * f);
  }
}

/// A B operand [width][kTileColumns] whose columns are n rows of x (at most kTileColumns).
/// `panel` holds whole multiples of kWidth rows.
template <class E>
inline void turn_panel(Rows<E> x, int64_t n, int64_t width, float *panel) {
  float block[kWidth * kWidth];
  for (int64_t j = 0; j < kTileColumns; j += kWidth) {
    for (int64_t d = 0; d < width; d += kWidth) {
      const int64_t lanes = width - d < kWidth ? width - d : int64_t{kWidth};
      for (int64_t i = 0; i < kWidth; ++i) {
        if (j + i < n) {
          widen_row(x.row(j + i) + d, lanes, kWidth, block + i * kWidth);
        } else {
          store(block + i * kWidth, zero());
        }
      }
      transpose_square(block, kWidth, panel + d * kTileColumns + j, kTileColumns);
    }
  }
}

/// Writes the first n rows and `columns` columns of a tile.
template <class E>
inline void store_rows(const Tile<kTileRows> &tile, int64_t n, int64_t columns, Rows<E> y,
                       int64_t column) {
  for (int64_t i = 0; i < kTileRows && i < n; ++i) {
    for (int side = 0; side < 2; ++side) {
      E *to = y.row(i) + column + side * kWidth;
      const int64_t lanes = columns - side * kWidth;
      if (lanes >= kWidth) {
        store(to, tile.v[i][side]);
      } else if (lanes > 0) {
        store_n(to, tile.v[i][side], lanes);
      }
    }
  }
}

/// y[i] = t[batch, token + i, head] for i < n; `absent` everywhere if t is; 0 from n to kMaxChunk.
inline void gather_tokens(const Tensor &t, int64_t batch, int64_t token, int64_t head, int64_t n,
                          float absent, float *y) {
  for (int64_t i = 0; i < kMaxChunk; ++i) y[i] = i < n ? absent : 0.0F;
  with_element(t.dtype, [&](auto element) {
    const auto *x = t.at<const decltype(element)>(batch, token, head);
    for (int64_t i = 0; i < n; ++i) y[i] = to_f32(x[i * t.stride[1]]);
  });
}

/// y[i] = e^x[i] for i < kMaxChunk; x and y may be the same.
inline void exp_tokens(const float *x, float *y) {
  for (int64_t i = 0; i < kMaxChunk; i += kWidth) store(y + i, exp(load(x + i)));
}

/// Lane numbers first, first + 1, ..
inline Vec lane_numbers(int64_t first) {
  float lanes[kWidth];
  for (int i = 0; i < kWidth; ++i) lanes[i] = static_cast<float>(first + i);
  return load(lanes);
}

/// Number among all chunks of the call of a sequence's first chunk, for sequences in order.
class ChunkNumbers {
 public:
  ChunkNumbers(const Sequences &s, int64_t chunk_size) : sequences_(s), chunk_size_(chunk_size) {}

  int64_t first_of(int64_t sequence) {
    if (!sequences_.packed()) return sequence * divide_up(sequences_.tokens, chunk_size_);
    for (; sequence_ < sequence; ++sequence_) {
      first_ += divide_up(sequences_.span(sequence_).length, chunk_size_);
    }
    return first_;
  }

 private:
  const Sequences &sequences_;
  int64_t chunk_size_;
  int64_t sequence_ = 0;
  int64_t first_ = 0;
};

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_STAGE_TILES_H_
