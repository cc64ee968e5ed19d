#ifndef GDN_CPU_AMX_STATE_H_
#define GDN_CPU_AMX_STATE_H_

// Panels of states from and to the caller's memory, of either layout and type. The views are those
// of the vector kernels; the columns of a panel are split into even and odd ones on the way.

#include "cpu/amx/layout.h"
#include "cpu/tiles/tile_avx512bf16.h"

#include "cpu/kernels/state_panels.h"

namespace gdn::cpu::amx {
namespace {

/// A state whose rows are contiguous: two vectors of a row are its even and its odd columns.
template <class E>
inline void load_rows(const StateView<E> &s, int64_t column, StateRow *out) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  const int64_t left = s.value_dim - column;
  const bool whole = left >= kPanel;
  for (int64_t d = 0; d < s.key_dim; ++d) {
    const E *row = s.data + d * s.key_stride + column;
    const Vec x = whole ? load(row) : load_n(row, left);
    const Vec y = whole          ? load(row + kHalf)
                  : left > kHalf ? load_n(row + kHalf, left - kHalf)
                                 : zero();
    store(out[d].half[0], _mm512_permutex2var_ps(x, even, y));
    store(out[d].half[1], _mm512_permutex2var_ps(x, odd, y));
  }
}

template <class E>
inline void store_rows(const StateView<E> &s, int64_t column, const StateRow *in) {
  const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
  const int64_t left = s.value_dim - column;
  for (int64_t d = 0; d < s.key_dim; ++d) {
    E *row = s.data + d * s.key_stride + column;
    const Vec even = load(in[d].half[0]);
    const Vec odd = load(in[d].half[1]);
    const Vec x = _mm512_permutex2var_ps(even, first, odd);
    const Vec y = _mm512_permutex2var_ps(even, second, odd);
    if (left >= kPanel) {
      store(row, x);
      store(row + kHalf, y);
    } else {
      store_n(row, x, left);
      if (left > kHalf) store_n(row + kHalf, y, left - kHalf);
    }
  }
}

/// Columns of the panel at `column` that are in a half: 0 to 16.
template <class E>
inline int64_t half_columns(const StateView<E> &s, int64_t column, int half) {
  const int64_t n = (s.value_dim - column - half + 1) / 2;
  return n < kHalf ? n : kHalf;
}

/// A V-first state, whose columns are contiguous: every second one, 16 rows of it, is a row of a
/// transposed tile.
template <class E>
inline void load_columns(const StateView<E> &s, int64_t column, StateRow *out) {
  alignas(64) float tile[kHalf][kHalf];
  for (int half = 0; half < 2; ++half) {
    const int64_t columns = half_columns(s, column, half);
    for (int64_t d = 0; d < s.key_dim; d += kHalf) {
      const int64_t depth = s.key_dim - d < kHalf ? s.key_dim - d : kHalf;
      const E *from = s.data + (column + half) * s.value_stride + d;
      for (int64_t j = 0; j < kHalf; ++j) {
        const E *row = from + 2 * j * s.value_stride;
        store(tile[j], j >= columns ? zero() : depth == kHalf ? load(row) : load_n(row, depth));
      }
      transpose_square(tile, kHalf, out[d].half[half], sizeof(StateRow) / sizeof(float));
    }
  }
}

template <class E>
inline void store_columns(const StateView<E> &s, int64_t column, const StateRow *in) {
  alignas(64) float tile[kHalf][kHalf];
  for (int half = 0; half < 2; ++half) {
    const int64_t columns = half_columns(s, column, half);
    for (int64_t d = 0; d < s.key_dim; d += kHalf) {
      const int64_t depth = s.key_dim - d < kHalf ? s.key_dim - d : kHalf;
      E *to = s.data + (column + half) * s.value_stride + d;
      transpose_square(in[d].half[half], sizeof(StateRow) / sizeof(float), tile, kHalf);
      for (int64_t j = 0; j < columns; ++j) {
        if (depth == kHalf) {
          store(to + 2 * j * s.value_stride, load(tile[j]));
        } else {
          store_n(to + 2 * j * s.value_stride, load(tile[j]), depth);
        }
      }
    }
  }
}

/// Reads the panel of t[slot, head] that starts at `column`: rows [0, rows), DK up to a multiple of
/// 32. What is past DK or DV, and an absent t, is 0.
inline void load_state(const Tensor &t, int64_t slot, int64_t head, int64_t column, int64_t rows,
                       StateRow *state) {
  if (!t.present() || t.shape[2] != rows) {
    for (int64_t d = 0; d < rows; ++d) {
      store(state[d].half[0], zero());
      store(state[d].half[1], zero());
    }
  }
  if (!t.present()) return;
  with_element(t.dtype, [&](auto element) {
    const auto view = state_view<decltype(element)>(t, slot, head);
    if (view.value_stride == 1) {
      load_rows(view, column, state);
    } else {
      load_columns(view, column, state);
    }
  });
}

inline void store_state(const Tensor &t, int64_t slot, int64_t head, int64_t column,
                        const StateRow *state) {
  with_element(t.dtype, [&](auto element) {
    const auto view = state_view<decltype(element)>(t, slot, head);
    if (view.value_stride == 1) {
      store_rows(view, column, state);
    } else {
      store_columns(view, column, state);
    }
  });
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_STATE_H_
