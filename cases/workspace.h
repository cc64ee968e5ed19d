#ifndef GDN_CASES_WORKSPACE_H_
#define GDN_CASES_WORKSPACE_H_

#include <gdn/gdn.h>

#include <cstddef>
#include <cstring>
#include <memory>
#include <vector>

namespace gdn::testing {

/// Aligned scratch memory with a guard at both ends, filled with a pattern that reads as NaN.
class Workspace {
 public:
  explicit Workspace(size_t bytes) : bytes_(bytes), memory_(bytes + 3 * kGuard, kPattern) {
    void *p = memory_.data() + kGuard;
    size_t room = bytes + 2 * kGuard;
    data_ = static_cast<unsigned char *>(std::align(kGuard, bytes + kGuard, p, room));
  }

  void *data() const { return bytes_ > 0 ? data_ : nullptr; }

  bool intact() const {
    for (const unsigned char *p = memory_.data(); p < data_; ++p) {
      if (*p != kPattern) return false;
    }
    for (size_t i = 0; i < kGuard; ++i) {
      if (data_[bytes_ + i] != kPattern) return false;
    }
    return true;
  }

 private:
  static constexpr size_t kGuard = GDN_WORKSPACE_ALIGNMENT;
  static constexpr unsigned char kPattern = 0xff;

  size_t bytes_;
  std::vector<unsigned char> memory_;
  unsigned char *data_;
};

}  // namespace gdn::testing

#endif  // GDN_CASES_WORKSPACE_H_
