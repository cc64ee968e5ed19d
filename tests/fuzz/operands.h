#ifndef GDN_TESTS_FUZZ_OPERANDS_H_
#define GDN_TESTS_FUZZ_OPERANDS_H_

#include <dlpack/dlpack.h>

#include <deque>
#include <initializer_list>
#include <memory>
#include <vector>

#include "fuzz/bytes.h"

namespace gdn::fuzz {

inline constexpr DLDataType kF32 = {kDLFloat, 32, 1};
inline constexpr DLDataType kBf16 = {kDLBfloat, 16, 1};
inline constexpr DLDataType kF16 = {kDLFloat, 16, 1};
inline constexpr DLDataType kI32 = {kDLInt, 32, 1};
inline constexpr DLDataType kI64 = {kDLInt, 64, 1};
inline constexpr DLDataType kU8 = {kDLUInt, 8, 1};

/// The tensors of one call. Each lies in a heap block that ends where its last element ends, so
/// that AddressSanitizer sees every access out of bounds. A header that claims more memory than a
/// test can give gets a null data pointer, which the library must refuse.
class Operands {
 public:
  explicit Operands(Bytes *in) : in_(*in) {}

  /// A tensor of numbers, sometimes strided, rarely broken in one way, very rarely missing.
  const DLTensor *tensor(DLDataType type, std::initializer_list<int64_t> shape, bool written);
  /// A tensor that may be left out.
  const DLTensor *optional(DLDataType type, std::initializer_list<int64_t> shape, bool written);
  /// A tensor of given integers.
  const DLTensor *integers(DLDataType type, std::initializer_list<int64_t> shape,
                           const std::vector<int64_t> &values);
  /// float32 or `type`.
  DLDataType f32_or(DLDataType type) { return in_.often() ? type : kF32; }

  /// Remembers all contents, before the call.
  void remember();
  /// Ends the process if the call changed what it must not: inputs, bytes between elements, and
  /// outputs too unless it succeeded.
  void check(bool succeeded) const;

 private:
  struct Entry {
    DLTensor header{};
    std::vector<int64_t> shape;
    std::vector<int64_t> strides;
    std::unique_ptr<uint8_t[]> memory;
    size_t bytes = 0;
    int64_t origin = 0;  ///< Byte of memory at which element 0 lies.
    std::vector<uint8_t> before;
    bool written = false;
  };

  Entry *add(DLDataType type, std::initializer_list<int64_t> shape, bool written);
  void stride(Entry *e);
  void damage(Entry *e);
  void allocate(Entry *e);
  template <class F>
  static void for_each_element(const Entry &e, F f);

  Bytes &in_;
  std::deque<Entry> entries_;
};

}  // namespace gdn::fuzz

#endif  // GDN_TESTS_FUZZ_OPERANDS_H_
