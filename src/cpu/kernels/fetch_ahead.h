#ifndef GDN_CPU_KERNELS_FETCH_AHEAD_H_
#define GDN_CPU_KERNELS_FETCH_AHEAD_H_

// Include GDN_TILE first.

namespace gdn::cpu::GDN_ISA {
namespace {

/// Rows that a later chunk will touch, fetched a few lines at a time between matrix products: rows
/// of one head lie kilobytes apart, where the hardware's prefetchers do not follow.
class FetchAhead {
 public:
  /// Adds rows of `bytes` bytes each, `stride` bytes apart. At most kBlocks times.
  void add(const void *first, int64_t stride, int64_t rows, int64_t bytes) {
    if (rows <= 0) return;
    blocks_[count_++] = {static_cast<const char *>(first), stride, rows, bytes};
    lines_ += rows * ((bytes + kLine - 1) / kLine);
  }

  /// Lines to fetch in each of `steps` steps.
  void spread_over(int64_t steps) { per_step_ = (lines_ + steps - 1) / steps; }

  void step() {
    for (int64_t i = 0; i < per_step_ && at_ < count_; ++i) {
      Block &b = blocks_[at_];
      prefetch(b.row + offset_);
      offset_ += kLine;
      if (offset_ < b.bytes) continue;
      offset_ = 0;
      b.row += b.stride;
      if (--b.rows == 0) ++at_;
    }
  }

 private:
  static constexpr int kBlocks = 4;
  static constexpr int64_t kLine = 64;
  struct Block {
    const char *row;
    int64_t stride;
    int64_t rows;
    int64_t bytes;
  };

  Block blocks_[kBlocks];
  int count_ = 0;
  int at_ = 0;
  int64_t offset_ = 0;
  int64_t lines_ = 0;
  int64_t per_step_ = 0;
};

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_FETCH_AHEAD_H_
