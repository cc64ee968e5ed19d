#ifndef GDN_CPU_AMX_PANEL_H_
#define GDN_CPU_AMX_PANEL_H_

// One step of one panel of 32 value columns, D = DK / 32:
//
//     read state     S -> bf16 right operand; S <- exp(c_last) S       16 D rows of pairs
//     K S, Q S       8 D products
//     R  = diag(beta) V - diag(read_scale) K S
//     V' = T R       4 products
//     O  = diag(output_scale) Q S + P V'                               4 products
//     S <- S + K^T (diag(write_scale) V')                              8 D products
//
// The state product takes V' as a high and a low bf16 half: with one half alone a key repeated
// under beta = 1 leaves an error of 2e-2 in the state. At D = 4 a panel takes 72 products (1152
// cycles of the tile unit) beside some 900 cycles of vector work and 1050 stores.

#include "cpu/amx/layout.h"
#include "cpu/amx/vec.h"

namespace gdn::cpu::amx {
namespace {

/// b.s = state in bf16, then state *= decay.
[[gnu::always_inline]] inline void read_state(float *state, float decay, int dk,
                                              const PanelBlock &b) {
  const __m512 d = _mm512_set1_ps(decay);
  for (int i = 0; i < dk * 32; ++i) {
    float *row = state + i * 32;
    const __m512 x = _mm512_load_ps(row);
    const __m512 y = _mm512_load_ps(row + 16);
    _mm512_store_si512(b.s + i * 64, pack_bf16(x, y));
    _mm512_store_ps(row, _mm512_mul_ps(x, d));
    _mm512_store_ps(row + 16, _mm512_mul_ps(y, d));
  }
}

/// out [token half][half] = left * b.s.
[[gnu::always_inline]] inline void multiply_state(const uint8_t *left, const uint8_t *s, int dk,
                                                  float *out) {
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  for (int i = 0; i < dk; ++i) {
    tile_load<4>(left + 2 * i * kTileBytes);
    tile_load<6>(s + i * kTileBytes);
    tile_dp<0, 4, 6>();
    tile_load<7>(s + (dk + i) * kTileBytes);
    tile_dp<1, 4, 7>();
    tile_load<5>(left + (2 * i + 1) * kTileBytes);
    tile_dp<2, 5, 6>();
    tile_dp<3, 5, 7>();
  }
  tile_store<0>(out);
  tile_store<1>(out + 256);
  tile_store<2>(out + 512);
  tile_store<3>(out + 768);
}

/// Where the rows of a panel of v or o lie.
struct Rows {
  uint16_t *first;
  int64_t stride;
  int count;
  __mmask32 columns;

