#ifndef GDN_TESTS_FUZZ_BYTES_H_
#define GDN_TESTS_FUZZ_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace gdn::fuzz {

/// Decisions read from the fuzzer's input; zeros when it is used up.
class Bytes {
 public:
  Bytes(const uint8_t *data, size_t size) : data_(data), size_(size) {}

  uint8_t byte() { return size_ > 0 ? (--size_, *data_++) : uint8_t{0}; }

  /// 0 .. n - 1.
  int64_t below(int64_t n) {
    const int64_t wide = byte();
    return (n > 256 ? wide << 8 | byte() : wide) % n;
  }

  /// True for one byte in 16, never for a 0: an empty input gives a valid call.
  bool rarely() { return byte() % 16 == 15; }
  bool often() { return byte() % 4 != 3; }

  template <class T>
  T pick(std::initializer_list<T> choices) {
    return choices.begin()[below(static_cast<int64_t>(choices.size()))];
  }

  /// A number that code is likely to get wrong.
  int64_t odd_number() {
    return pick<int64_t>({-1, 0, 1, 2, 3, 7, 255, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN,
                          INT64_MAX / 2, int64_t{1} << 61, -64, 128, int64_t{1} << 32});
  }

 private:
  const uint8_t *data_;
  size_t size_;
};

}  // namespace gdn::fuzz

#endif  // GDN_TESTS_FUZZ_BYTES_H_
