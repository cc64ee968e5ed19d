#ifndef GDN_CPU_AMX_STATE_H_
#define GDN_CPU_AMX_STATE_H_

// Panels of states from and to the caller's memory: rows of 32 columns as the vector kernels keep
// them (kernels/state_panels.h), with the columns of each row split into its even and its odd ones.

#include "cpu/amx/layout.h"
#include "cpu/tiles/tile_avx512bf16.h"

#include "cpu/kernels/state_panels.h"

namespace gdn::cpu::amx {
namespace {

static_assert(kPanel == kTileColumns);

/// Even columns, then odd ones.
inline void split_columns(StateRow *rows, int64_t n) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  for (int64_t i = 0; i < n; ++i) {
    const Vec x = load(rows[i].half[0]);
    const Vec y = load(rows[i].half[1]);
    store(rows[i].half[0], _mm512_permutex2var_ps(x, even, y));
    store(rows[i].half[1], _mm512_permutex2var_ps(x, odd, y));
  }
}

/// What split_columns() has split.
inline void join_columns(StateRow *rows, int64_t n) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  for (int64_t i = 0; i < n; ++i) {
    const Vec x = load(rows[i].half[0]);
    const Vec y = load(rows[i].half[1]);
    store(rows[i].half[0], _mm512_permutex2var_ps(x, low, y));
    store(rows[i].half[1], _mm512_permutex2var_ps(x, high, y));
  }
}

/// Reads the panel of t[slot, head] that starts at `column`; zeros if t is absent and past DK.
inline void load_state(const Tensor &t, int64_t slot, int64_t head, int64_t column, int64_t key_dim,
                       int64_t rows, StateRow *state) {
  load_panel(t, slot, head, column, key_dim, reinterpret_cast<float *>(state));
  for (int64_t i = key_dim; i < rows; ++i) {
    store(state[i].half[0], zero());
    store(state[i].half[1], zero());
  }
  if (t.present()) split_columns(state, key_dim);
}

/// Writes it, and leaves the columns joined.
inline void store_state(const Tensor &t, int64_t slot, int64_t head, int64_t column,
                        int64_t key_dim, StateRow *state) {
  join_columns(state, key_dim);
  store_panel(t, slot, head, column, reinterpret_cast<const float *>(state));
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_STATE_H_
