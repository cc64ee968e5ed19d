#ifndef GDN_CPU_AMX_PANEL_H_
#define GDN_CPU_AMX_PANEL_H_

// One step of one panel of 32 value columns, D = DK / 32. For each block of 32 tokens:
//
//     multiply    S -> bf16 (once); K S and Q S                         8 D products
//     residual    R  = diag(beta) V - diag(read_scale) K S - A V' of the block before
//                 V' = T R                                              12 products
//     values      V' and W = diag(write_scale) V' as right operands
//                 P V', this block and the one before; A V'             12 products each
//     output      O  = diag(output_scale) Q S + P V'
//     update      S <- exp(c_last) S + K^T W                            8 D products
//
// T, R, V', W, P and A are a high and a low bf16 half each.
//
// The update runs after the other stages of all panels: the tiles of K and Q that those read, and
// those of K^T that it reads, do not fit the L1 cache together. At D = 4 a panel takes 200
// products, 3200 cycles of the tile unit, for 64 tokens; 4 panels and the products of keys.h make
// 14100 cycles, 220 a token.

#include "cpu/amx/layout.h"
#include "cpu/amx/vec.h"

namespace gdn::cpu::amx {
namespace {

/// A panel's place in memory.
struct Panel {
  float *state;  ///< [half][DK][16].
  const uint16_t *v;
  uint16_t *o;
  __mmask32 columns;
};

/// What the panels of one step and value head share.
struct PanelStep {
  const KeyBlock &key;
  const GateBlock &gate;
  const PanelBlock &block;
  int dk;            ///< DK / 32.
  int count;         ///< Tokens.
  int blocks;        ///< Blocks of 32 tokens: 1 or 2.
  float decay;       ///< Of the whole step.
  int64_t v_stride;  ///< Elements from token to token.
  int64_t o_stride;
};

/// Vector work to run beside products: none.
struct Nothing {
  [[gnu::always_inline]] void operator()(int /*b*/) const {}
};

/// Spreads the 16 token pairs of a block over blocks [begin, end) of DK.
struct Share {
  int begin;
  int end;

  int from(int b) const { return at(b); }
  int to(int b) const { return at(b + 1); }

