#include "cuda/sm80/device/rows.cuh"
#include "cuda/sm80/kernels.h"

namespace gdn::cuda::sm80 {
namespace {

template <class D, class E, bool kWhole>
__global__ void __launch_bounds__(kRowThreads)
    l2norm_kernel(const __grid_constant__ L2Norm p, const __grid_constant__ RowPlan plan) {
  using Index = typename D::Index;
  const auto width = static_cast<Index>(p.x.shape[4]);
  const E *x[D::kRows];
  E *y[D::kRows];
  find_rows<D>(x, p.x, plan, blockIdx.x);
  if constexpr (!D::kShort) find_rows<D>(y, p.y, plan, blockIdx.x);
  const auto find_ahead = [&] {
    if constexpr (D::kShort) find_rows<D>(y, p.y, plan, blockIdx.x);
  };
  normalize<D, kWhole, false>(
      x, width, 1.0F, p.eps, find_ahead,
      [&](int r, Index d, const float(&e)[kVector]) { store_row<kWhole>(y[r], e, d, width); });
}

}  // namespace

Status l2norm(const L2Norm &p, const Launch &l) {
  const RowPlan plan = plan_rows(p.x, p.y, nullptr);
  return for_rows(p.x, plan, [&](auto deal, auto element, auto whole, int64_t groups) {
    return launch<l2norm_kernel<decltype(deal), decltype(element), whole>>("l2norm", l, groups,
                                                                           kRowThreads, 0, p, plan);
  });
}

}  // namespace gdn::cuda::sm80
