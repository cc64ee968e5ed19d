#ifndef GDN_TOOLS_PROGRESS_H_
#define GDN_TOOLS_PROGRESS_H_

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>

namespace gdn::tools {

/// A line that is rewritten in place while work goes on; silent when stderr is not a terminal.
class Progress {
 public:
  explicit Progress(int64_t total) : total_(std::max<int64_t>(total, 1)) {}
  ~Progress() {
    if (shown_) fmt::print(stderr, "\n");
  }
  Progress(const Progress &) = delete;
  Progress &operator=(const Progress &) = delete;

  void advance(int64_t tokens) {
    done_ += tokens;
    if (isatty(STDERR_FILENO) == 0) return;
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    if (seconds < 0.5) return;
    shown_ = true;
    fmt::print(stderr, "\r{:3d} %  {} of {} tokens, {:.0f} tokens/s ", 100 * done_ / total_, done_,
               total_, static_cast<double>(done_) / seconds);
  }

 private:
  int64_t total_;
  int64_t done_ = 0;
  bool shown_ = false;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace gdn::tools

#endif  // GDN_TOOLS_PROGRESS_H_