  __mmask32 mask(int row) const { return row < count ? columns : 0; }
  uint16_t *at(int row) const { return first + (row < count ? row : 0) * stride; }
};

/// b.r = diag(beta) v - diag(read_scale) K S.
[[gnu::always_inline]] inline void residual(const Rows &v, const GateBlock &g,
                                            const PanelBlock &b) {
  for (int j = 0; j < 16; ++j) {
    const __m512i x = _mm512_maskz_loadu_epi16(v.mask(j), v.at(j));
    const __m512i y = _mm512_maskz_loadu_epi16(v.mask(j + 16), v.at(j + 16));
    const __m512 beta_x = _mm512_set1_ps(g.beta[j]);
    const __m512 beta_y = _mm512_set1_ps(g.beta[j + 16]);
    const __m512 scale_x = _mm512_set1_ps(g.read_scale[j]);
    const __m512 scale_y = _mm512_set1_ps(g.read_scale[j + 16]);
    const float *ks = b.ks + j * 16;
    const __m512 x0 =
        _mm512_fnmadd_ps(scale_x, _mm512_load_ps(ks), _mm512_mul_ps(beta_x, low_bf16(x)));
    const __m512 x1 =
        _mm512_fnmadd_ps(scale_x, _mm512_load_ps(ks + 256), _mm512_mul_ps(beta_x, high_bf16(x)));
    const __m512 y0 =
        _mm512_fnmadd_ps(scale_y, _mm512_load_ps(ks + 512), _mm512_mul_ps(beta_y, low_bf16(y)));
    const __m512 y1 =
        _mm512_fnmadd_ps(scale_y, _mm512_load_ps(ks + 768), _mm512_mul_ps(beta_y, high_bf16(y)));
    _mm512_store_si512(b.r + j * 64, pack_bf16(x0, y0));
    _mm512_store_si512(b.r + kTileBytes + j * 64, pack_bf16(x1, y1));
  }
}

/// out [token half][half] = left [32][32] * right [32][32].
[[gnu::always_inline]] inline void multiply_tokens(const uint8_t *left, const uint8_t *right,
                                                   float *out) {
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  tile_load<4>(left);
  tile_load<6>(right);
  tile_dp<0, 4, 6>();
  tile_load<7>(right + kTileBytes);
  tile_dp<1, 4, 7>();
  tile_load<5>(left + kTileBytes);
  tile_dp<2, 5, 6>();
  tile_dp<3, 5, 7>();
  tile_store<0>(out);
  tile_store<1>(out + 256);
  tile_store<2>(out + 512);
  tile_store<3>(out + 768);
}

/// b.v_right, b.w_high and b.w_low from b.v.
[[gnu::always_inline]] inline void pack_values(const GateBlock &g, const PanelBlock &b) {
  for (int j = 0; j < 16; ++j) {
    const __m512 scale_x = _mm512_set1_ps(g.write_scale[j]);
    const __m512 scale_y = _mm512_set1_ps(g.write_scale[j + 16]);
    for (int h = 0; h < 2; ++h) {
      const __m512 x = _mm512_load_ps(b.v + h * 256 + j * 16);
      const __m512 y = _mm512_load_ps(b.v + h * 256 + 512 + j * 16);
      const int64_t at = h * kTileBytes + j * 64;
      _mm512_store_si512(b.v_right + at, pack_bf16(x, y));
      // The high half is cut, not rounded: what it leaves has the same sign and is exact in f32.
      const __m512 wx = _mm512_mul_ps(x, scale_x);
      const __m512 wy = _mm512_mul_ps(y, scale_y);
      _mm512_store_si512(b.w_high + at,
                         pack_upper_halves(_mm512_castps_si512(wx), _mm512_castps_si512(wy)));
      const __m512 low_x = _mm512_sub_ps(wx, high_bf16(_mm512_castps_si512(wx)));
      const __m512 low_y = _mm512_sub_ps(wy, high_bf16(_mm512_castps_si512(wy)));
      _mm512_store_si512(b.w_low + at, pack_bf16(low_x, low_y));
    }
  }
}

/// state += K^T (w_high + w_low).
[[gnu::always_inline]] inline void write_state(const uint8_t *k_left, const PanelBlock &b, int dk,
                                               float *state) {
  tile_load<4>(b.w_high);
  tile_load<5>(b.w_low);
  tile_load<6>(b.w_high + kTileBytes);
  tile_load<7>(b.w_low + kTileBytes);
  float *even = state;
  float *odd = state + dk * 512;
  for (int i = 0; i < 2 * dk; ++i) {
    tile_load<2>(k_left + i * kTileBytes);
    tile_load<0>(even + i * 256);
    tile_dp<0, 2, 4>();
    tile_load<1>(odd + i * 256);
    tile_dp<1, 2, 6>();
    tile_dp<0, 2, 5>();
    tile_dp<1, 2, 7>();
    tile_store<0>(even + i * 256);
    tile_store<1>(odd + i * 256);
  }
}

/// o = diag(output_scale) Q S + P V', in bf16.
[[gnu::always_inline]] inline void write_output(const Rows &o, const GateBlock &g,
                                                const PanelBlock &b) {
  for (int i = 0; i < o.count; ++i) {
    const __m512 scale = _mm512_set1_ps(g.output_scale[i]);
    const int64_t at = (i >> 4) * 512 + (i & 15) * 16;
    const __m512 x = _mm512_fmadd_ps(scale, _mm512_load_ps(b.qs + at), _mm512_load_ps(b.pv + at));
    const __m512 y =
        _mm512_fmadd_ps(scale, _mm512_load_ps(b.qs + at + 256), _mm512_load_ps(b.pv + at + 256));
    _mm512_mask_storeu_epi16(o.first + i * o.stride, o.columns, pack_bf16(x, y));
  }
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_PANEL_H_
