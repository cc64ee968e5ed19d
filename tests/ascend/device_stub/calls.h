#ifndef GDN_TESTS_ASCEND_DEVICE_STUB_CALLS_H_
#define GDN_TESTS_ASCEND_DEVICE_STUB_CALLS_H_

#include <cstdint>
#include <string>
#include <vector>

// What the stub's intrinsics were called with.

namespace npu_stub {

/// A core of a launch: its block, which of the block's cores of its kind, and how many blocks.
struct Place {
  int64_t block = 0;
  int64_t core = 0;
  int64_t blocks = 0;
};

struct Call {
  Place place;
  std::string name;
  std::vector<int64_t> arguments;
};

/// Takes down and gives out the calls of the library that it is in.
inline std::vector<Call> &calls() {
  static std::vector<Call> all;
  return all;
}

}  // namespace npu_stub

#endif  // GDN_TESTS_ASCEND_DEVICE_STUB_CALLS_H_
