#ifndef GDN_CASES_ARRAY_H_
#define GDN_CASES_ARRAY_H_

#include <dlpack/dlpack.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cases/element.h"

namespace gdn::testing {

using Shape = std::vector<int64_t>;

/// How an array lies in memory.
struct Layout {
  Shape strides;      ///< In elements; empty: compact. 0 repeats an element (inputs only).
  int64_t spare = 0;  ///< Elements left free between the last element and the end of memory.
};

/// Strides that keep `order` (dimensions from the slowest to the fastest) and leave `gap` elements
/// free after each run of the slowest-but-one dimensions, so that no leading dimension is compact.
Shape padded_strides(const Shape &shape, const std::vector<int> &order, int64_t gap);

/// A tensor in memory of its own that shows whether anybody touched what is not an element: the
/// bytes before it, after it and between its elements hold a pattern (which reads as NaN, and as
/// -1), and an inaccessible page follows directly behind its last element. Its DLTensor always
/// has a byte offset. Copies share the memory.
class Array {
 public:
  Array(Element type, Shape shape, Layout layout = {});

  Element type() const { return type_; }
  const Shape &shape() const { return shape_; }
  const Shape &strides() const { return strides_; }
  int64_t size() const;  ///< Number of elements.

  /// Valid as long as the array or a copy of it.
  const DLTensor *tensor() const;

  /// Every element becomes NaN (-1 for integers).
  void poison();
  /// Sets the elements, in row-major order, rounded to the type.
  void assign(std::span<const float> values);
  void assign(std::span<const int64_t> values);
  /// The elements in row-major order, widened.
  std::vector<float> values() const;
  /// The same of an integer array.
  std::vector<int64_t> integers() const;
  /// The elements' bytes in row-major order.
  std::vector<unsigned char> bytes() const;

  /// A compact float32 array of the same values; an integer array itself.
  Array widened() const;

  /// Empty if all bytes that are not elements hold their pattern, else a sentence.
  std::string damage() const;

 private:
  struct Memory;
  template <class F>
  void for_each_row(F f) const;

  Element type_;
  Shape shape_;
  Shape strides_;
  bool compact_;
  std::shared_ptr<Memory> memory_;
};

/// The DLTensor of an operand that may be absent: then nullptr.
inline const DLTensor *tensor_of(const std::optional<Array> &array) {
  return array ? array->tensor() : nullptr;
}

}  // namespace gdn::testing

#endif  // GDN_CASES_ARRAY_H_
