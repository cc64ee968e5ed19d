#ifndef GDN_CPU_AMX_STATE_H_
#define GDN_CPU_AMX_STATE_H_

// States between the caller's layouts and the kernel's panels: f32 or bf16, [DK, DV] with unit
// stride along DV or along DK, to and from f32 [half][DK][16] (layout.h), zero padded.

#include "cpu/amx/layout.h"
#include "cpu/amx/vec.h"

namespace gdn::cpu::amx {
namespace {

/// The caller's state of one head, cut at a panel: rows are DK, columns DV.
struct StateView {
  uint8_t *data;
  bool f32;
  int64_t row_stride;
  int64_t column_stride;
  int64_t rows;
  int64_t columns;  ///< Of this panel, 1 to 32.
};

/// `slot` is a sequence, a slot of a pool or a checkpoint.
inline StateView view_state(const Tensor &s, const DeltaRule &p, int64_t slot, int64_t head,
                            int panel) {
  const int64_t left = p.value_dim - int64_t{panel} * kPanel;
  const int64_t at = s.offset(slot, head, 0, int64_t{panel} * kPanel);
  return {static_cast<uint8_t *>(s.data) + at * static_cast<int64_t>(dtype_size(s.dtype)),
          s.dtype == DType::f32,
          s.stride[2],
          s.stride[3],
          p.key_dim,
          left < kPanel ? left : kPanel};
}

[[gnu::always_inline]] inline __mmask16 lanes(int64_t n) {
  return static_cast<__mmask16>(n >= 16 ? 0xFFFFU : n <= 0 ? 0U : (1U << n) - 1);
}

/// 16 contiguous elements as f32.
[[gnu::always_inline]] inline __m512 load16(const StateView &s, int64_t offset, __mmask16 m) {
  if (s.f32) return _mm512_maskz_loadu_ps(m, reinterpret_cast<const float *>(s.data) + offset);
  const __m256i x =
      _mm256_maskz_loadu_epi16(m, reinterpret_cast<const uint16_t *>(s.data) + offset);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

[[gnu::always_inline]] inline void store16(const StateView &s, int64_t offset, __mmask16 m,
                                           __m512 x) {
  if (s.f32) {
    _mm512_mask_storeu_ps(reinterpret_cast<float *>(s.data) + offset, m, x);
  } else {
    _mm256_mask_storeu_epi16(reinterpret_cast<uint16_t *>(s.data) + offset, m,
                             (__m256i)_mm512_cvtneps_pbh(x));
  }
}

inline void load_rows_of_columns(const StateView &s, int dk, float *out) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  for (int64_t i = 0; i < s.rows; ++i) {
    const __m512 x = load16(s, i * s.row_stride, lanes(s.columns));
    const __m512 y = load16(s, i * s.row_stride + 16, lanes(s.columns - 16));
    _mm512_store_ps(out + i * 16, _mm512_permutex2var_ps(x, even, y));
    _mm512_store_ps(out + dk * 512 + i * 16, _mm512_permutex2var_ps(x, odd, y));
  }
}

inline void store_rows_of_columns(const StateView &s, int dk, const float *in) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  for (int64_t i = 0; i < s.rows; ++i) {
    const __m512 x = _mm512_load_ps(in + i * 16);
    const __m512 y = _mm512_load_ps(in + dk * 512 + i * 16);
    store16(s, i * s.row_stride, lanes(s.columns), _mm512_permutex2var_ps(x, low, y));
    store16(s, i * s.row_stride + 16, lanes(s.columns - 16), _mm512_permutex2var_ps(x, high, y));
  }
}

// V first: 16 columns of every second index, each 16 rows long, are a transposed tile.

inline void load_columns_of_rows(const StateView &s, int dk, float *out) {
  for (int64_t half = 0; half < 2; ++half) {
    for (int64_t i = 0; i < s.rows; i += 16) {
      __m512i t[16];
      for (int64_t j = 0; j < 16; ++j) {
        const int64_t column = 2 * j + half;
        const __mmask16 m = column < s.columns ? lanes(s.rows - i) : __mmask16{0};
        t[j] = _mm512_castps_si512(m == 0 ? _mm512_setzero_ps()
                                          : load16(s, column * s.column_stride + i, m));
      }
      transpose16(t);
      for (int64_t j = 0; j < 16; ++j) {
        _mm512_store_si512(out + half * dk * 512 + (i + j) * 16, t[j]);
      }
    }
  }
}

inline void store_columns_of_rows(const StateView &s, int dk, const float *in) {
  for (int64_t half = 0; half < 2; ++half) {
    for (int64_t i = 0; i < s.rows; i += 16) {
      __m512i t[16];
      for (int64_t j = 0; j < 16; ++j) {
        t[j] = _mm512_load_si512(in + half * dk * 512 + (i + j) * 16);
      }
      transpose16(t);
      for (int64_t j = 0; j < 16; ++j) {
        const int64_t column = 2 * j + half;
        if (column < s.columns) {
          store16(s, column * s.column_stride + i, lanes(s.rows - i), _mm512_castsi512_ps(t[j]));
        }
      }
    }
  }
}

inline void clear_state(int dk, float *out) {
  for (int i = 0; i < dk * 64; ++i) _mm512_store_ps(out + i * 16, _mm512_setzero_ps());
}

inline void load_state(const StateView &s, int dk, float *out) {
  if (s.rows != int64_t{dk} * 32) clear_state(dk, out);
  if (s.column_stride == 1) {
    load_rows_of_columns(s, dk, out);
  } else {
    load_columns_of_rows(s, dk, out);
  }
}

inline void store_state(const StateView &s, int dk, const float *in) {
  if (s.column_stride == 1) {
    store_rows_of_columns(s, dk, in);
  } else {
    store_columns_of_rows(s, dk, in);
  }
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_STATE_H_
