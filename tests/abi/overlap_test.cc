// Overlap of strided operands, against a count of every byte, through an operation of two operands.

#include <gdn/gdn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <vector>

namespace gdn::testing {
namespace {

constexpr int64_t kBuffer = 256;  // Elements.
constexpr int kRank = 3;

/// A view of a buffer of kBuffer floats.
struct View {
  int64_t shape[kRank];
  int64_t stride[kRank];
  int64_t start;

  template <class F>
  void for_each(F f) const {
    for (int64_t i = 0; i < shape[0]; ++i) {
      for (int64_t j = 0; j < shape[1]; ++j) {
        for (int64_t k = 0; k < shape[2]; ++k) {
          f(start + i * stride[0] + j * stride[1] + k * stride[2]);
        }
      }
    }
  }

  bool inside() const {
    bool out = true;
    for_each([&](int64_t at) { out &= at >= 0 && at < kBuffer; });
    return out;
  }

  DLTensor tensor(float *buffer) {
    DLTensor t{};
    t.data = buffer;
    t.device.device_type = kDLCPU;
    t.ndim = kRank;
    t.dtype = {kDLFloat, 32, 1};
    t.shape = shape;
    t.strides = stride;
    t.byte_offset = static_cast<uint64_t>(start) * sizeof(float);
    return t;
  }
};

/// True if an element of y is an element of x or another one of y.
bool overlap(const View &x, const View &y) {
  std::vector<int> touched(kBuffer, 0);
  bool out = false;
  x.for_each([&](int64_t at) { touched[static_cast<size_t>(at)] = 1; });
  y.for_each([&](int64_t at) { out |= touched[static_cast<size_t>(at)]++ != 0; });
  return out;
}

/// l2norm from x to y, on one thread.
gdn_status run_l2norm(const DLTensor &x, const DLTensor &y) {
  gdn_l2norm_args args{};
  args.struct_size = sizeof args;
  args.x = &x;
  args.y = &y;
  gdn_exec exec{};
  exec.struct_size = sizeof exec;
  exec.threads = 1;
  return gdn_l2norm(&args, &exec);
}

TEST(Overlap, EveryPairOfStrides) {
  std::vector<float> input(kBuffer, 1.0F);
  std::vector<float> output(kBuffer);
  int interlocked = 0;
  for (int64_t row = 1; row <= 2; ++row) {
    for (int64_t i = 1; i <= 5; ++i) {
      for (int64_t j = 1; j <= 5; ++j) {
        for (int64_t a = -9; a <= 9; ++a) {
          for (int64_t b = 0; b <= 9; ++b) {
            View x{{i, j, row}, {j * row, row, 1}, 0};
            View y{{i, j, row}, {a * row, b * row, 1}, 100};
            ASSERT_TRUE(y.inside());
            SCOPED_TRACE(::testing::Message() << i << "x" << j << " strides " << a << ", " << b);
            const DLTensor tx = x.tensor(input.data());
            const DLTensor ty = y.tensor(output.data());
            std::vector<int> touched(kBuffer, 0);
            bool apart = true;
            y.for_each([&](int64_t at) { apart &= touched[static_cast<size_t>(at)]++ == 0; });
            ASSERT_EQ(run_l2norm(tx, ty), apart ? GDN_OK : GDN_INVALID_ARGUMENT)
                << gdn_last_error();
            interlocked += apart && std::abs(a) < 1 + (j - 1) * b && b < 1 + (i - 1) * std::abs(a);
          }
        }
      }
    }
  }
  EXPECT_GT(interlocked, 50);
}

TEST(Overlap, PaddedRows) {
  // Steps without a common divisor, each over all the smaller ones; then two that interlock below
  // and above one of those.
  std::vector<float> input(kBuffer, 1.0F);
  std::vector<float> output(kBuffer);
  for (View y : {View{{2, 3, 4}, {29, 9, 1}, 0}, View{{3, 2, 4}, {8, 12, 1}, 0},
                 View{{2, 3, 2}, {97, 2, 1}, 0}, View{{2, 3, 4}, {9, -29, 1}, 60}}) {
    View x = y;
    const DLTensor tx = x.tensor(input.data());
    const DLTensor ty = y.tensor(output.data());
    ASSERT_TRUE(y.inside());
    EXPECT_EQ(run_l2norm(tx, ty), GDN_OK) << gdn_last_error();
  }
}

TEST(Overlap, RandomViews) {
  std::random_device device;
  const uint32_t seed = device();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const auto draw = [&random](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  std::vector<float> buffer(kBuffer, 1.0F);
  int taken = 0;
  int refused_needlessly = 0;
  int overlapping = 0;
  for (int round = 0; round < 200000; ++round) {
    View x{};
    View y{};
    for (int d = 0; d < kRank; ++d) x.shape[d] = y.shape[d] = draw(1, 4);
    // Often a common outer stride: operands that interleave.
    for (int d = 0; d < kRank - 1; ++d) {
      const int64_t widest = d == 0 ? 40 : 12;
      x.stride[d] = draw(-widest, widest);
      y.stride[d] = draw(0, 2) > 0 ? x.stride[d] : draw(-widest, widest);
    }
    x.stride[kRank - 1] = y.stride[kRank - 1] = 1;
    x.start = draw(0, kBuffer - 1);
    y.start = std::clamp<int64_t>(x.start + draw(-24, 24), 0, kBuffer - 1);
    if (!x.inside() || !y.inside()) continue;
    const DLTensor tx = x.tensor(buffer.data());
    const DLTensor ty = y.tensor(buffer.data());
    const gdn_status status = run_l2norm(tx, ty);
    if (overlap(x, y)) {
      ++overlapping;
      ASSERT_EQ(status, GDN_INVALID_ARGUMENT) << "an overlap was not seen";
    } else if (status == GDN_OK) {
      ++taken;
    } else {
      ++refused_needlessly;
    }
  }
  EXPECT_GT(overlapping, 1000);
  // What is refused without need are interleavings that no framework makes; random ones abound.
  EXPECT_GT(taken, 2 * refused_needlessly)
      << taken << " taken, " << refused_needlessly << " refused needlessly";
}

}  // namespace
}  // namespace gdn::testing
