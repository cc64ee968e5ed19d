#include "tools/peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace gdn::tools {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Keeps a value alive so that the loop that made it is not removed.
template <class T>
void keep(T &value) {
  asm volatile("" : "+m"(value) : : "memory");
}

/// Runs `body` (which returns the work it did) on all threads together, five times; the best rate.
double best_rate(int threads, const std::function<double(int)> &body) {
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    std::atomic<int> ready{0};
    std::vector<double> work(static_cast<size_t>(threads));
    std::vector<std::thread> others;
    const auto one = [&](int t) {
      ++ready;
      while (ready.load() < threads) {
      }
      work[static_cast<size_t>(t)] = body(t);
    };
    for (int t = 1; t < threads; ++t) others.emplace_back(one, t);
    const auto start = Clock::now();
    one(0);
    for (std::thread &thread : others) thread.join();
    const double time = seconds_since(start);
    double total = 0;
    for (const double w : work) total += w;
    best = std::max(best, total / time);
  }
  return best;
}

// Independent accumulators: enough to cover latency times issue width on every current core.
constexpr int kChains = 16;
constexpr int kSteps = 1'000'000;

double fma_portable(int /*thread*/) {
  float acc[kChains * 4] = {};
  float x = 0.5F;
  keep(x);
  for (int i = 0; i < kSteps / 4; ++i) {
    for (float &a : acc) a = a * x + x;
  }
  keep(acc);
  return 2.0 * kChains * 4 * (kSteps / 4);
}

#if defined(__x86_64__)

__attribute__((target("avx2,fma"))) double fma_avx2(int /*thread*/) {
  __m256 acc[12];
  for (__m256 &a : acc) a = _mm256_set1_ps(1.0F);
  const __m256 x = _mm256_set1_ps(0.5F);
  for (int i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (__m256 &a : acc) a = _mm256_fmadd_ps(a, x, x);
  }
  keep(acc);
  return 2.0 * 8 * 12 * kSteps;
}

__attribute__((target("avx512f"))) double fma_avx512(int /*thread*/) {
  __m512 acc[kChains];
  for (__m512 &a : acc) a = _mm512_set1_ps(1.0F);
  const __m512 x = _mm512_set1_ps(0.5F);
  for (int i = 0; i < kSteps; ++i) {
#pragma GCC unroll 16
    for (__m512 &a : acc) a = _mm512_fmadd_ps(a, x, x);
  }
  keep(acc);
  return 2.0 * 16 * kChains * kSteps;
}

__attribute__((target("avx512f,avx512bf16"))) double bf16_dot(int /*thread*/) {
  __m512 acc[kChains];
  for (__m512 &a : acc) a = _mm512_set1_ps(1.0F);
  const __m512bh x = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5F), _mm512_set1_ps(0.5F));
  for (int i = 0; i < kSteps; ++i) {
#pragma GCC unroll 16
    for (__m512 &a : acc) a = _mm512_dpbf16_ps(a, x, x);
  }
  keep(acc);
  return 4.0 * 16 * kChains * kSteps;
}

/// Linux hands out the tile registers on request.
bool amx_granted() {
  constexpr int kRequestPermission = 0x1023;
  constexpr int kTileData = 18;
  return __builtin_cpu_supports("avx512f") &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t column_bytes[16] = {};
  uint8_t rows[16] = {};
};

__attribute__((target("amx-tile,amx-bf16"))) double amx(int /*thread*/) {
  TileConfig config;
  for (int t = 0; t < 8; ++t) {
    config.column_bytes[t] = 64;
    config.rows[t] = 16;
  }
  _tile_loadconfig(&config);
  alignas(64) uint8_t zeros[1024] = {};
  keep(zeros);
  _tile_loadd(6, zeros, 64);
  _tile_loadd(7, zeros, 64);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  constexpr int kTileSteps = kSteps / 8;
  for (int i = 0; i < kTileSteps; ++i) {
    _tile_dpbf16ps(0, 6, 7);
    _tile_dpbf16ps(1, 6, 7);
    _tile_dpbf16ps(2, 6, 7);
    _tile_dpbf16ps(3, 6, 7);
  }
  _tile_stored(0, zeros, 64);
  keep(zeros);
  _tile_release();
  return 4.0 * 2 * 16 * 16 * 32 * kTileSteps;
}

#endif

double copy_rate(int threads) {
  constexpr size_t kBytes = size_t{64} << 20U;
  const auto count = static_cast<size_t>(threads);
  std::vector<std::vector<char>> from(count);
  std::vector<std::vector<char>> to(count);
  for (size_t t = 0; t < count; ++t) {
    from[t].assign(kBytes, 1);
    to[t].assign(kBytes, 2);
  }
  return best_rate(threads, [&](int t) {
    const auto i = static_cast<size_t>(t);
    for (int repeat = 0; repeat < 4; ++repeat) {
      std::memcpy(to[i].data(), from[i].data(), kBytes);
      keep(to[i]);
    }
    return 4.0 * 2.0 * static_cast<double>(kBytes);
  });
}

}  // namespace

Peak measure_peak(int threads) {
  Peak peak;
  std::function<double(int)> fma = fma_portable;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) fma = fma_avx2;
  if (__builtin_cpu_supports("avx512f")) fma = fma_avx512;
  if (__builtin_cpu_supports("avx512bf16")) {
    peak.bf16_dot_gflops = best_rate(threads, bf16_dot) / 1e9;
  }
  if (amx_granted()) peak.amx_gflops = best_rate(threads, amx) / 1e9;
#endif
  peak.fma_gflops = best_rate(threads, fma) / 1e9;
  peak.copy_gbps = copy_rate(threads) / 1e9;
  return peak;
}

}  // namespace gdn::tools
