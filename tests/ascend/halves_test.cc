// recompute_w_u beside its formulas in float64, where the second half of an operand counts: keys
// and values that are much alike, so that what a row of T adds up nearly cancels. With both halves
// the result loses what its own rounding loses; with the first alone it loses at least twice as
// much.

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "ascend/exact.h"
#include "ascend/operations/problem.h"

namespace gdn::ascend::testing {
namespace {

constexpr int64_t kWidth = 128;
constexpr double kAlike = 0.9;
constexpr double kBeta = 0.9;
constexpr double kDecay = -1e-3;

/// Rows that share most of what they are, of length 1.
std::vector<double> draw_rows(int64_t rows, unsigned seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> common(kWidth);
  for (double &x : common) x = normal(random);
  std::vector<double> all;
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<double> row;
    double square = 0.0;
    for (const double shared : common) {
      row.push_back(kAlike * shared + (1.0 - kAlike) * normal(random));
      square += row.back() * row.back();
    }
    for (const double x : row) all.push_back(x / std::sqrt(square));
  }
  return all;
}

/// A of one head, for keys as they are stored.
std::vector<float> make_A(const Data &k, DType type, int64_t tokens, int64_t C,
                          const std::vector<int64_t> &lengths) {
  std::vector<float> A(static_cast<size_t>(tokens * C));
  int64_t begin = 0;
  for (const int64_t length : lengths) {
    for (int64_t i = 0; i < length; ++i) {
      for (int64_t j = 0; j < i % C; ++j) {
        const int64_t other = i / C * C + j;
        double sum = 0.0;
        for (int64_t d = 0; d < kWidth; ++d) {
          sum += static_cast<double>(
                     value_at(k, type, static_cast<size_t>((begin + i) * kWidth + d))) *
                 value_at(k, type, static_cast<size_t>((begin + other) * kWidth + d));
        }
        const double decay = std::exp(kDecay * static_cast<double>(i - other));
        A[static_cast<size_t>((begin + i) * C + j)] = static_cast<float>(kBeta * sum * decay);
      }
    }
    begin += length;
  }
  return A;
}

/// One head of a problem: its stored operands, and the error of a result.
class Halves : public ::testing::TestWithParam<DType> {
 protected:
  /// Relative RMS of T diag(beta f) x beside what is stored in `found`.
  double error(const Data &found, const Data &x, bool decays) const {
    double difference = 0.0;
    double size = 0.0;
    int64_t begin = 0;
    for (const int64_t length : lengths_) {
      for (int64_t i = 0; i < length; ++i) {
        const int64_t first = begin + i / C_ * C_;
        for (int64_t d = 0; d < kWidth; ++d) {
          double expected = 0.0;
          for (int64_t j = 0; j <= i % C_; ++j) {
            const double c = decays ? kDecay * static_cast<double>(j + 1) : 0.0;
            expected += static_cast<double>(
                            value_at(*T_, T_type_, static_cast<size_t>((begin + i) * C_ + j))) *
                        static_cast<double>(static_cast<float>(kBeta)) * std::exp(c) *
                        value_at(x, type_, static_cast<size_t>((first + j) * kWidth + d));
          }
          const auto actual = static_cast<double>(
              value_at(found, type_, static_cast<size_t>((begin + i) * kWidth + d)));
          difference += (actual - expected) * (actual - expected);
          size += expected * expected;
        }
      }
      begin += length;
    }
    return std::sqrt(difference / size);
  }

  void check(int64_t C, DType T_type) {
    C_ = C;
    T_type_ = T_type;
    lengths_ = {2 * C, C - 3, C / 2 + 1};
    const Offsets offsets(lengths_);
    auto p = shaped<RecomputeWU>(offsets, C, 1, 1);
    p.key_dim = p.value_dim = kWidth;
    const int64_t tokens = p.sequences.tokens;
    Data k(type_, {1, tokens, 1, kWidth}), v(type_, {1, tokens, 1, kWidth});
    Data beta(DType::f32, {1, tokens, 1}), g_cumsum(DType::f32, {1, tokens, 1});
    Data T(T_type, {1, tokens, 1, C});
    T_ = &T;
    const Data w(type_, {1, tokens, 1, kWidth}), u(type_, {1, tokens, 1, kWidth});
    assign(k, type_, draw_rows(tokens, 1));
    assign(v, type_, draw_rows(tokens, 2));
    assign(beta, DType::f32, std::vector<double>(static_cast<size_t>(tokens), kBeta));
    std::vector<double> c;
    for (const int64_t length : lengths_) {
      for (int64_t i = 0; i < length; ++i) c.push_back(kDecay * static_cast<double>(i % C + 1));
    }
    assign(g_cumsum, DType::f32, c);
    assign(T, T_type, inverse(make_A(k, type_, tokens, C, lengths_), lengths_, C));
    p.k = k.tensor();
    p.v = v.tensor();
    p.beta = beta.tensor();
    p.g_cumsum = g_cumsum.tensor();
    p.T = T.tensor();
    p.w = w.tensor();
    p.u = u.tensor();
    model::Options options;
    options.blocks = 2;
    const Status status = recompute_w_u(p, options);
    ASSERT_TRUE(status.ok()) << status.message();
    // Rounding to nearest loses at most half a unit of the last place.
    const double limit = type_ == DType::f16 ? 0x1p-12 : 0x1p-9;
    EXPECT_LE(error(u, v, false), limit);
    EXPECT_LE(error(w, k, true), limit);
  }

  DType type_ = GetParam();
  DType T_type_ = DType::none;
  int64_t C_ = 0;
  std::vector<int64_t> lengths_;
  const Data *T_ = nullptr;
};

TEST_P(Halves, CountWhereRowsOfTCancel) {
  for (const int64_t C : {64, 128}) {
    for (const DType T_type : {DType::f32, type_}) {
      SCOPED_TRACE("chunks of " + std::to_string(C) + ", T as " + dtype_name(T_type));
      check(C, T_type);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Halves, ::testing::Values(DType::bf16, DType::f16),
                         [](const auto &type) { return std::string(dtype_name(type.param)); });

}  // namespace
}  // namespace gdn::ascend::testing
