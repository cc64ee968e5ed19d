#ifndef GDN_CPU_AMX_KEYS_H_
#define GDN_CPU_AMX_KEYS_H_

// Queries and keys of one step of one key head: K transposed, K K^T and Q K^T.
//
// Shapes, D = DK / 32: of K K^T and Q K^T only the lower tiles, 6 D products a block of 32 tokens
// and 8 D between the two. Transposing K costs 4 D tiles of 16 x 16 dwords; K^T as a left operand
// follows from them with a shift and a blend. As left operands q and k serve where they are, if
// their rows are whole and aligned; otherwise they are copied, rows past the end as zeros.

#include "cpu/amx/layout.h"
#include "cpu/amx/pairs.h"
#include "cpu/amx/products.h"

namespace gdn::cpu::amx {
namespace {

/// Rows of a step's tokens, `width` columns, `count` of them valid.
[[gnu::always_inline]] inline LeftRows left_rows(const uint16_t *rows, int64_t stride,
                                                 int64_t width, int count, int key_blocks,
                                                 uint8_t *copy) {
  const bool whole = count == kStep && width == int64_t{key_blocks} * kBlock;
  if (whole &&
      ((reinterpret_cast<uintptr_t>(rows) | static_cast<uintptr_t>(stride * 2)) & 63) == 0) {
    return {reinterpret_cast<const uint8_t *>(rows), stride * 2};
  }
  for (int t = 0; t < kStep; ++t) {
    for (int b = 0; b < key_blocks; ++b) {
      const int64_t left = t < count ? width - int64_t{b} * kBlock : 0;
      const __mmask32 columns = _cvtu32_mask32(left >= kBlock ? ~0U : (1U << left) - 1);
      const uint16_t *from = rows + (t < count ? t * stride : 0) + b * kBlock;
      _mm512_store_si512(copy + (t * key_blocks + b) * 64, _mm512_maskz_loadu_epi16(columns, from));
    }
  }
  return {copy, int64_t{key_blocks} * kBlock * 2};
}

/// K^T as a right operand for columns 32 b .. of a block of tokens.
[[gnu::always_inline]] inline Operand &right_keys(const KeyBlock &key, int block, int b,
                                                  int key_blocks) {
  return key.k_right[block == 0 ? b : key_blocks + (b & 1)];
}

/// Transposes columns 32 b .. 32 b + 31 of the keys of a block.
[[gnu::always_inline]] inline void transpose_keys(const KeyBlock &key, int block, int b,
                                                  int key_blocks) {
  Operand &right = right_keys(key, block, b, key_blocks);
  Operand &left = key.k_left[block * key_blocks + b];
  for (int h = 0; h < 2; ++h) {
    transpose_square(key.k.tile(b, 2 * block + h), key.k.stride / 4, right.half[h].row, kHalf);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kHalf; ++i) {
    const __m512i x = _mm512_load_si512(right.half[0].row[i]);
    const __m512i y = _mm512_load_si512(right.half[1].row[i]);
    const __m512i even = _mm512_mask_blend_epi16(0xAAAAAAAAU, x, _mm512_slli_epi32(y, 16));
    _mm512_store_si512(left.row(2 * i), even);
    _mm512_store_si512(left.row(2 * i + 1), pack_upper_halves(x, y));
  }
}

/// Transposes the keys of a block and multiplies its part of kk and qk.
[[gnu::always_inline]] inline void load_block(const KeyBlock &key, int block, int key_blocks) {
  tile_zero<0>();
  tile_zero<1>();
  tile_zero<2>();
  tile_zero<3>();
  tile_zero<4>();
  tile_zero<5>();
  transpose_keys(key, block, 0, key_blocks);
  for (int b = 0; b < key_blocks; ++b) {
    if (b + 1 < key_blocks) transpose_keys(key, block, b + 1, key_blocks);
    const Operand &right = right_keys(key, block, b, key_blocks);
    tile_load<7>(&right.half[0]);
    tile_load<6>(key.k.tile(b, 2 * block), key.k.stride);
    tile_dp<0, 6, 7>();
    tile_load<6>(key.q.tile(b, 2 * block), key.q.stride);
    tile_dp<3, 6, 7>();
    tile_load<6>(key.k.tile(b, 2 * block + 1), key.k.stride);
    tile_dp<1, 6, 7>();
    tile_load<6>(key.q.tile(b, 2 * block + 1), key.q.stride);
    tile_dp<4, 6, 7>();
    tile_load<7>(&right.half[1]);
    tile_dp<5, 6, 7>();
    tile_load<6>(key.k.tile(b, 2 * block + 1), key.k.stride);
    tile_dp<2, 6, 7>();
  }
  LowerGrid &kk = key.kk->block[block];
  LowerGrid &qk = key.qk->block[block];
  tile_store<0>(&kk.diagonal[0]);
  tile_store<1>(&kk.below);
  tile_store<2>(&kk.diagonal[1]);
  tile_store<3>(&qk.diagonal[0]);
  tile_store<4>(&qk.below);
  tile_store<5>(&qk.diagonal[1]);
}

/// out = rows of block 1 * (k of block 0)^T.
[[gnu::always_inline]] inline void multiply_blocks(const LeftRows &rows, const KeyBlock &key,
                                                   int key_blocks, Grid &out) {
  zero_grid();
  for (int b = 0; b < key_blocks; ++b) {
    multiply(rows, 1, b, right_keys(key, 0, b, key_blocks));
  }
  store_grid(out);
}

/// K transposed and all products of a step's tokens with each other.
inline void load_products(const KeyBlock &key, int blocks, int key_blocks) {
  for (int b = 0; b < blocks; ++b) load_block(key, b, key_blocks);
  if (blocks < 2) return;
  multiply_blocks(key.k, key, key_blocks, key.kk->across);
  multiply_blocks(key.q, key, key_blocks, key.qk->across);
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_KEYS_H_
