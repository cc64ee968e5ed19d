#ifndef GDN_ASCEND_DEVICE_CORE_H_
#define GDN_ASCEND_DEVICE_CORE_H_

#include "ascend/tile/core.h"

namespace gdn::ascend {

/// A core of the device, which runs this.
class Core {
 public:
  /// Sets the registers that stay as they are in all kernels.
  GDN_NPU explicit Core(uint64_t sync_base) {
    ::set_ffts_base_addr(sync_base);
#ifdef GDN_NPU_CUBE
    // store_nz2nd: one matrix.
    ::set_nd_para(1ULL | 1ULL << 16 | 1ULL << 32);
#else
    // A mask has a bit a lane. What load fills a row up with is zero.
    ::set_mask_norm();
    ::set_vector_mask(0, ~0ULL);
    ::set_mov_pad_val(0);
#endif
  }

#ifdef GDN_NPU_CUBE
  GDN_NPU static constexpr CoreKind kind() { return CoreKind::cube; }
#else
  GDN_NPU static constexpr CoreKind kind() { return CoreKind::vector; }
#endif
  GDN_NPU static constexpr bool may_be(CoreKind which) { return which == kind(); }
  GDN_NPU int64_t block() const { return get_block_idx(); }
  GDN_NPU int64_t blocks() const { return block_num; }
  GDN_NPU int64_t vector() const { return get_subblockid(); }

  /// Addresses begin at 0 in each memory. That buffers fit is checked on the model.
  template <class Pointer>
  GDN_NPU Pointer take(const char *, int64_t elements) {
    constexpr auto kSize = static_cast<int64_t>(sizeof(typename Pointer::Element));
    constexpr int64_t kUnit = alignment(Pointer::kSpace);
    int64_t &used = used_[static_cast<int>(Pointer::kSpace)];
    const int64_t begin = used;
    used += (elements * kSize + kUnit - 1) / kUnit * kUnit;
    return {static_cast<uint32_t>(begin), 0};
  }

  /// Whether the next vector instructions take as many lanes as the last ones; from now on they do.
  GDN_NPU bool has_lanes(int64_t lanes) {
    const bool same = lanes == lanes_;
    lanes_ = lanes;
    return same;
  }

 private:
  int64_t used_[kSpaces] = {};
  int64_t lanes_ = kLanes;
};

}  // namespace gdn::ascend

#endif  // GDN_ASCEND_DEVICE_CORE_H_
