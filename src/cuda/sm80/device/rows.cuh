#ifndef GDN_CUDA_SM80_DEVICE_ROWS_CUH_
#define GDN_CUDA_SM80_DEVICE_ROWS_CUH_

#include <type_traits>

#include "cuda/device/functions.cuh"
#include "cuda/launch.h"
#include "cuda/sm80/device/copy.cuh"

// Operations that divide rows by their norm: 16 bytes a lane, sixteen lanes a row up to 128 columns
// and a warp a row above. A thread has several short rows on their way at once. Short rows stay in
// registers between the sum and the result, as do the first columns of long ones; what lies behind
// is read again out of the cache.

namespace gdn::cuda::sm80 {

constexpr int kRowThreads = 256;
constexpr int kVector = 8;  ///< Neighbouring elements of a lane.

/// How rows are dealt out. Decided by the width alone, so that a row's bits depend on nothing else.
template <int kLanesOfRow, int kSpansKept, int kRowsAtOnce>
struct Deal {
  static constexpr bool kShort = kRowsAtOnce > 1;          ///< Rows hold no more than what is kept.
  using Index = std::conditional_t<kShort, int, int64_t>;  ///< Of a column.
  static constexpr int kLanes = kLanesOfRow;
  static constexpr int kSpan = kLanes * kVector;  ///< Columns that the lanes take at once.
  static constexpr int kKept = kSpansKept;        ///< Spans kept in registers.
  static constexpr int kRows = kRowsAtOnce;       ///< Rows of a thread.
  static constexpr int kRowsOfBlock = kRowThreads / kLanes * kRows;
};
using ShortRows = Deal<16, 1, 4>;
using LongRows = Deal<32, 2, 1>;

/// What follows from shapes and alignment. Rank-5 tensors whose rows follow each other with one
/// stride are `flat`.
struct RowPlan {
  int64_t rows;
  bool flat;
  bool whole;  ///< Rows start on 16 bytes and hold a multiple of eight elements.
};

/// True if the leading dimensions are one dimension with one stride.
inline bool is_flat(const Tensor &t) {
  for (int i = 0; i < 3; ++i) {
    if (t.shape[i] > 1 && t.stride[i] != t.shape[i + 1] * t.stride[i + 1]) return false;
  }
  return true;
}

/// Offset of a row of a tensor that is not flat. Its divisions are kept out of the way of the rest.
static __device__ __noinline__ int64_t strided_offset(const Tensor &t, int64_t row) {
  const int64_t i3 = row % t.shape[3];
  row /= t.shape[3];
  const int64_t i2 = row % t.shape[2];
  row /= t.shape[2];
  return t.offset(row / t.shape[1], row % t.shape[1], i2, i3);
}

/// Elements d .. d + 7 of a row as they lie in memory, so that several can be on their way; zeros
/// from `width` on. kWhole: rows start on 16 bytes and hold a multiple of eight elements.
template <class E, bool kWhole>
struct Eight {
  static constexpr int kParts = kVector * static_cast<int>(sizeof(E)) / 16;
  static constexpr int kEach = kVector / kParts;
  uint4 bits[kParts];

  template <class I>
  __device__ __forceinline__ void load(const E *row, I d, I width) {
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      if constexpr (kWhole) {
        bits[i] = d < width ? reinterpret_cast<const uint4 *>(row + d)[i] : make_uint4(0, 0, 0, 0);
      } else {
        float x[kEach];
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
          const I at = d + i * kEach + j;
          x[j] = at < width ? to_float(row[at]) : 0.0F;
        }
        bits[i] = pack16<E>(x);
      }
    }
  }
  __device__ __forceinline__ void values(float (&x)[kVector]) const {
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      float y[kEach];
      unpack16<E>(y, bits[i]);
#pragma unroll
      for (int j = 0; j < kEach; ++j) x[i * kEach + j] = y[j];
    }
  }
  __device__ __forceinline__ float largest(float most) const {
    float x[kVector];
    values(x);
#pragma unroll
    for (int i = 0; i < kVector; ++i) most = fmaxf(most, fabsf(x[i]));
    return most;
  }
};

template <bool kWhole, class E, class I>
__device__ __forceinline__ void store_row(E *row, const float (&x)[kVector], I d, I width) {
  constexpr int kEach = Eight<E, kWhole>::kEach;
#pragma unroll
  for (int i = 0; i < kVector; i += kEach) {
    float y[kEach];
#pragma unroll
    for (int j = 0; j < kEach; ++j) y[j] = x[i + j];
    if constexpr (kWhole) {
      *reinterpret_cast<uint4 *>(row + d + i) = pack16<E>(y);
    } else {
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        if (d + i + j < width) row[d + i + j] = from_float<E>(y[j]);
      }
    }
  }
}

/// Sums of squares outside of these are far from what f32 holds.
constexpr float kFarAbove = 0x1p100F, kFarBelow = 0x1p-100F;

