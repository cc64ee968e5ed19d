#include "cpu/processor.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace gdn::cpu {
namespace {

#if defined(__x86_64__)

uint64_t enabled_states() {
  uint32_t low = 0;
  uint32_t high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

bool request_tile_registers() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr long kReqXcompPerm = 0x1023;  // ARCH_REQ_XCOMP_PERM, Linux 5.16
  constexpr long kXfeatureXtileData = 18;
  return syscall(SYS_arch_prctl, kReqXcompPerm, kXfeatureXtileData) == 0;
#else
  return false;
#endif
}

Processor detect() {
  Processor p;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(0, &a, &b, &c, &d)) return p;
  p.amd = b == signature_AMD_ebx && c == signature_AMD_ecx && d == signature_AMD_edx;

  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return p;
  const bool fma_f16c = (c & bit_FMA) && (c & bit_F16C) && (c & bit_AVX);
  const uint64_t states = enabled_states();
  const bool ymm = (states & 0x6) == 0x6;    // SSE and AVX registers.
  const bool zmm = (states & 0xe6) == 0xe6;  // Those, mask registers and both halves of zmm.

  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return p;
  constexpr uint32_t kAmxBf16 = UINT32_C(1) << 22;
  constexpr uint32_t kAmxTile = UINT32_C(1) << 24;
  const bool tiles = (d & kAmxBf16) && (d & kAmxTile);
  p.avx2 = ymm && fma_f16c && (b & bit_AVX2) && (b & bit_BMI2);
  p.avx512 = p.avx2 && zmm && (b & bit_AVX512F) && (b & bit_AVX512BW) && (b & bit_AVX512DQ) &&
             (b & bit_AVX512VL);
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) p.avx512bf16 = p.avx512 && (a & bit_AVX512BF16);
  p.amx = p.avx512bf16 && tiles && request_tile_registers();
  return p;
}

#else

Processor detect() { return {}; }

#endif

}  // namespace

const Processor &processor() {
  static const Processor p = detect();
  return p;
}

}  // namespace gdn::cpu
