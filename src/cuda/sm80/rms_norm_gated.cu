#include "cuda/sm80/device/rows.cuh"
#include "cuda/sm80/kernels.h"

namespace gdn::cuda::sm80 {
namespace {

constexpr int kGroupsOfBlock = 4;  ///< Most; the weight is fetched once for all of them.

/// Blocks of a multiprocessor, 0: as many as there are registers for. Two do not keep enough rows
/// on their way; past Hopper three would spill.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr int kBlocks = 0;
#else
constexpr int kBlocks = 3;
#endif

/// groups: times kRowsOfBlock rows that a block takes.
template <class D, class E, bool kWhole>
__global__ void __launch_bounds__(kRowThreads, D::kShort &&kWhole && sizeof(E) == 2 ? kBlocks : 0)
    rms_norm_gated_kernel(const __grid_constant__ RmsNormGated p,
                          const __grid_constant__ RowPlan plan, int groups) {
  using Index = typename D::Index;
  const auto width = static_cast<Index>(p.x.shape[4]);
  const int first = static_cast<int>(threadIdx.x % D::kLanes) * kVector;
  float weight[kVector];
  const auto load_weight = [&](Index d) {
    uint32_t bits[kVector];
#pragma unroll
    for (int i = 0; i < kVector; ++i) bits[i] = 0;
    if (p.weight.present()) {
      const int64_t at = p.weight.offset(d);
      if (p.weight.dtype == DType::f32) {
        const auto *const from = static_cast<const uint32_t *>(p.weight.data) + at;
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
          if (d + i < width) bits[i] = from[i * p.weight.stride[0]];
        }
      } else {
        const auto *const from = static_cast<const uint16_t *>(p.weight.data) + at;
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
          if (d + i < width) bits[i] = from[i * p.weight.stride[0]];
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      weight[i] = p.weight.present() ? from_bits(p.weight.dtype, bits[i]) : 1.0F;
    }
  };
  // Short rows: gates are on their way beside the elements, and the weight serves all rows.
  constexpr bool kAhead = D::kShort;
  if constexpr (kAhead) load_weight(first);
#pragma unroll 1
  for (int i = 0; i < groups; ++i) {
    const E *x[D::kRows], *z[D::kRows];
    E *y[D::kRows];
    const int64_t group = static_cast<int64_t>(blockIdx.x) * groups + i;
    find_rows<D>(x, p.x, plan, group);
    find_rows<D>(z, p.z, plan, group);
    find_rows<D>(y, p.y, plan, group);
    Eight<E, kWhole> gates[D::kRows];
    const auto load_gates = [&](int r, Index d) {
      gates[r].load(z[r], d, z[r] != nullptr ? width : 0);
    };
    const auto load_ahead = [&] {
      if constexpr (kAhead) {
#pragma unroll
        for (int r = 0; r < D::kRows; ++r) load_gates(r, first);
      }
    };
    normalize<D, kWhole, kAhead>(x, width, 1.0F / static_cast<float>(width), p.eps, load_ahead,
                                 [&](int r, Index d, float(&e)[kVector]) {
                                   if constexpr (!kAhead) {
                                     load_gates(r, d);
                                     load_weight(d);
                                   }
#pragma unroll
                                   for (int j = 0; j < kVector; ++j) e[j] *= weight[j];
                                   if (p.z.present()) {
                                     float gate[kVector];
                                     gates[r].values(gate);
#pragma unroll
                                     for (int j = 0; j < kVector; ++j) {
                                       e[j] *= output_gate(gate[j], p.sigmoid_gate);
                                     }
                                   }
                                   store_row<kWhole>(y[r], e, d, width);
                                 });
  }
}

}  // namespace

Status rms_norm_gated(const RmsNormGated &p, const Launch &l) {
  const RowPlan plan = plan_rows(p.x, p.y, p.z.present() ? &p.z : nullptr);
  return for_rows(p.x, plan, [&](auto deal, auto element, auto whole, int64_t groups) {
    constexpr int64_t kBlocksEach = 32;  // Several times those that reside at a time.
    const bool many = decltype(deal)::kShort &&
                      groups >= kGroupsOfBlock * kBlocksEach * l.device->multiprocessors;
    const int each = many ? kGroupsOfBlock : 1;
    return launch<rms_norm_gated_kernel<decltype(deal), decltype(element), whole>>(
        "rms_norm_gated", l, (groups + each - 1) / each, kRowThreads, 0, p, plan, each);
  });
}

}  // namespace gdn::cuda::sm80
