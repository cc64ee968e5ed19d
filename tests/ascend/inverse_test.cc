// solve_tril beside an inverse in float64, where the products of its merges lose most: keys that
// are the same, much alike, or nearly orthogonal, with and without decay. Every form, every length
// of a last chunk's kind, and three schedules.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "ascend/exact.h"

namespace gdn::ascend::testing {
namespace {

/// What A is made of: the angle between any two keys, beta, and the decay of a token.
struct Keys {
  const char *name;
  double alike;  ///< 1: all the same; 0: drawn by themselves.
  bool turns;    ///< Every second one with the sign turned.
  double beta;
  double g;
};

constexpr Keys kKeys[] = {
    {"Drawn", 0.0, false, 0.5, -0.8},         {"TheSame", 1.0, false, 1.0, -1e-6},
    {"TheSameTwice", 1.0, false, 2.0, -1e-6}, {"Turning", 1.0, true, 1.0, -1e-6},
    {"MuchAlike", 0.7, false, 1.0, -1e-3},    {"StrongDecay", 0.0, false, 1.0, -40.0},
};

/// A of one head: rows of C numbers, what is not below the diagonal is NaN.
std::vector<float> draw_A(const Keys &keys, const std::vector<int64_t> &lengths, int64_t C) {
  constexpr size_t kWidth = 32;
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal;
  std::vector<double> common(kWidth);
  for (double &x : common) x = normal(random);
  std::vector<float> A;
  for (const int64_t length : lengths) {
    std::vector<std::vector<double>> k(static_cast<size_t>(length), common);
    for (size_t i = 0; i < k.size(); ++i) {
      double square = 0.0;
      for (double &x : k[i]) {
        x = keys.alike * x + (1.0 - keys.alike) * normal(random);
        square += x * x;
      }
      const double sign = keys.turns && i % 2 == 1 ? -1.0 : 1.0;
      for (double &x : k[i]) x *= sign / std::sqrt(square);
    }
    for (int64_t i = 0; i < length; ++i) {
      for (int64_t j = 0; j < C; ++j) {
        double value = std::numeric_limits<double>::quiet_NaN();
        if (j < i % C) {
          const int64_t other = i / C * C + j;
          value = 0.0;
          for (size_t d = 0; d < kWidth; ++d) {
            value += k[static_cast<size_t>(i)][d] * k[static_cast<size_t>(other)][d];
          }
          value *= keys.beta * std::exp(keys.g * static_cast<double>(i - other));
        }
        A.push_back(static_cast<float>(value));
      }
    }
  }
  return A;
}

class Inverse : public ::testing::TestWithParam<Keys> {};

/// Relative RMS of T, which is `limit` at most. Above the diagonal T is zero, on it one.
void check(const Keys &keys, DType type, int64_t C, double limit) {
  const std::vector<int64_t> lengths = {2 * C, C - 1, C / 2 + 1, 33, 16, 1};
  const Offsets offsets(lengths);
  const std::vector<float> numbers = draw_A(keys, lengths, C);
  const std::vector<double> expected = inverse(numbers, lengths, C);
  auto p = shaped<SolveTril>(offsets, C, 1, 1);
  Data A(DType::f32, {1, p.sequences.tokens, 1, C});
  std::memcpy(A.tensor().data, numbers.data(), numbers.size() * sizeof(float));
  p.A = A.tensor();
  std::vector<unsigned char> first;
  for (const uint64_t seed : {1, 2, 3}) {
    const Data T(type, {1, p.sequences.tokens, 1, C});
    p.T = T.tensor();
    model::Options options;
    options.blocks = 2;
    options.seed = seed;
    const Status status = solve_tril(p, options);
    ASSERT_TRUE(status.ok()) << status.message();
    if (first.empty()) first = T.bytes();
    ASSERT_EQ(T.bytes(), first) << "schedule " << seed;
    double difference = 0.0;
    double size = 0.0;
    for (size_t i = 0; i < expected.size(); ++i) {
      const auto found = static_cast<double>(value_at(T, type, i));
      ASSERT_TRUE(std::isfinite(found)) << i;
      difference += (found - expected[i]) * (found - expected[i]);
      size += expected[i] * expected[i];
    }
    const double error = std::sqrt(difference / size);
    EXPECT_LE(error, limit) << "chunks of " << C;
    if (seed == 1) {
      ::testing::Test::RecordProperty(
          "type" + std::to_string(static_cast<int>(type)) + "_" + std::to_string(C),
          std::to_string(error));
    }
    int64_t row = 0;
    for (const int64_t length : lengths) {
      for (int64_t i = 0; i < length; ++i, ++row) {
        for (int64_t j = i % C; j < C; ++j) {
          ASSERT_EQ(value_at(T, type, static_cast<size_t>(row * C + j)), j == i % C ? 1.0F : 0.0F)
              << "row " << row << ", column " << j;
        }
      }
    }
  }
}

// f32 as where all of it is computed in f32; 16-bit numbers as what rounding alone may lose.
TEST_P(Inverse, F32) {
  for (const int64_t C : {64, 128}) check(GetParam(), DType::f32, C, 2e-6);
}
TEST_P(Inverse, F16) {
  for (const int64_t C : {64, 128}) check(GetParam(), DType::f16, C, 0x1p-11);
}
TEST_P(Inverse, Bf16) {
  for (const int64_t C : {64, 128}) check(GetParam(), DType::bf16, C, 0x1p-8);
}

INSTANTIATE_TEST_SUITE_P(Keys, Inverse, ::testing::ValuesIn(kKeys),
                         [](const auto &keys) { return std::string(keys.param.name); });

}  // namespace
}  // namespace gdn::ascend::testing
