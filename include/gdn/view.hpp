// Copyright the libgdn authors. Licensed under Apache-2.0.
#ifndef GDN_VIEW_HPP_
#define GDN_VIEW_HPP_

/**
 * @file view.hpp
 * @brief Tensor views over plain pointers, part of gdn.hpp.
 */

#include <gdn/element.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <type_traits>

namespace gdn {

/// Up to 5 numbers: a shape, or strides in elements.
class Extents {
 public:
  static constexpr std::size_t kMaxRank = 5;  ///< No operand has more dimensions.

  Extents() = default;
  /// {1, T, HK, DK}. Throws std::invalid_argument beyond kMaxRank.
  Extents(std::initializer_list<std::int64_t> values) : Extents(values.begin(), values.size()) {}
  /// The same from memory.
  Extents(std::span<const std::int64_t> values) : Extents(values.data(), values.size()) {}

  /// How many there are.
  std::size_t size() const { return size_; }
  /// The first one.
  const std::int64_t *data() const { return values_.data(); }

 private:
  Extents(const std::int64_t *values, std::size_t size) : size_(size) {
    if (size > kMaxRank) throw std::invalid_argument("gdn: a tensor has at most 5 dimensions.");
    std::copy_n(values, size, values_.begin());
  }

  std::array<std::int64_t, kMaxRank> values_{};
  std::size_t size_ = 0;
};

/// Where a tensor's memory is.
class Location {
 public:
  Location() = default;  ///< The host.
  /// A GPU by its index.
  static Location cuda(int index) { return Location({kDLCUDA, index}); }

  /// Not on a GPU.
  bool on_host() const { return device_.device_type == kDLCPU; }
  /// For gdn.h.
  DLDevice device() const { return device_; }

 private:
  explicit Location(DLDevice device) : device_(device) {}

  DLDevice device_{kDLCPU, 0};
};

/// A tensor that is read: pointer, shape and, if it is not compact, strides. Does not own memory.
/// Default-constructed it stands for an absent operand.
class Input {
 public:
  Input() = default;

  /// `strides` count elements; empty: compact, last dimension fastest.
  template <class T>
  Input(const T *data, Extents shape, Extents strides = {}, Location location = {})
      : Input(const_cast<T *>(data), ElementType<T>::dtype(), shape, strides, location) {}

  /// False for an absent operand.
  bool present() const { return present_; }
  /// Where the memory is.
  Location device() const { return location_; }

  /// For gdn.h. Points into this object. The library does not write operands that it only reads.
  DLTensor dltensor() const {
    DLTensor t{};
    t.data = data_;
    t.device = location_.device();
    t.ndim = static_cast<std::int32_t>(shape_.size());
    t.dtype = dtype_;
    t.shape = const_cast<std::int64_t *>(shape_.data());
    if (strides_.size() > 0) t.strides = const_cast<std::int64_t *>(strides_.data());
    return t;
  }

 protected:
  /// For memory that may be written.
  Input(void *data, DLDataType dtype, const Extents &shape, const Extents &strides,
        Location location)
      : data_(data),
        dtype_(dtype),
        shape_(shape),
        strides_(strides),
        location_(location),
        present_(true) {
    if (strides.size() != 0 && strides.size() != shape.size()) {
      throw std::invalid_argument("gdn: a tensor has as many strides as dimensions.");
    }
  }

 private:
  void *data_ = nullptr;
  DLDataType dtype_{};
  Extents shape_;
  Extents strides_;
  Location location_;
  bool present_ = false;
};

/// A tensor that is written.
class Output : public Input {
 public:
  Output() = default;

  /// As of Input; `data` is not const.
  template <class T>
  requires(!std::is_const_v<T>)
      Output(T *data, Extents shape, Extents strides = {}, Location location = {})
      : Input(static_cast<void *>(data), ElementType<T>::dtype(), shape, strides, location) {}
};

namespace detail {

/// The DLTensors of one call. Operands must outlive it.
class Operands {
 public:
  /// nullptr for an absent operand.
  const DLTensor *add(const Input &operand) {
    if (!operand.present()) return nullptr;
    tensors_[count_] = operand.dltensor();
    return &tensors_[count_++];
  }

 private:
  std::array<DLTensor, 20> tensors_{};
  std::size_t count_ = 0;
};

}  // namespace detail
}  // namespace gdn

#endif  // GDN_VIEW_HPP_
