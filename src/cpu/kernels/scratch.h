#ifndef GDN_CPU_KERNELS_SCRATCH_H_
#define GDN_CPU_KERNELS_SCRATCH_H_

#include <cstddef>
#include <cstdint>

namespace gdn::cpu::GDN_ISA {
namespace {

/// Hands out consecutive 64-byte aligned arrays of one block of memory. Over a null block it only
/// counts, so one constructor both measures a layout and builds it.
class Arena {
 public:
  explicit Arena(void *base) : base_(static_cast<char *>(base)) {}

  template <class T>
  T *take(int64_t count) {
    char *p = base_ ? base_ + used_ : nullptr;
    used_ += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return reinterpret_cast<T *>(p);
  }

  /// Bytes handed out, as a multiple of 256.
  size_t used() const { return (used_ + 255) / 256 * 256; }

 private:
  char *base_;
  size_t used_ = 0;
};

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_SCRATCH_H_
