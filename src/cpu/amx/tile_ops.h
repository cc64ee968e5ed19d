#ifndef GDN_CPU_AMX_TILE_OPS_H_
#define GDN_CPU_AMX_TILE_OPS_H_

// The tile instructions. Every tile is 16 rows of 64 bytes and, but for the rows of q and k, lies
// in memory as 1024 contiguous bytes: f32 [16][16], or bf16 [16][32] as a left operand, or bf16
// pairs [16][16][2] ("VNNI") as a right operand, where row p holds the two k-indices of dword p of
// the left operand.
//
// Written as asm with a memory clobber, since gcc 12's own tile loads do not order themselves after
// earlier vector stores.

#include <cstdint>

namespace gdn::cpu::amx {
namespace {

constexpr int kTileBytes = 1024;

}  // namespace
}  // namespace gdn::cpu::amx

#if defined(GDN_CPU_AMX_EMULATE)
#include "cpu/amx/tile_emulation.h"
#else

namespace gdn::cpu::amx {
namespace {

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

/// Tile registers are usable while an object of this class lives.
class TileScope {
 public:
  TileScope() {
    static constexpr TileConfig kConfig;
    asm volatile("ldtilecfg %0" ::"m"(kConfig));
  }
  ~TileScope() { asm volatile("tilerelease"); }
  TileScope(const TileScope &) = delete;
  TileScope &operator=(const TileScope &) = delete;
};

template <int R>
[[gnu::always_inline]] inline void tile_zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(R));
}

template <int R>
[[gnu::always_inline]] inline void tile_load(const void *p) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(int64_t{64}), "i"(R) : "memory");
}

/// Loads 16 rows of 64 bytes, `stride` bytes apart.
template <int R>
[[gnu::always_inline]] inline void tile_load(const void *p, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(R) : "memory");
}

template <int R>
[[gnu::always_inline]] inline void tile_store(void *p) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(int64_t{64}), "i"(R) : "memory");
}

/// Tile Acc [16][16] f32 += tile A [16][32] bf16 * tile B [32][16] bf16. 16 cycles, latency 52.
template <int Acc, int A, int B>
[[gnu::always_inline]] inline void tile_dp() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Acc), "i"(A), "i"(B));
}

}  // namespace
}  // namespace gdn::cpu::amx

#endif  // GDN_CPU_AMX_EMULATE
#endif  // GDN_CPU_AMX_TILE_OPS_H_
