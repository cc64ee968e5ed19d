#include "cuda/sm80/device/rows.cuh"
#include "cuda/sm80/kernels.h"

namespace gdn::cuda::sm80 {
namespace {

template <class D, class E, bool kWhole>
__global__ void __launch_bounds__(kRowThreads)
    rms_norm_gated_kernel(const __grid_constant__ RmsNormGated p,
                          const __grid_constant__ RowPlan plan) {
  const int64_t width = p.x.shape[4];
  const int first = static_cast<int>(threadIdx.x % D::kLanes) * kVector;
  const E *x[D::kRows], *z[D::kRows];
  E *y[D::kRows];
  find_rows<D>(x, p.x, plan);
  find_rows<D>(z, p.z, plan);
  find_rows<D>(y, p.y, plan);
  // Short rows: gates are on their way beside the elements, and the weight serves all rows.
  constexpr bool kAhead = D::kRows > 1;
  Eight<E, kWhole> gates[D::kRows];
  float weight[kVector];
  const auto load_weight = [&](int64_t d) {
    uint32_t bits[kVector];
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const bool in = p.weight.present() && d + i < width;
      bits[i] = in ? load_bits(p.weight, p.weight.offset(d + i)) : 0;
    }
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      weight[i] = p.weight.present() ? from_bits(p.weight.dtype, bits[i]) : 1.0F;
    }
  };
  const auto load_ahead = [&] {
    if constexpr (kAhead) {
#pragma unroll
      for (int r = 0; r < D::kRows; ++r) gates[r].load(z[r], first, z[r] != nullptr ? width : 0);
      load_weight(first);
    }
  };
  normalize<D, kWhole>(x, width, 1.0F / static_cast<float>(width), p.eps, load_ahead,
                       [&](int r, int64_t d, float(&e)[kVector]) {
                         if constexpr (!kAhead) {
                           gates[r].load(z[r], d, z[r] != nullptr ? width : 0);
                           load_weight(d);
                         }
                         float gate[kVector];
                         gates[r].values(gate);
#pragma unroll
                         for (int i = 0; i < kVector; ++i) {
                           e[i] *= weight[i];
                           if (!p.z.present()) continue;
                           e[i] *= p.sigmoid_gate ? sigmoid(gate[i]) : silu(gate[i]);
                         }
                         store_row<kWhole>(y[r], e, d, width);
                       });
}

}  // namespace

Status rms_norm_gated(const RmsNormGated &p, const Launch &l) {
  const RowPlan plan = plan_rows(p.x, p.y, p.z.present() ? &p.z : nullptr);
  return for_rows(p.x, plan, [&](auto deal, auto element, auto whole, int64_t blocks) {
    return launch<rms_norm_gated_kernel<decltype(deal), decltype(element), whole>>(
        "rms_norm_gated", l, blocks, kRowThreads, 0, p, plan);
  });
}

}  // namespace gdn::cuda::sm80
