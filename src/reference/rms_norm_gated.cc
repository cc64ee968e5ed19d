#include <cmath>
#include <vector>

#include "reference/access.h"
#include "reference/functions.h"
#include "reference/operations.h"
#include "reference/rows.h"

namespace gdn::reference {

void rms_norm_gated(const RmsNormGated &p, int32_t) {
  const int64_t width = p.x.shape[4];
  std::vector<double> row(static_cast<size_t>(width));
  for_each_row(p.x, [&](int64_t i0, int64_t i1, int64_t i2, int64_t i3) {
    load_row(p.x, p.x.offset(i0, i1, i2, i3), p.x.stride[4], width, row.data());
    const double mean = sum_of_squares(row.data(), width) / static_cast<double>(width);
    const double norm = std::sqrt(mean + p.eps);
    for (int64_t d = 0; d < width; ++d) {
      double &e = row[static_cast<size_t>(d)];
      e = e / norm * load_or(p.weight, p.weight.offset(d), 1.0);
      if (!p.z.present()) continue;
      const double z = load(p.z, p.z.offset(i0, i1, i2, i3, d));
      e *= p.sigmoid_gate ? sigmoid(z) : silu(z);
    }
    store_row(p.y, p.y.offset(i0, i1, i2, i3), p.y.stride[4], width, row.data());
  });
}

}  // namespace gdn::reference
