#include "cpu/amx/permission.h"

#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace gdn::cpu::amx {
namespace {

// cpuid leaf 7: subleaf 0 edx bits 22 (AMX-BF16) and 24 (AMX-TILE).
bool processor_has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  return ((d >> 22) & 1U) != 0 && ((d >> 24) & 1U) != 0;
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

}  // namespace

bool amx_available() {
  static const bool available = processor_has_amx() && __builtin_cpu_supports("avx512f") &&
                                __builtin_cpu_supports("avx512bw") &&
                                __builtin_cpu_supports("avx512dq") &&
                                __builtin_cpu_supports("avx512vl") &&
                                __builtin_cpu_supports("avx512bf16") && request_tile_registers();
  return available;
}

}  // namespace gdn::cpu::amx
