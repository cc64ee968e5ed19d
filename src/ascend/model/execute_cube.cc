#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "ascend/model/convert.h"
#include "ascend/model/execute.h"

namespace gdn::ascend::model {
namespace {

constexpr int64_t kFractalElements = kFractal * kFractal;

/// Fractals of 16-bit elements, widened.
std::vector<float> read_fractals(const Ref &at, int64_t elements, Type type, Access &memory) {
  std::vector<float> values(static_cast<size_t>(elements));
  const unsigned char *from = memory.read(at, elements * 2);
  for (int64_t e = 0; e < elements; ++e) {
    values[static_cast<size_t>(e)] = widen_at(from, type, e);
  }
  return values;
}

/// Each fractal turned over: columns of B become rows.
void turn_over(std::vector<float> &fractals) {
  for (auto at = fractals.begin(); at != fractals.end(); at += kFractalElements) {
    for (int64_t r = 0; r < kFractal; ++r) {
      for (int64_t c = 0; c < r; ++c) std::swap(at[r * kFractal + c], at[c * kFractal + r]);
    }
  }
}

/// Rows of A that are multiplied at a time, so that there are enough sums to keep an adder busy.
constexpr int64_t kTogether = 2;

/// One fractal of C: 16 rows of A by 16 columns of B, whose fractals hold rows, added up in the
/// order of k. The order inside the hardware is not known.
void multiply(const float *a, const float *b, int64_t b_stride, int64_t k, float *c) {
  for (int64_t m = 0; m < kFractal; m += kTogether) {
    float sums[kTogether][kFractal];
    std::memcpy(sums, c + m * kFractal, sizeof(sums));
    for (int64_t k0 = 0; k0 < k; k0 += kFractal) {
      const float *rows_of_a = a + (k0 + m) * kFractal;
      const float *rows_of_b = b + k0 / kFractal * b_stride;
      for (int64_t e = 0; e < kFractal; ++e) {
        for (int64_t r = 0; r < kTogether; ++r) {
          const float x = rows_of_a[r * kFractal + e];
          for (int64_t n = 0; n < kFractal; ++n) sums[r][n] += x * rows_of_b[e * kFractal + n];
        }
      }
    }
    std::memcpy(c + m * kFractal, sums, sizeof(sums));
  }
}

}  // namespace

void execute(const LoadL0 &i, Access &memory) {
  for (int64_t f = 0; f < i.fractals.count; ++f) {
    const unsigned char *from =
        memory.read(i.from + f * i.fractals.stride * kFractalBytes, kFractalBytes);
    unsigned char *to = memory.write(i.to + f * kFractalBytes, kFractalBytes);
    if (!i.transposed) {
      std::memcpy(to, from, kFractalBytes);
      continue;
    }
    for (int64_t r = 0; r < kFractal; ++r) {
      for (int64_t c = 0; c < kFractal; ++c) {
        std::memcpy(to + (c * kFractal + r) * 2, from + (r * kFractal + c) * 2, 2);
      }
    }
  }
}

void execute(const Mmad &i, Access &memory) {
  const std::vector<float> a = read_fractals(i.a, i.m * i.k, i.type, memory);
  std::vector<float> b = read_fractals(i.b, i.k * i.n, i.type, memory);
  turn_over(b);
  const int64_t bytes = i.m * i.n * 4;
  if (i.sum == Sum::onto) memory.read(i.c, bytes);
  auto *c = memory.write<float>(i.c, i.m * i.n);
  if (i.sum == Sum::fresh) std::memset(c, 0, static_cast<size_t>(bytes));
  for (int64_t n = 0; n < i.n; n += kFractal) {
    for (int64_t m = 0; m < i.m; m += kFractal) {
      multiply(a.data() + m * i.k, b.data() + n * kFractal, i.n * kFractal, i.k,
               c + n * i.m + m * kFractal);
    }
  }
}

}  // namespace gdn::ascend::model
