#ifndef GDN_API_CALL_H_
#define GDN_API_CALL_H_

#include <cstdint>
#include <initializer_list>
#include <span>
#include <utility>

#include "api/text.h"
#include "core/device.h"
#include "core/layer.h"
#include "core/status.h"
#include "core/tensor.h"
#include "gdn/gdn.h"

namespace gdn::api {

/// One extent of a call's shapes (B, T, HK, ..). The first operand that has it binds it; later ones
/// must agree.
struct Dim {
  const char *name = "";
  int64_t minimum = 0;
  int64_t size = -1;           ///< -1: not bound yet.
  const char *from = nullptr;  ///< Operand that bound it.

  bool bound() const { return size >= 0; }
  void bind(int64_t value, const char *operand) {
    size = value;
    from = operand;
  }
};

/// The extents [.., D] of the row-wise operations, of any rank from 1 to 5.
struct RowsShape {
  int32_t rank = 0;  ///< 0: not bound yet.
  Dim dims[Tensor::kMaxRank];

  Dim &last() { return dims[Tensor::kMaxRank - 1]; }
};

/// Element types that an operand may have.
struct Types {
  enum Bit : uint8_t { f32 = 1, bf16 = 2, f16 = 4 };
  uint8_t bits;
  const char *as = nullptr;  ///< Operand whose type is meant; for the message.

  static Types floats() { return {f32 | bf16 | f16}; }
  static Types only_f32() { return {f32}; }
  static Types of(const Tensor &t, const char *name) { return {bit(t.dtype), name}; }
  static Types f32_or(const Tensor &t, const char *name) {
    return {static_cast<uint8_t>(bit(t.dtype) | f32), name};
  }
  static uint8_t bit(DType t) {
    return t == DType::f32 ? f32 : t == DType::bf16 ? bf16 : t == DType::f16 ? f16 : 0;
  }
};

enum class Layout {
  any,        ///< Any strides.
  unit_last,  ///< The last dimension's stride is 1.
};

enum class Use {
  input,
  output,  ///< Written; in-place operands too.
};

/// A DLTensor whose rank, shape and strides have been checked, as bytes: what the overlap check
/// works on. Uninitialised until it is filled: a call holds room for many, and clearing all of them
/// took a tenth of the checks of a decode step.
struct Region {
  const char *name;
  Use use;
  bool null;          ///< The data pointer is null.
  uintptr_t address;  ///< Of element 0, byte_offset folded in.
  int64_t item;       ///< Bytes of an element.
  int32_t rank;
  int64_t shape[Tensor::kMaxRank];
  int64_t stride[Tensor::kMaxRank];  ///< Elements.
  int64_t lowest;                    ///< Byte offset from address of the first byte touched; <= 0.
  int64_t end;                       ///< One past the last byte touched; 0 if the tensor is empty.

  bool empty() const { return end == lowest; }
};

/// A call being checked. Keeps the first failure; after it every check is a no-op that returns an
/// absent operand, so that checks can be written one after another. Allocates only to fail.
class Call {
 public:
  Call() = default;
  Call(const Call &) = delete;
  Call &operator=(const Call &) = delete;

  bool ok() const { return status_.ok(); }
  Status take() { return std::move(status_); }

  /// Records a failure unless there is one already.
  template <class... Parts>
  void fail(Code code, const Parts &...parts) {
    if (ok()) status_ = Status(code, cat(parts...));
  }
  template <class... Parts>
  void invalid(const Parts &...parts) {
    fail(Code::invalid_argument, parts...);
  }

  // Operands. `dims` are the extents expected, in order. `optional` allows NULL; the result is then
  // absent.

  Tensor tensor(const char *name, const DLTensor *t, Types types, std::initializer_list<Dim *> dims,
                Layout layout, Use use = Use::input);
  Tensor optional(const char *name, const DLTensor *t, Types types,
                  std::initializer_list<Dim *> dims, Layout layout, Use use = Use::input);
  /// [.., D] of rank 1 to 5 with a unit last stride, presented with rank 5.
  Tensor rows(const char *name, const DLTensor *t, Types types, RowsShape *shape,
              Use use = Use::input);
  /// An optional index vector or matrix, int32 or int64. A vector has columns == 1.
  IndexArray indices(const char *name, const DLTensor *t, std::initializer_list<Dim *> dims);
  /// An optional vector of flags: bool, int8, uint8 or int32.
  FlagArray flags(const char *name, const DLTensor *t, Dim *count);

  // Scalars.

  void check_flags(uint32_t flags, uint32_t known);
  void check_zero(const char *name, int64_t value);
  void check_finite(const char *name, double value);
  /// Fails if an operand is NULL; `why` completes "q is NULL, expected a tensor ..".
  void require(const char *name, const DLTensor *t, const char *why);
  /// Fails if an operand is given; `why` completes "expected NULL ..".
  void refuse(const char *name, const DLTensor *t, const char *why);

  /// Takes the last operand out of the memory checks: it is another one under a second name.
  void forget_last() { --region_count_; }

  std::span<const Region> regions() const { return {regions_, region_count_}; }
  const Device &device() const { return device_; }
  /// All outputs are empty.
  bool nothing_to_write() const;

 private:
  using Dims = std::span<Dim *const>;

  /// Checks what can be checked before the element type is known: null, rank, device.
  bool open(const char *name, const DLTensor *t, Dims dims);
  void check_device(const char *name, const DLTensor &t);
  /// Checks the type against `types`; none after a failure.
  DType check_type(const char *name, const DLTensor &t, Types types);
  /// Checks extents and strides and adds a region; nullptr after a failure.
  const Region *add(const char *name, const DLTensor &t, int64_t item, Dims dims, Layout layout,
                    Use use);
  void check_shape(const char *name, const DLTensor &t, Dims dims);

  static constexpr size_t kMaxRegions = 24;

  Status status_;
  Device device_;
  size_t region_count_ = 0;
  Region regions_[kMaxRegions];
};

}  // namespace gdn::api

#endif  // GDN_API_CALL_H_
