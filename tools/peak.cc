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
#endif

#include "cpu/processor.h"

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

/// A loop of products.
struct Loop {
  const char *isa;
  const char *type;
  bool runs;  ///< On this processor.
  double (*body)(int thread);
};

std::vector<Loop> loops() {
  std::vector<Loop> result = {{"generic", "f32", true, fma_portable}};
#if defined(__x86_64__)
  const cpu::Processor &has = cpu::processor();
  result.push_back({"avx2", "f32", has.avx2, fma_avx2});
  result.push_back({"avx512", "f32", has.avx512, fma_avx512});
  result.push_back({"avx512bf16", "bf16", has.avx512bf16, bf16_dot});
  result.push_back({"amx", "bf16", has.amx, amx});
#endif
  return result;
}

}  // namespace

Peak measure_peak(int threads) {
  Peak peak;
  for (const Loop &loop : loops()) {
    if (!loop.runs) continue;
    peak.products.push_back({loop.isa, loop.type, best_rate(threads, loop.body) / 1e9});
  }
  peak.copy_gbps = copy_rate(threads) / 1e9;
  return peak;
}

double Peak::product_gflops(std::string_view type, const std::vector<std::string> &isas) const {
  double rate = 0;
  double widest = 0;
  for (const ProductRate &p : products) {
    const bool f32 = p.type == "f32";
    if (f32) widest = p.gflops;
    if ((f32 || p.type == type) && std::ranges::find(isas, p.isa) != isas.end()) rate = p.gflops;
  }
  return rate > 0 ? rate : widest;
}

}  // namespace gdn::tools
