#ifndef GDN_CPU_FLUSH_DENORMALS_H_
#define GDN_CPU_FLUSH_DENORMALS_H_

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace gdn::cpu {

/// For its lifetime the thread's floating-point environment is: round to nearest, nothing trapped,
/// denormal inputs and results are zero. Decays make denormals (exp(-88) and below), and a kernel
/// that meets them was measured seven times slower. The environment is set whole, so that results
/// do not depend on the caller's, and put back whole.
class FlushDenormals {
 public:
#if defined(__x86_64__)
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(kMasked | kFlushToZero | kInputsAreZero); }
  ~FlushDenormals() { _mm_setcsr(saved_); }
#elif defined(__aarch64__)
  FlushDenormals() : saved_(get()) { set(kFlushToZero); }
  ~FlushDenormals() { set(saved_); }
#else
  FlushDenormals() {}
  ~FlushDenormals() {}
#endif
  FlushDenormals(const FlushDenormals &) = delete;
  FlushDenormals &operator=(const FlushDenormals &) = delete;

 private:
#if defined(__x86_64__)
  static constexpr uint32_t kMasked = 0x1f80;
  static constexpr uint32_t kFlushToZero = 0x8000;
  static constexpr uint32_t kInputsAreZero = 0x0040;
  uint32_t saved_;
#elif defined(__aarch64__)
  static constexpr uint64_t kFlushToZero = uint64_t{1} << 24;
  static uint64_t get() {
    uint64_t fpcr = 0;
    asm volatile("mrs %0, fpcr" : "=r"(fpcr));
    return fpcr;
  }
  static void set(uint64_t fpcr) { asm volatile("msr fpcr, %0" ::"r"(fpcr)); }
  uint64_t saved_;
#endif
};

}  // namespace gdn::cpu

#endif  // GDN_CPU_FLUSH_DENORMALS_H_
