#ifndef GDN_CPU_KERNELS_ROW_NORM_H_
#define GDN_CPU_KERNELS_ROW_NORM_H_

// The norms of rows of any finite size. Include GDN_TILE first.

namespace gdn::cpu::GDN_ISA {
namespace {

/// A normalised row, x rsqrt(mean + eps), is (x shrink) factor. shrink is a power of two, 1 but for
/// rows that are extreme: it brings their squares, and products of two such rows, within f32.
struct RowNorm {
  float shrink;
  float factor;
};

/// Sums of squares between these are exact enough and leave room for products of rows.
constexpr float kOrdinaryLow = 0x1p-40F;
constexpr float kOrdinaryHigh = 0x1p40F;

inline bool is_ordinary(float sum_of_squares) {
  return sum_of_squares >= kOrdinaryLow && sum_of_squares <= kOrdinaryHigh;
}

/// 2^n for a normal result.
inline float power_of_2(int32_t n) { return bits_float(static_cast<uint32_t>(n + 127) << 23); }

/// The power of two that shrinks (or stretches) x to [1, 4); 1 if there is none.
inline float shrink_of(float x) {
  const uint32_t bits = float_bits(x) & 0x7FFFFFFFU;
  if (bits < 0x00800000U || bits >= 0x7F800000U) return 1.0F;
  const int32_t exponent = static_cast<int32_t>(bits >> 23) - 127;
  return power_of_2(exponent < 126 ? -exponent : -126);
}

/// Of a row that was shrunk before its squares were summed; their mean is sum / count.
inline RowNorm norm_of_shrunk(float shrink, float sum, int64_t count, float eps) {
  const double s = static_cast<double>(shrink);
  const double mean = static_cast<double>(sum) / static_cast<double>(count) / (s * s);
  return {shrink, static_cast<float>(1.0 / (s * __builtin_sqrt(mean + static_cast<double>(eps))))};
}

/// Of a row whose sum of squares is not an ordinary one.
template <class E>
[[gnu::noinline]] RowNorm norm_of_extreme(const E *x, int64_t n, int64_t count, float eps) {
  Vec largest = zero();
  for_each_vec(n, [&](int64_t i, int64_t lanes) {
    largest = max(abs(lanes == kWidth ? load(x + i) : load_n(x + i, lanes)), largest);
  });
  const float shrink = shrink_of(reduce_max(largest));
  const Vec factor = set1(shrink);
  Vec sum = zero();
  for_each_vec(n, [&](int64_t i, int64_t lanes) {
    const Vec v = factor * (lanes == kWidth ? load(x + i) : load_n(x + i, lanes));
    sum = fma(v, v, sum);
  });
  return norm_of_shrunk(shrink, reduce_add(sum), count, eps);
}

/// Of n elements; their mean is the sum of squares / count, so that a count of 1 is the l2norm.
template <class E>
inline RowNorm row_norm(const E *x, int64_t n, int64_t count, float eps) {
  const float sum = sum_of_squares(x, n);
  if (!is_ordinary(sum)) return norm_of_extreme(x, n, count, eps);
  return {1.0F, 1.0F / __builtin_sqrtf(sum / static_cast<float>(count) + eps)};
}

/// Calls f with a function that normalises a vector of the row: of all but extreme rows by one
/// product.
template <class F>
inline void with_row_norm(const RowNorm &norm, F &&f) {
  const Vec factor = set1(norm.factor);
  if (norm.shrink == 1.0F) return f([=](Vec x) { return x * factor; });
  const Vec shrink = set1(norm.shrink);
  f([=](Vec x) { return (x * shrink) * factor; });
}

constexpr float kL2NormEps = 1e-6F;  ///< Of l2norm inside other operations.

template <class E>
inline RowNorm l2norm_of(const E *x, int64_t n) {
  return row_norm(x, n, 1, kL2NormEps);
}

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_ROW_NORM_H_
