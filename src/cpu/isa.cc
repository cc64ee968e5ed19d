#include "cpu/isa.h"

#if defined(__x86_64__) && !defined(GDN_CPU_GENERIC_ONLY)
#include <cpuid.h>

#include "cpu/amx/permission.h"
#include "cpu/amx/table.h"
#endif

namespace gdn::cpu {

namespace generic {
extern const KernelTable kTable;
}

#if defined(__x86_64__) && !defined(GDN_CPU_GENERIC_ONLY)

namespace avx2 {
extern const KernelTable kTable;
}
namespace avx512 {
extern const KernelTable kTable;
}
namespace avx512bf16 {
extern const KernelTable kTable;
}

namespace {

/// What the processor has and the operating system saves across context switches.
struct Features {
  bool amd = false;
  bool avx2 = false;
  bool avx512 = false;
  bool avx512bf16 = false;
};

uint64_t enabled_states() {
  uint32_t low = 0;
  uint32_t high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

Features detect() {
  Features f;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid(0, &a, &b, &c, &d)) return f;
  f.amd = b == signature_AMD_ebx && c == signature_AMD_ecx && d == signature_AMD_edx;

  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return f;
  const bool fma_f16c = (c & bit_FMA) && (c & bit_F16C) && (c & bit_AVX);
  const uint64_t states = enabled_states();
  const bool ymm = (states & 0x6) == 0x6;    // SSE and AVX registers.
  const bool zmm = (states & 0xe6) == 0xe6;  // Those, mask registers and both halves of zmm.

  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return f;
  f.avx2 = ymm && fma_f16c && (b & bit_AVX2) && (b & bit_BMI2);
  f.avx512 = f.avx2 && zmm && (b & bit_AVX512F) && (b & bit_AVX512BW) && (b & bit_AVX512DQ) &&
             (b & bit_AVX512VL);
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) f.avx512bf16 = f.avx512 && (a & bit_AVX512BF16);
  return f;
}

const Features &features() {
  static const Features f = detect();
  return f;
}

enum Row : int32_t { kGeneric, kAvx2, kAvx512, kAvx512Bf16, kAmx };

std::span<const KernelTable *const> tables() {
  static const KernelTable *const rows[] = {&generic::kTable, &avx2::kTable, &avx512::kTable,
                                            &avx512bf16::kTable, &amx::table()};
  return rows;
}

}  // namespace

std::span<const Isa> isas() {
  static const Isa rows[] = {{"generic", true},
                             {"avx2", features().avx2},
                             {"avx512", features().avx512},
                             {"avx512bf16", features().avx512bf16},
                             {"amx", amx::amx_available()}};
  return rows;
}

IsaChoice choose_isa() {
  const Features &f = features();
  if (amx::amx_available()) {
    return {kAmx,
            "The processor has AMX and the system grants it; its bf16 tile product was measured at "
            "fifteen times the rate of the float32 multiply-add."};
  }
  if (f.avx512bf16 && f.amd) {
    return {kAvx512Bf16,
            "The processor is an AMD one with AVX512-BF16, whose bf16 dot product was measured at "
            "twice the rate of its float32 multiply-add."};
  }
  if (f.avx512bf16) {
    return {kAvx512,
            "The processor has AVX512-BF16 without AMX and is not an AMD one; on Intel servers the "
            "bf16 dot product was measured at half the rate of the float32 multiply-add, so "
            "AVX-512 in float32 is faster."};
  }
  if (f.avx512) return {kAvx512, "The processor has AVX-512 without AVX512-BF16 and AMX."};
  if (f.avx2) return {kAvx2, "The processor has AVX2 and FMA, without AVX-512."};
  return {kGeneric, "The processor has neither AVX2 with FMA nor AVX-512."};
}

#elif defined(__aarch64__)

namespace neon {
extern const KernelTable kTable;
}

namespace {
std::span<const KernelTable *const> tables() {
  static const KernelTable *const rows[] = {&generic::kTable, &neon::kTable};
  return rows;
}
}  // namespace

std::span<const Isa> isas() {
  static const Isa rows[] = {{"generic", true}, {"neon", true}};
  return rows;
}

IsaChoice choose_isa() { return {1, "Every 64-bit Arm processor has Advanced SIMD."}; }

#else

namespace {
std::span<const KernelTable *const> tables() {
  static const KernelTable *const rows[] = {&generic::kTable};
  return rows;
}
}  // namespace

std::span<const Isa> isas() {
  static const Isa rows[] = {{"generic", true}};
  return rows;
}

IsaChoice choose_isa() { return {0, "This build has no other instruction set."}; }

#endif

const KernelTable &kernels(int32_t isa) { return *tables()[static_cast<size_t>(isa)]; }

}  // namespace gdn::cpu
