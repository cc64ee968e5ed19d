#ifndef GDN_REFERENCE_CAUSAL_CONV1D_H_
#define GDN_REFERENCE_CAUSAL_CONV1D_H_

#include <vector>

#include "reference/access.h"
#include "reference/functions.h"

namespace gdn::reference {

/// act(bias + sum_w weight[c, w] x[t - W + 1 + w]) where x[t] is line[newest]; the line holds at
/// least W - 1 earlier inputs.
inline double convolve(const Tensor &weight, const Tensor &bias, bool use_silu, int64_t c,
                       const std::vector<double> &line, int64_t newest) {
  const int64_t width = weight.shape[1];
  double sum = load_or(bias, bias.offset(c), 0.0);
  for (int64_t w = 0; w < width; ++w) {
    sum += load(weight, weight.offset(c, w)) * line[static_cast<size_t>(newest - width + 1 + w)];
  }
  return use_silu ? silu(sum) : sum;
}

}  // namespace gdn::reference

#endif  // GDN_REFERENCE_CAUSAL_CONV1D_H_
