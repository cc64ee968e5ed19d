// Offsets are 64-bit: every operand of every operation, one dimension after the other, spread over
// more than 2^32 elements of reserved memory, gives the bits of the compact call.

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <numeric>

#include "abi/scenario.h"
#include "cases/target.h"

namespace gdn::testing {
namespace {

using Bytes = std::vector<unsigned char>;

/// Address space of which only the touched pages exist.
class Reserved {
 public:
  Reserved()
      : memory_(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {}
  ~Reserved() {
    if (ok()) munmap(memory_, kBytes);
  }
  Reserved(const Reserved &) = delete;
  Reserved &operator=(const Reserved &) = delete;

  bool ok() const { return memory_ != MAP_FAILED; }
  unsigned char *data() const { return static_cast<unsigned char *>(memory_); }
  void clear() const { madvise(memory_, kBytes, MADV_DONTNEED); }

 private:
  static constexpr size_t kBytes = size_t{40} << 30;
  void *memory_;
};

/// An operand moved into reserved memory, one of its strides far longer than the others.
class Spread {
 public:
  Spread(const Reserved &memory, Operand *operand, size_t axis)
      : memory_(memory), operand_(*operand), item_(size_of(operand->array.type())) {
    const Shape &shape = operand->shape;
    int64_t stride = 1;
    for (size_t d = shape.size(); d-- > 0;) {
      operand->strides[d] = stride;
      stride *= shape[d];
    }
    operand->strides[axis] = (int64_t{1} << 32) / (shape[axis] - 1) + 16;
    operand->header.data = memory.data();
    operand->header.byte_offset = 0;
    const Bytes bytes = operand->array.bytes();
    for_each([&](size_t i, unsigned char *p) { std::memcpy(p, &bytes[i * item_], item_); });
  }
  ~Spread() { memory_.clear(); }
  Spread(const Spread &) = delete;
  Spread &operator=(const Spread &) = delete;

  Bytes bytes() const {
    Bytes out(static_cast<size_t>(operand_.array.size()) * item_);
    for_each([&](size_t i, const unsigned char *p) { std::memcpy(&out[i * item_], p, item_); });
    return out;
  }

 private:
  /// Calls f(index, address) for the elements in row-major order.
  template <class F>
  void for_each(F f) const {
    for (int64_t i = 0; i < operand_.array.size(); ++i) {
      int64_t rest = i;
      int64_t offset = 0;
      for (size_t d = operand_.shape.size(); d-- > 0;) {
        offset += rest % operand_.shape[d] * operand_.strides[d];
        rest /= operand_.shape[d];
      }
      f(static_cast<size_t>(i), memory_.data() + offset * static_cast<int64_t>(item_));
    }
  }

  const Reserved &memory_;
  const Operand &operand_;
  size_t item_;
};

class Offsets : public ::testing::TestWithParam<ScenarioMaker> {
 protected:
  void run(Scenario *s, const Target &target) {
    s->exec.backend = target.backend.c_str();
    s->exec.isa = target.isa.c_str();
    s->exec.threads = 1;
    s->exec.workspace = workspace_.data();
    s->exec.workspace_size = kWorkspaceBytes;
    ASSERT_EQ(s->run(), GDN_OK) << gdn_last_error();
  }

  static constexpr size_t kWorkspaceBytes = size_t{8} << 20;
  Workspace workspace_{kWorkspaceBytes};
};

TEST_P(Offsets, BeyondFourBillionElements) {
  const Reserved memory;
  if (!memory.ok()) GTEST_SKIP() << "40 GiB of address space cannot be reserved";
  const std::unique_ptr<Scenario> s = GetParam().make();
  int spread = 0;
  for (const Target &target : targets_of("cpu")) {
    if (!target.supported) continue;
    s->reset();
    run(s.get(), target);
    std::vector<Bytes> right;
    for (const Operand &o : s->operands()) right.push_back(o.array.bytes());
    for (size_t moved = 0; moved < s->operands().size(); ++moved) {
      Operand &operand = s->operands()[moved];
      const size_t axes = operand.shape.size() - (operand.is(kUnitLast) ? 1 : 0);
      for (size_t axis = 0; axis < axes; ++axis) {
        if (operand.shape[axis] < 2) continue;
        SCOPED_TRACE(target.name() + ", " + operand.name + ", dimension " + std::to_string(axis));
        s->reset();
        const Spread far(memory, &operand, axis);
        run(s.get(), target);
        for (size_t i = 0; i < right.size(); ++i) {
          const Bytes found = i == moved ? far.bytes() : s->operands()[i].array.bytes();
          ASSERT_TRUE(found == right[i]) << s->operands()[i].name;
        }
        ++spread;
      }
    }
  }
  EXPECT_GT(spread, 0);
}

INSTANTIATE_TEST_SUITE_P(All, Offsets, ::testing::ValuesIn(scenario_makers()),
                         [](const auto &maker) { return std::string(maker.param.name); });

}  // namespace
}  // namespace gdn::testing
