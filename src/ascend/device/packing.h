#ifndef GDN_ASCEND_DEVICE_PACKING_H_
#define GDN_ASCEND_DEVICE_PACKING_H_

#include <cstring>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "ascend/device/launch.h"
#include "ascend/kernels/forms.h"
#include "core/status.h"

namespace gdn::ascend::device {

/// What a launch needs besides the tensors.
struct Packed {
  kernels::Form form;
  int64_t blocks;
  std::vector<unsigned char> arguments;  ///< GDN_ASCEND_ARGUMENT_BYTES, to be copied to the device.
  uint64_t workspace_bytes;
};

/// A launch on a device, on the host's side: packs the arguments that gdn_ascend_launch takes. The
/// tensors' data are addresses of the device, which are not read here.
class Packing {
 public:
  /// A tensor of the launch and its place in GM.
  struct Place {
    std::string name;
    uint64_t address;
  };
  using Launch = std::function<Status(const Packed &)>;

  /// `arguments` and `workspace` are the addresses that they will have on the device, multiples of
  /// 512. `launch` gets what was packed; with its workspace_bytes the right workspace can be had.
  Packing(int64_t blocks, uint64_t arguments, uint64_t workspace, Launch launch)
      : address_(arguments), workspace_(workspace), launch_(std::move(launch)) {
    packed_.blocks = blocks;
    packed_.arguments.resize(GDN_ASCEND_ARGUMENT_BYTES);
    packed_.workspace_bytes = 0;
  }

  int64_t blocks() const { return packed_.blocks; }
  const std::vector<Place> &places() const { return places_; }

  template <class E>
  Gm<const E> input(const char *name, const E *data, int64_t) {
    return {place(name, reinterpret_cast<uint64_t>(data)), 0};
  }
  template <class E>
  Gm<E> output(const char *name, E *data, int64_t) {
    return {place(name, reinterpret_cast<uint64_t>(data)), 0};
  }
  template <class E>
  Gm<E> scratch(const char *name, int64_t elements) {
    const uint64_t at = packed_.workspace_bytes;
    packed_.workspace_bytes = round_up(at + static_cast<uint64_t>(elements) * sizeof(E));
    return {place(name, workspace_ + at), 0};
  }
  /// An input that the operation itself makes goes with the arguments.
  template <class E>
  Gm<const E> constant(const char *name, const E *data, int64_t elements) {
    const uint64_t at = used_;
    used_ = round_up(at + static_cast<uint64_t>(elements) * sizeof(E));
    fits_ = fits_ && used_ <= packed_.arguments.size();
    if (fits_) {
      std::memcpy(&packed_.arguments[at], data, static_cast<size_t>(elements) * sizeof(E));
    }
    return {place(name, address_ + at), 0};
  }

  template <auto, class Tensors>
  Status run(kernels::Form form, const Tensors &t) {
    static_assert(std::is_trivially_copyable_v<Tensors> && sizeof(Tensors) <= kTensorBytes);
    if (!fits_) return {Code::internal_error, "constants do not fit beside a kernel's arguments."};
    packed_.form = form;
    std::memcpy(packed_.arguments.data(), &t, sizeof(Tensors));
    return launch_(packed_);
  }

 private:
  /// The struct of tensors comes first, then constants.
  static constexpr uint64_t kTensorBytes = 512;

  static constexpr uint64_t round_up(uint64_t bytes) { return (bytes + 511) / 512 * 512; }

  uint64_t place(const char *name, uint64_t address) {
    places_.push_back({name, address});
    return address;
  }

  uint64_t address_, workspace_;
  Launch launch_;
  Packed packed_;
  uint64_t used_ = kTensorBytes;
  bool fits_ = true;
  std::vector<Place> places_;
};

}  // namespace gdn::ascend::device

#endif  // GDN_ASCEND_DEVICE_PACKING_H_
