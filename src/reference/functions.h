#ifndef GDN_REFERENCE_FUNCTIONS_H_
#define GDN_REFERENCE_FUNCTIONS_H_

#include <cmath>
#include <cstdint>

namespace gdn::reference {

inline double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

inline double silu(double x) { return x * sigmoid(x); }

/// log(1 + exp(x)); x itself above the threshold of 20, as torch does.
inline double softplus(double x) { return x > 20.0 ? x : std::log1p(std::exp(x)); }

/// Log decay of a raw gate.
inline double decay_of_gate(double a, double A_log, double dt_bias) {
  return -std::exp(A_log) * softplus(a + dt_bias);
}

inline double dot(const double *x, const double *y, int64_t n) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

/// y += factor x.
inline void add_scaled(double factor, const double *x, int64_t n, double *y) {
  for (int64_t i = 0; i < n; ++i) y[i] += factor * x[i];
}

inline double sum_of_squares(const double *x, int64_t n) { return dot(x, x, n); }

}  // namespace gdn::reference

#endif  // GDN_REFERENCE_FUNCTIONS_H_
