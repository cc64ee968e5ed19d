#ifndef GDN_CASES_WORKSPACE_H_
#define GDN_CASES_WORKSPACE_H_

#include <gdn/gdn.h>

#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "cases/target.h"

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

/// Runs call(exec) with a workspace of exactly the size that query(exec, &size) says, its contents
/// poisoned. Returns a sentence if the status is not GDN_OK or a byte outside the workspace was
/// written, else "". `status`, if given, is the library's.
template <class Query, class Call>
std::string run_with_workspace(gdn_exec exec, Query query, Call call, gdn_status *status) {
  gdn_status own = GDN_OK;
  if (status == nullptr) status = &own;
  size_t bytes = 0;
  *status = query(exec, &bytes);
  if (*status != GDN_OK) return "workspace size: " + describe(*status);
  const Workspace workspace(bytes);
  exec.workspace = workspace.data();
  exec.workspace_size = bytes;
  *status = call(exec);
  if (*status != GDN_OK) return describe(*status);
  return workspace.intact() ? "" : "bytes outside the workspace were written";
}

}  // namespace gdn::testing

#endif  // GDN_CASES_WORKSPACE_H_
