#ifndef GDN_CPU_AMX_TILE_EMULATION_H_
#define GDN_CPU_AMX_TILE_EMULATION_H_

// The tile instructions of tile_ops.h in AVX-512, bit for bit, for tests on machines without AMX.
//
// As the processor's manual describes TDPBF16PS: the products of the first and of the second
// elements of each pair are summed apart, in order, by fused multiply-adds from zero; their sum is
// added to the accumulator. Everything rounds to nearest even and takes denormals for zero, which
// the kernel's FlushDenormals sets for vector code too.

#include <immintrin.h>

#include <cstdint>

#include "cpu/tiles/tile_avx512bf16.h"

namespace gdn::cpu::amx {
namespace {

struct TileRegisters {
  bool configured;
  __m512i tile[8][16];
};

thread_local TileRegisters registers;

inline __m512i (&register_rows(int index))[16] {
  if (!registers.configured) __builtin_trap();
  return registers.tile[index];
}

/// Tile registers are usable while an object of this class lives.
class TileScope {
 public:
  TileScope() { registers = {true, {}}; }
  ~TileScope() { registers.configured = false; }
  TileScope(const TileScope &) = delete;
  TileScope &operator=(const TileScope &) = delete;
};

template <int R>
inline void tile_zero() {
  for (__m512i &row : register_rows(R)) row = _mm512_setzero_si512();
}

template <int R>
inline void tile_load(const void *p, int64_t stride = 64) {
  __m512i(&rows)[16] = register_rows(R);
  for (int i = 0; i < 16; ++i) {
    rows[i] = _mm512_loadu_si512(static_cast<const uint8_t *>(p) + i * stride);
  }
}

template <int R>
inline void tile_store(void *p) {
  const __m512i(&rows)[16] = register_rows(R);
  for (int i = 0; i < 16; ++i) _mm512_storeu_si512(static_cast<uint8_t *>(p) + i * 64, rows[i]);
}

[[gnu::noinline]] inline void multiply_tiles(__m512i (&acc)[16], const __m512i (&a)[16],
                                             const __m512i (&b)[16]) {
  for (int m = 0; m < 16; ++m) {
    alignas(64) int32_t pairs[16];
    _mm512_store_si512(pairs, a[m]);
    __m512 first = _mm512_setzero_ps();
    __m512 second = _mm512_setzero_ps();
    for (int k = 0; k < 16; ++k) {
      const __m512i x = _mm512_set1_epi32(pairs[k]);
      first = _mm512_fmadd_ps(first_of_pairs(x), first_of_pairs(b[k]), first);
      second = _mm512_fmadd_ps(second_of_pairs(x), second_of_pairs(b[k]), second);
    }
    const __m512 sum = _mm512_add_ps(first, second);
    acc[m] = _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(acc[m]), sum));
  }
}

template <int Acc, int A, int B>
inline void tile_dp() {
  multiply_tiles(register_rows(Acc), register_rows(A), register_rows(B));
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_TILE_EMULATION_H_
