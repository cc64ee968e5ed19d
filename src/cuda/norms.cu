#include "cuda/device/copy.cuh"
#include "cuda/device/functions.cuh"
#include "cuda/launch.h"
#include "cuda/operations.h"

// l2norm and rms_norm_gated: a warp a row, four neighbouring elements a lane and 128 columns, in
// one access where alignment allows it. The first 512 columns stay in registers between the sum and
// the result; what lies behind is read again out of the cache.

namespace gdn::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kSpan = 128;  ///< Columns a warp takes at once.
constexpr int kKept = 4;    ///< Spans kept in registers.

/// What follows from shapes and alignment. Rank-5 tensors whose rows follow each other with one
/// stride are `flat`.
struct RowPlan {
  int64_t rows;
  bool flat;
  bool aligned;
};

/// True if the leading dimensions are one dimension with one stride.
bool is_flat(const Tensor &t) {
  for (int i = 0; i < 3; ++i) {
    if (t.shape[i] > 1 && t.stride[i] != t.shape[i + 1] * t.stride[i + 1]) return false;
  }
  return true;
}

__device__ __forceinline__ int64_t row_offset(const Tensor &t, const RowPlan &plan, int64_t row) {
  if (plan.flat) return row * t.stride[3];
  const int64_t i3 = row % t.shape[3];
  row /= t.shape[3];
  const int64_t i2 = row % t.shape[2];
  row /= t.shape[2];
  return t.offset(row / t.shape[1], row % t.shape[1], i2, i3);
}

/// Elements d .. d + 3 of a row; zeros from `width` on.
template <class E>
__device__ __forceinline__ void load_row4(float (&x)[4], const E *row, int64_t d, int64_t width,
                                          bool aligned) {
  if (d + 4 <= width) {
    load4(x, row + d, aligned);
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = d + i < width ? to_float(row[d + i]) : 0.0F;
}

template <class E>
__device__ __forceinline__ void store_row4(E *row, const float (&x)[4], int64_t d, int64_t width,
                                           bool aligned) {
  if (d + 4 <= width) {
    store4(row + d, x, aligned);
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (d + i < width) row[d + i] = from_float<E>(x[i]);
  }
}

/// Calls finish(d, x) for each four elements of the row with x = norm * element, where norm =
/// rsqrt(factor * sum of squares + eps).
template <class E, class F>
__device__ __forceinline__ void normalize(const E *row, int64_t width, float factor, float eps,
                                          bool aligned, int lane, F finish) {
  float kept[kKept][4];
  float sum = 0.0F;
  const auto add = [&](const float(&x)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sum = fmaf(x[i], x[i], sum);
  };
#pragma unroll
  for (int s = 0; s < kKept; ++s) {
    if (s * kSpan < width) {
      load_row4(kept[s], row, s * kSpan + lane * 4, width, aligned);
      add(kept[s]);
    }
  }
  for (int64_t d = kKept * kSpan + lane * 4; d < width; d += kSpan) {
    float x[4];
    load_row4(x, row, d, width, aligned);
    add(x);
  }
  const float norm = rsqrtf(factor * warp_sum(sum) + eps);
#pragma unroll
  for (int s = 0; s < kKept; ++s) {
    if (s * kSpan + lane * 4 < width) {
#pragma unroll
      for (int i = 0; i < 4; ++i) kept[s][i] *= norm;
      finish(s * kSpan + lane * 4, kept[s]);
    }
  }
  for (int64_t d = kKept * kSpan + lane * 4; d < width; d += kSpan) {
    float x[4];
    load_row4(x, row, d, width, aligned);
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] *= norm;
    finish(d, x);
  }
}

template <class E>
__global__ void __launch_bounds__(kWarps * 32)
    l2norm_kernel(const __grid_constant__ L2Norm p, const __grid_constant__ RowPlan plan) {
  const int lane = threadIdx.x & 31;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + (threadIdx.x >> 5);
  if (row >= plan.rows) return;
  const int64_t width = p.x.shape[4];
  E *const y = static_cast<E *>(p.y.data) + row_offset(p.y, plan, row);
  normalize(static_cast<const E *>(p.x.data) + row_offset(p.x, plan, row), width, 1.0F, p.eps,
            plan.aligned, lane,
            [&](int64_t d, float(&x)[4]) { store_row4(y, x, d, width, plan.aligned); });
}

template <class E>
__global__ void __launch_bounds__(kWarps * 32)
    rms_norm_gated_kernel(const __grid_constant__ RmsNormGated p,
                          const __grid_constant__ RowPlan plan) {
  const int lane = threadIdx.x & 31;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + (threadIdx.x >> 5);
  if (row >= plan.rows) return;
  const int64_t width = p.x.shape[4];
  E *const y = static_cast<E *>(p.y.data) + row_offset(p.y, plan, row);
  const E *const z =
      p.z.present() ? static_cast<const E *>(p.z.data) + row_offset(p.z, plan, row) : nullptr;
  normalize(static_cast<const E *>(p.x.data) + row_offset(p.x, plan, row), width,
            1.0F / static_cast<float>(width), p.eps, plan.aligned, lane,
            [&](int64_t d, float(&x)[4]) {
              if (p.weight.present()) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                  if (d + i < width) x[i] *= load_any(p.weight, p.weight.offset(d + i));
                }
              }
              if (z != nullptr) {
                float gate[4];
                load_row4(gate, z, d, width, plan.aligned);
#pragma unroll
                for (int i = 0; i < 4; ++i) x[i] *= silu(gate[i]);
              }
              store_row4(y, x, d, width, plan.aligned);
            });
}

RowPlan plan_rows(const Tensor &x, const Tensor &y, const Tensor *z) {
  RowPlan plan;
  plan.rows = x.shape[0] * x.shape[1] * x.shape[2] * x.shape[3];
  plan.flat = is_flat(x) && is_flat(y) && (z == nullptr || is_flat(*z));
  plan.aligned = rows_aligned(x) && rows_aligned(y) && (z == nullptr || rows_aligned(*z));
  return plan;
}

template <class E>
Status launch_l2norm(const L2Norm &p, const Launch &l) {
  const RowPlan plan = plan_rows(p.x, p.y, nullptr);
  return launch<l2norm_kernel<E>>("l2norm", l, (plan.rows + kWarps - 1) / kWarps, kWarps * 32, 0, p,
                                  plan);
}

template <class E>
Status launch_rms_norm_gated(const RmsNormGated &p, const Launch &l) {
  const RowPlan plan = plan_rows(p.x, p.y, p.z.present() ? &p.z : nullptr);
  return launch<rms_norm_gated_kernel<E>>("rms_norm_gated", l, (plan.rows + kWarps - 1) / kWarps,
                                          kWarps * 32, 0, p, plan);
}

}  // namespace

Status l2norm(const L2Norm &p, const Launch &l) {
  switch (p.x.dtype) {
    case DType::f32:
      return launch_l2norm<float>(p, l);
    case DType::bf16:
      return launch_l2norm<bf16>(p, l);
    default:
      return launch_l2norm<f16>(p, l);
  }
}

Status rms_norm_gated(const RmsNormGated &p, const Launch &l) {
  switch (p.x.dtype) {
    case DType::f32:
      return launch_rms_norm_gated<float>(p, l);
    case DType::bf16:
      return launch_rms_norm_gated<bf16>(p, l);
    default:
      return launch_rms_norm_gated<f16>(p, l);
  }
}

}  // namespace gdn::cuda