 private:
  int at(int b) const {
    return b <= begin ? 0 : b >= end ? kHalf : kHalf * (b - begin) / (end - begin);
  }
};

/// Rows 32 b .. 32 b + 31 of a state as a right operand.
[[gnu::always_inline]] inline void pack_state(const PanelStep &s, const float *state, int b) {
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    const float *in = state + h * s.dk * 512 + b * 512;
    uint8_t *out = s.block.s + (h * s.dk + b) * kTileBytes;
#pragma GCC unroll 8
    for (int i = 0; i < 16; ++i) {
      const __m512 x = _mm512_load_ps(in + i * 32);
      const __m512 y = _mm512_load_ps(in + i * 32 + 16);
      _mm512_store_si512(out + i * 64, pack_bf16(x, y));
    }
  }
}

[[gnu::always_inline]] inline void zero_products() {
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
}

/// Tiles 0 to 3, [token half][half], += left [32][32] * right [32][32], whose second half lies
/// `half` bytes on.
[[gnu::always_inline]] inline void multiply_tokens(const uint8_t *left, const uint8_t *right,
                                                   int64_t half = kTileBytes) {
  tile_load<6>(right);
  tile_load<4>(left);
  tile_dp<0, 4, 6>();
  tile_load<7>(right + half);
  tile_dp<1, 4, 7>();
  tile_load<5>(left + kTileBytes);
  tile_dp<2, 5, 6>();
  tile_dp<3, 5, 7>();
}

[[gnu::always_inline]] inline void store_products(float *out) {
  tile_store<0>(out);
  tile_store<1>(out + 256);
  tile_store<2>(out + 512);
  tile_store<3>(out + 768);
}

/// Tiles 0 to 3 += left tiles 4 and 5 as they are loaded * right.
[[gnu::always_inline]] inline void multiply_loaded(const uint8_t *right,
                                                   int64_t half = kTileBytes) {
  tile_load<6>(right);
  tile_dp<0, 4, 6>();
  tile_load<7>(right + half);
  tile_dp<1, 4, 7>();
  tile_dp<2, 5, 6>();
  tile_dp<3, 5, 7>();
}

/// multiply_tokens() with operands of a high and a low half each. The product of the low halves
/// would be below f32's rounding.
[[gnu::always_inline]] inline void multiply_halves(const uint8_t *left, const uint8_t *right) {
  multiply_tokens(left + 2 * kTileBytes, right);
  multiply_tokens(left, right);
  multiply_loaded(right + 2 * kTileBytes);
}

/// out [token half][half] = left [32][32] * right [32][32], in halves.
[[gnu::always_inline]] inline void multiply_block(const uint8_t *left, const uint8_t *right,
                                                  float *out) {
  zero_products();
  multiply_halves(left, right);
  store_products(out);
}

/// out [token half][half] = 32 rows of K or Q times the state. beside(b) is vector work to run with
/// the products of block b of DK. It comes first: a tile load cannot take its data from stores that
/// have not retired, so what beside() stores must not wait for this block's products.
template <class F>
[[gnu::always_inline]] inline void multiply_state(const PanelStep &s, const LeftRows &left,
                                                  int token_block, float *out, F beside) {
  zero_products();
  for (int b = 0; b < s.dk; ++b) {
    beside(b);
    const uint8_t *right = s.block.s + b * kTileBytes;
    tile_load<4>(left.tile(b, 2 * token_block), left.stride);
    tile_load<6>(right);
    tile_dp<0, 4, 6>();
    tile_load<7>(right + s.dk * kTileBytes);
    tile_dp<1, 4, 7>();
    tile_load<5>(left.tile(b, 2 * token_block + 1), left.stride);
    tile_dp<2, 5, 6>();
    tile_dp<3, 5, 7>();
  }
  store_products(out);
}

/// A row of v; zeros past the last token.
template <bool kFull>
[[gnu::always_inline]] inline __m512i load_value(const PanelStep &s, const Panel &p, int row) {
  if (kFull) return _mm512_loadu_si512(p.v + row * s.v_stride);
  if (row >= s.count) return _mm512_setzero_si512();
  return _mm512_maskz_loadu_epi16(p.columns, p.v + row * s.v_stride);
}

/// Token pairs [first, last) of block B: r = R = diag(beta) v - diag(read_scale) K S - A V'.
template <bool kFull, int B>
[[gnu::always_inline]] inline void residual(const PanelStep &s, const Panel &p, int first,
                                            int last) {
  const GateBlock &g = s.gate;
  uint8_t *out = s.block.r[B];
#pragma GCC unroll 2
  for (int j = first; j < last; ++j) {
    const int row = B * kBlock + j;
    const __m512i v[2] = {load_value<kFull>(s, p, row), load_value<kFull>(s, p, row + 16)};
    __m512 r[2][2];
#pragma GCC unroll 2
    for (int t = 0; t < 2; ++t) {
      const __m512 beta = _mm512_set1_ps(g.beta[row + t * 16]);
      const __m512 scale = _mm512_set1_ps(g.read_scale[row + t * 16]);
      const float *ks = s.block.ks[B] + t * 512 + j * 16;
      __m512 even = _mm512_mul_ps(beta, low_bf16(v[t]));
      __m512 odd = _mm512_mul_ps(beta, high_bf16(v[t]));
      if (B == 1) {
        const float *av = s.block.av + t * 512 + j * 16;
        even = _mm512_sub_ps(even, _mm512_load_ps(av));
        odd = _mm512_sub_ps(odd, _mm512_load_ps(av + 256));
      }
      r[t][0] = _mm512_fnmadd_ps(scale, _mm512_load_ps(ks), even);
      r[t][1] = _mm512_fnmadd_ps(scale, _mm512_load_ps(ks + 256), odd);
    }
    store_split(out + j * 64, 2 * kTileBytes, r[0][0], r[1][0]);
    store_split(out + kTileBytes + j * 64, 2 * kTileBytes, r[0][1], r[1][1]);
  }
}

/// V' = T R of block B.
template <int B>
[[gnu::always_inline]] inline void solve_values(const PanelStep &s) {
  multiply_block(s.gate.t + B * 4 * kTileBytes, s.block.r[B], s.block.v[B]);
}

/// Token pairs [first, last) of V' of block B as right operands: as it is, and scaled as W.
template <int B, bool kLast>
[[gnu::always_inline]] inline void pack_values(const PanelStep &s, uint8_t *w, int first,
                                               int last) {
  const float *scale = s.gate.write_scale + B * kBlock;
#pragma GCC unroll 2
  for (int j = first; j < last; ++j) {
    const __m512 scale_x = _mm512_set1_ps(scale[j]);
    const __m512 scale_y = _mm512_set1_ps(scale[j + 16]);
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const float *v = s.block.v[B] + h * 256 + j * 16;
      const __m512 x = _mm512_load_ps(v);
      const __m512 y = _mm512_load_ps(v + 512);
      store_split(s.block.right[B] + h * kTileBytes + j * 64, 2 * kTileBytes, x, y);
      const __m512 wx = _mm512_mul_ps(x, scale_x);
      const __m512 wy = _mm512_mul_ps(y, scale_y);
      uint8_t *out = w + (h * kWrittenTiles + (kLast ? 2 : 0)) * kTileBytes + j * 64;
      store_split(out, kTileBytes, wx, wy);
    }
  }
}

