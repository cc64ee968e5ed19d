#ifndef GDN_CORE_FLOAT_ENVIRONMENT_H_
#define GDN_CORE_FLOAT_ENVIRONMENT_H_

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace gdn {

enum class Denormals : uint8_t { kept, zero };

/// For its lifetime the thread rounds to nearest, traps nothing and treats denormals as asked,
/// whatever the caller had set; then the caller's environment comes back whole, raised flags too.
/// Kernels take denormals for zero: decays make them (exp(-88) and below), and a kernel that meets
/// them was measured seven times slower.
class FloatEnvironment {
 public:
  explicit FloatEnvironment(Denormals denormals) : saved_(get()) {
    const Registers wanted = with(saved_, denormals);
    if (wanted != saved_) set(wanted);
  }
  ~FloatEnvironment() {
    if (get() != saved_) set(saved_);
  }
  FloatEnvironment(const FloatEnvironment &) = delete;
  FloatEnvironment &operator=(const FloatEnvironment &) = delete;

 private:
#if defined(__x86_64__)
  /// MXCSR: control bits and, in the lowest six, raised flags.
  using Registers = uint32_t;
  static Registers get() { return _mm_getcsr(); }
  static void set(Registers r) { _mm_setcsr(r); }
  static Registers with(Registers r, Denormals denormals) {
    constexpr uint32_t kRaised = 0x003f;
    constexpr uint32_t kMasked = 0x1f80;
    constexpr uint32_t kFlushToZero = 0x8000;
    constexpr uint32_t kInputsAreZero = 0x0040;
    return (r & kRaised) | kMasked |
           (denormals == Denormals::zero ? kFlushToZero | kInputsAreZero : 0);
  }
#elif defined(__aarch64__)
  struct Registers {
    uint64_t control;  ///< FPCR.
    uint64_t raised;   ///< FPSR.
    bool operator==(const Registers &) const = default;
  };
  static Registers get() {
    Registers r;
    asm volatile("mrs %0, fpcr" : "=r"(r.control));
    asm volatile("mrs %0, fpsr" : "=r"(r.raised));
    return r;
  }
  static void set(const Registers &r) {
    asm volatile("msr fpcr, %0" ::"r"(r.control));
    asm volatile("msr fpsr, %0" ::"r"(r.raised));
  }
  static Registers with(const Registers &r, Denormals denormals) {
    constexpr uint64_t kFlushToZero = uint64_t{1} << 24;
    return {denormals == Denormals::zero ? kFlushToZero : 0, r.raised};
  }
#else
  /// Other processors compute in the caller's environment.
  struct Registers {
    bool operator==(const Registers &) const = default;
  };
  static Registers get() { return {}; }
  static void set(const Registers &) {}
  static Registers with(const Registers &r, Denormals) { return r; }
#endif

  Registers saved_;
};

}  // namespace gdn

#endif  // GDN_CORE_FLOAT_ENVIRONMENT_H_
