#include <cstring>
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

/// One fractal of C: 16 rows of A by 16 columns of B, added up in the order of k. The order inside
/// the hardware is not known.
void multiply(const float *a, const float *b, int64_t b_stride, int64_t k, float *c) {
  for (int64_t k0 = 0; k0 < k; k0 += kFractal, a += kFractalElements, b += b_stride) {
    // b holds columns; its rows make the inner loop one of vectors.
    float rows[kFractal][kFractal];
    for (int64_t n = 0; n < kFractal; ++n) {
      for (int64_t e = 0; e < kFractal; ++e) rows[e][n] = b[n * kFractal + e];
    }
    for (int64_t m = 0; m < kFractal; ++m) {
      for (int64_t e = 0; e < kFractal; ++e) {
        const float x = a[m * kFractal + e];
        for (int64_t n = 0; n < kFractal; ++n) c[m * kFractal + n] += x * rows[e][n];
      }
    }
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
  const std::vector<float> b = read_fractals(i.b, i.k * i.n, i.type, memory);
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