/// Rows [first, last) of block B of o = diag(output_scale) Q S + P V', in bf16.
template <bool kFull, int B>
[[gnu::always_inline]] inline void write_output(const PanelStep &s, const Panel &p, int first,
                                                int last) {
#pragma GCC unroll 2
  for (int i = first; i < last; ++i) {
    const int row = B * kBlock + i;
    if (!kFull && row >= s.count) break;
    const __m512 scale = _mm512_set1_ps(s.gate.output_scale[row]);
    const int at = (i >> 4) * 512 + (i & 15) * 16;
    const float *qs = s.block.qs[B] + at;
    const float *pv = s.block.pv[B] + at;
    const __m512 x = _mm512_fmadd_ps(scale, _mm512_load_ps(qs), _mm512_load_ps(pv));
    const __m512 y = _mm512_fmadd_ps(scale, _mm512_load_ps(qs + 256), _mm512_load_ps(pv + 256));
    uint16_t *o = p.o + row * s.o_stride;
    if (kFull) {
      _mm512_storeu_si512(o, pack_bf16(x, y));
    } else {
      _mm512_mask_storeu_epi16(o, p.columns, pack_bf16(x, y));
    }
  }
}

/// Rows 32 b .. 32 b + 31 of a state: times its decay, plus the ring's tiles [row half][half].
[[gnu::always_inline]] inline void add_products(const PanelStep &s, float *state, int b) {
  const __m512 d = _mm512_set1_ps(s.decay);
  const float *in = s.block.ring + (b & 1) * 1024;
#pragma GCC unroll 4
  for (int t = 0; t < 4; ++t) {
    float *out = state + (t & 1) * s.dk * 512 + b * 512 + (t >> 1) * 256;
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      const __m512 x = _mm512_load_ps(out + i * 16);
      _mm512_store_ps(out + i * 16, _mm512_fmadd_ps(d, x, _mm512_load_ps(in + t * 256 + i * 16)));
    }
  }
}

/// Tiles 0 to 3, [row half][column half], += 32 rows of K^T of one block of tokens * w.
[[gnu::always_inline]] inline void multiply_written(const uint8_t *left, const uint8_t *w) {
  constexpr int64_t kHalfBytes = kWrittenTiles * kTileBytes;
  multiply_tokens(left, w, kHalfBytes);
  multiply_loaded(w + kTileBytes, kHalfBytes);
}

/// state = decay state + K^T w over all blocks; beside(b) as in multiply_state(). The vector units
/// add what the tiles of the block before have multiplied, so that no tile is loaded from a late
/// store.
template <class F>
[[gnu::always_inline]] inline void update_state(const PanelStep &s, float *state, const uint8_t *w,
                                                F beside) {
  for (int b = 0; b < s.dk; ++b) {
    beside(b);
    const uint8_t *left = s.key.k_left + int64_t{b} * 2 * kTileBytes;
    zero_products();
    if (s.blocks == 2) {
      multiply_written(left, w);
      left += int64_t{s.dk} * 2 * kTileBytes;
    }
    multiply_written(left, w + 2 * kTileBytes);
    if (b > 0) add_products(s, state, b - 1);
    store_products(s.block.ring + (b & 1) * 1024);
  }
  add_products(s, state, s.dk - 1);
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_PANEL_H_
