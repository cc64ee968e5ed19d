#include "cases/errors.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

namespace gdn::testing {
namespace {

struct Sums {
  double error = 0.0;
  double norm = 0.0;
  int64_t count = 0;
};

double relative(const Sums &s, double tiny) {
  const double error = std::sqrt(s.error) - tiny * std::sqrt(static_cast<double>(s.count));
  if (error <= 0.0) return 0.0;
  return error / std::sqrt(s.norm);  // Infinite for a block of zeros.
}

}  // namespace

Error compare(std::span<const float> actual, std::span<const float> expected, int64_t width,
              std::span<const int64_t> block_of_row, Element stored_as) {
  Error result;
  const int64_t blocks =
      block_of_row.empty() ? 0 : 1 + *std::max_element(block_of_row.begin(), block_of_row.end());
  std::vector<Sums> sums(static_cast<size_t>(blocks));
  Sums all;
  for (size_t r = 0; r < block_of_row.size(); ++r) {
    Sums &s = sums[static_cast<size_t>(block_of_row[r])];
    for (size_t i = r * static_cast<size_t>(width); i < (r + 1) * static_cast<size_t>(width); ++i) {
      const double e = expected[i];
      const double difference = static_cast<double>(actual[i]) - e;
      if (!std::isfinite(actual[i])) result.finite = false;
      s.error += difference * difference;
      s.norm += e * e;
      ++s.count;
    }
  }
  const double tiny = stored_as == Element::f16 ? 0x1p-24 : FLT_MIN;
  for (size_t b = 0; b < sums.size(); ++b) {
    all.error += sums[b].error;
    all.norm += sums[b].norm;
    all.count += sums[b].count;
    const double error = relative(sums[b], tiny);
    // Also true for NaN.
    if (!(error <= result.worst_block) || result.block < 0) {
      result.worst_block = error;
      result.block = static_cast<int64_t>(b);
    }
    if (std::isnan(error)) break;
  }
  result.total = result.finite ? relative(all, tiny) : NAN;
  return result;
}

std::string stage_rule(std::span<const float> actual, std::span<const float> expected) {
  bool close = true;
  double square = 0.0;
  double magnitude = 0.0;
  double sum = 0.0;
  double sum_square = 0.0;
  const auto n = static_cast<double>(expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const double e = expected[i];
    const double difference = std::abs(static_cast<double>(actual[i]) - e);
    if (!std::isfinite(actual[i])) return "an element is not finite";
    if (difference > 1.0) return "an error is over 1";
    if (difference > 1e-5 + 1e-2 * std::abs(e)) close = false;
    square += difference * difference;
    magnitude += std::abs(e);
    sum += e;
    sum_square += e * e;
  }
  if (close) return "";
  const double rmse = std::sqrt(square / n);
  const double variance = sum_square - sum * sum / n;
  if (rmse > 0.05 * magnitude / n) return "RMSE / mean |e| is over 0.05";
  if (1.0 - square / variance < 0.99) return "R2 is under 0.99";
  return "";
}

}  // namespace gdn::testing