/// Calls finish(r, d, x) for eight elements of row rows[r] at a time with x = norm * element, where
/// norm = rsqrt(factor * sum of squares + eps), whatever finite size the elements have. Rows that
/// are null are left out. kSumsFirst: all norms are found before the first result, which pays where
/// results take long. meanwhile() runs while the first elements are on their way.
template <class D, bool kWhole, bool kSumsFirst, class E, class G, class F>
__device__ __forceinline__ void normalize(const E *const (&rows)[D::kRows], typename D::Index width,
                                          float factor, float eps, G meanwhile, F finish) {
  using Index = typename D::Index;
  const int first = static_cast<int>(threadIdx.x % D::kLanes) * kVector;
  Eight<E, kWhole> kept[D::kRows][D::kKept];
#pragma unroll
  for (int r = 0; r < D::kRows; ++r) {
#pragma unroll
    for (int s = 0; s < D::kKept; ++s) {
      kept[r][s].load(rows[r], static_cast<Index>(s * D::kSpan + first),
                      rows[r] != nullptr ? width : 0);
    }
  }
  meanwhile();
  const auto over_lanes = [](float x, auto both) {
#pragma unroll
    for (int i = D::kLanes / 2; i > 0; i /= 2) x = both(x, __shfl_xor_sync(kFullWarp, x, i));
    return x;
  };
  /// Calls f with the elements of row r, eight at a time.
  const auto for_each_eight = [&](int r, auto f) {
    const Index end = rows[r] != nullptr ? width : 0;
#pragma unroll
    for (int s = 0; s < D::kKept; ++s) f(kept[r][s], static_cast<Index>(s * D::kSpan + first), end);
    if constexpr (!D::kShort) {
      Eight<E, kWhole> more;
      for (Index d = D::kKept * D::kSpan + first; d < end; d += D::kSpan) {
        more.load(rows[r], d, width);
        f(more, d, end);
      }
    }
  };
  const auto sum_of = [&](int r, float scale) {
    float sum = 0.0F;
    for_each_eight(r, [&](const Eight<E, kWhole> &eight, Index, Index) {
      float x[kVector];
      eight.values(x);
#pragma unroll
      for (int i = 0; i < kVector; ++i) sum = fmaf(x[i] * scale, x[i] * scale, sum);
    });
    return over_lanes(sum, [](float a, float b) { return a + b; });
  };
  float norms[D::kRows], scales[D::kRows];
  const auto find = [&](int r) {
    float scale = 1.0F, mean = factor * sum_of(r, 1.0F) + eps;
    // Squares leave f32's range long before elements do: such a row takes a power of two.
    const bool far = !(mean <= kFarAbove) || mean < kFarBelow;
    if (__any_sync(kFullWarp, far)) {
      float most = 0.0F;
      for_each_eight(
          r, [&](const Eight<E, kWhole> &eight, Index, Index) { most = eight.largest(most); });
      most = over_lanes(most, [](float x, float y) { return fmaxf(x, y); });
      if (far && most > 0.0F) scale = row_scale<100>(most);
      mean = factor * sum_of(r, scale) + eps * scale * scale;
    }
    norms[r] = rsqrtf(mean);
    scales[r] = scale;
  };
  const auto give = [&](int r) {
    for_each_eight(r, [&](const Eight<E, kWhole> &eight, Index d, Index end) {
      if (d >= end) return;
      float x[kVector];
      eight.values(x);
      if (scales[r] != 1.0F) {
#pragma unroll
        for (int i = 0; i < kVector; ++i) x[i] *= scales[r];
      }
#pragma unroll
      for (int i = 0; i < kVector; ++i) x[i] *= norms[r];
      finish(r, d, x);
    });
  };
#pragma unroll
  for (int r = 0; r < D::kRows; ++r) {
    find(r);
    if constexpr (!kSumsFirst) give(r);
  }
#pragma unroll
  for (int r = 0; r < D::kRows; ++r) {
    if constexpr (kSumsFirst) give(r);
  }
}

/// The rows of a thread; null past the last one. Neighbouring groups of lanes have neighbouring
/// rows. group: number of the kRowsOfBlock rows among those of the call.
template <class D, class E>
__device__ __forceinline__ void find_rows(E *(&rows)[D::kRows], const Tensor &t,
                                          const RowPlan &plan, int64_t group) {
  constexpr int kStep = kRowThreads / D::kLanes;  // Rows from one of a thread to its next.
  const int64_t first = group * D::kRowsOfBlock + threadIdx.x / D::kLanes;
  const auto left = static_cast<int>(min(plan.rows - first, int64_t{D::kRowsOfBlock}));
#pragma unroll
  for (int r = 0; r < D::kRows; ++r) rows[r] = nullptr;
  if (!t.present()) return;
  E *const data = static_cast<E *>(t.data);
  if (plan.flat) {
    E *const row = data + first * t.stride[3];
    const int64_t step = kStep * t.stride[3];
#pragma unroll
    for (int r = 0; r < D::kRows; ++r) {
      if (r * kStep < left) rows[r] = row + r * step;
    }
  } else {
#pragma unroll
    for (int r = 0; r < D::kRows; ++r) {
      if (r * kStep < left) rows[r] = data + strided_offset(t, first + r * kStep);
    }
  }
}

/// z may be null.
inline RowPlan plan_rows(const Tensor &x, const Tensor &y, const Tensor *z) {
  RowPlan plan;
  plan.rows = x.shape[0] * x.shape[1] * x.shape[2] * x.shape[3];
  plan.flat = is_flat(x) && is_flat(y) && (z == nullptr || is_flat(*z));
  plan.whole = x.shape[4] % kVector == 0 && rows_aligned(x) && rows_aligned(y) &&
               (z == nullptr || rows_aligned(*z));
  return plan;
}

/// Calls f(deal, element, whole, groups) with how the rows of x are dealt out, an element of their
/// type, RowPlan::whole as a constant, and how many times kRowsOfBlock rows there are.
template <class F>
Status for_rows(const Tensor &x, const RowPlan &plan, F f) {
  const auto with_deal = [&](auto deal, auto element) {
    constexpr int64_t kRows = decltype(deal)::kRowsOfBlock;
    const int64_t groups = (plan.rows + kRows - 1) / kRows;
    return plan.whole ? f(deal, element, std::true_type(), groups)
                      : f(deal, element, std::false_type(), groups);
  };
  return for_type(x.dtype, [&](auto element) {
    return x.shape[4] <= ShortRows::kSpan ? with_deal(ShortRows(), element)
                                          : with_deal(LongRows(), element);
  });
}

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_ROWS_CUH_
