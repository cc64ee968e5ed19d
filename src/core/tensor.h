#ifndef GDN_CORE_TENSOR_H_
#define GDN_CORE_TENSOR_H_

#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)
#define GDN_HOST_DEVICE __host__ __device__
#else
// Kernels are compiled once per instruction set; a copy of such a function emitted by one of them
// would be a weak symbol that the linker may pick for all.
#define GDN_HOST_DEVICE __attribute__((always_inline))
#endif

namespace gdn {

/// Element types that kernels meet. Index arrays (int32/int64) are IndexArray, not Tensor.
enum class DType : uint8_t { none, f32, bf16, f16 };

/// Bytes of one element.
GDN_HOST_DEVICE constexpr size_t dtype_size(DType t) {
  return t == DType::f32 ? 4 : t == DType::none ? 0 : 2;
}

/// "float32", "bfloat16", "float16".
constexpr const char *dtype_name(DType t) {
  switch (t) {
    case DType::f32:
      return "float32";
    case DType::bf16:
      return "bfloat16";
    case DType::f16:
      return "float16";
    case DType::none:
      break;
  }
  return "none";
}

/// A checked operand: pointer (byte offset folded in), type, shape and element strides. Absent
/// operands have dtype none. Plain data: copied into kernels by value, on the GPU too.
struct Tensor {
  static constexpr int kMaxRank = 5;

  void *data = nullptr;
  DType dtype = DType::none;
  int32_t rank = 0;
  int64_t shape[kMaxRank] = {};
  int64_t stride[kMaxRank] = {};

  GDN_HOST_DEVICE bool present() const { return dtype != DType::none; }

  /// Element offset of an index, always 64-bit.
  GDN_HOST_DEVICE int64_t offset(int64_t i0, int64_t i1 = 0, int64_t i2 = 0, int64_t i3 = 0,
                                 int64_t i4 = 0) const {
    return i0 * stride[0] + i1 * stride[1] + i2 * stride[2] + i3 * stride[3] + i4 * stride[4];
  }

  /// Pointer to an element; E must match dtype (uint16_t serves both 16-bit types).
  template <class E>
  GDN_HOST_DEVICE E *at(int64_t i0, int64_t i1 = 0, int64_t i2 = 0, int64_t i3 = 0,
                        int64_t i4 = 0) const {
    return static_cast<E *>(data) + offset(i0, i1, i2, i3, i4);
  }
};

/// A vector or matrix of int32 or int64. `present` alone says whether there is one: an array of no
/// entries may come with a null pointer.
struct IndexArray {
  const void *data = nullptr;
  bool present = false;
  bool is_64bit = false;
  int64_t rows = 0;
  int64_t columns = 1;
  int64_t row_stride = 1;
  int64_t column_stride = 0;

  GDN_HOST_DEVICE int64_t offset(int64_t row, int64_t column = 0) const {
    return row * row_stride + column * column_stride;
  }
  GDN_HOST_DEVICE int64_t at(int64_t row, int64_t column = 0) const {
    const int64_t i = offset(row, column);
    return is_64bit ? static_cast<const int64_t *>(data)[i]
                    : static_cast<int64_t>(static_cast<const int32_t *>(data)[i]);
  }
};

/// Which entries of an index array name a slot of the pool.
struct Slots {
  int64_t count = INT64_MAX;  ///< Slots in the pool.
  bool has_null = false;
  int64_t null = 0;  ///< Means "no slot", as negative indices do.

  /// The slot that an index names, -1 for none. An index past the pool, which is refused where
  /// somebody looks at the contents of index arrays, names none either.
  GDN_HOST_DEVICE int64_t named(int64_t index) const {
    return index < 0 || index >= count || (has_null && index == null) ? -1 : index;
  }
};

/// One flag per sequence, of 1 or 4 bytes; absent: all true.
struct FlagArray {
  const void *data = nullptr;
  bool present = false;
  int32_t bytes = 1;
  int64_t count = 0;
  int64_t stride = 1;

  GDN_HOST_DEVICE bool at(int64_t i) const {
    if (!present) return true;
    return bytes == 4 ? static_cast<const int32_t *>(data)[i * stride] != 0
                      : static_cast<const uint8_t *>(data)[i * stride] != 0;
  }
};

}  // namespace gdn

#endif  // GDN_CORE_TENSOR_H_
