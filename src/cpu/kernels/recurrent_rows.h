#ifndef GDN_CPU_KERNELS_RECURRENT_ROWS_H_
#define GDN_CPU_KERNELS_RECURRENT_ROWS_H_

// What a step of the recurrence works on: a token, and rows of a state. Include GDN_TILE, gates.h
// and row_norm.h first.

namespace gdn::cpu::GDN_ISA {
namespace {

/// How a vector of a row is loaded and stored: whole,
struct WholeLanes {
  template <class S>
  Vec load(const S *p) const {
    return GDN_ISA::load(p);
  }
  template <class S>
  void store(S *p, Vec v) const {
    GDN_ISA::store(p, v);
  }
};

/// or its first lanes.
struct FirstLanes {
  int64_t count;

  template <class S>
  Vec load(const S *p) const {
    return load_n(p, count);
  }
  template <class S>
  void store(S *p, Vec v) const {
    store_n(p, v, count);
  }
};

/// Calls f(offset, WholeLanes or FirstLanes) for vectors that cover n elements.
template <class F>
inline void for_each_lanes(int64_t n, F &&f) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) f(i, WholeLanes());
  if (i < n) f(i, FirstLanes{n - i});
}

/// Upper bound of DK.
constexpr int64_t kMaxKeyDim = 256;
/// Value columns of a step at most: what the second pass finds in the cache is bounded by it.
constexpr int64_t kMaxColumns = 256;

/// A token as f32, l2norm and scale applied; q and k are 0 from DK up to a whole Vec.
struct RecurrentToken {
  alignas(64) float q[kMaxKeyDim];
  alignas(64) float k[kMaxKeyDim];
  Decay decay;
  float beta;
};

/// From rows q and k of `key_dim` elements of any type.
template <class E>
inline void prepare_token(const E *q, const E *k, int64_t key_dim, bool l2norm, float scale,
                          RecurrentToken *token) {
  RowNorm q_norm = {1.0F, 1.0F};
  RowNorm k_norm = {1.0F, 1.0F};
  if (l2norm) {
    q_norm = l2norm_of(q, key_dim);
    k_norm = l2norm_of(k, key_dim);
  }
  const Vec q_factor = set1(scale * q_norm.factor);
  const Vec k_factor = set1(k_norm.factor);
  for_each_vec(key_dim, [&](int64_t d, int64_t lanes) {
    store(token->q + d, q_factor * (set1(q_norm.shrink) * load_n(q + d, lanes)));
    store(token->k + d, k_factor * (set1(k_norm.shrink) * load_n(k + d, lanes)));
  });
}

/// Rows whose stride is `stride` elements.
template <class S>
struct Rows {
  S *data;
  int64_t stride;

  Rows from(int64_t i) const { return {data + i * stride, stride}; }
};

/// Rows and elements of each of some columns' part of a state.
struct Extent {
  int64_t rows;
  int64_t width;
};

/// Copies rows between a tensor and a block, converting.
template <class X, class Y>
inline void copy_rows(Rows<X> x, Rows<Y> y, Extent extent) {
  for (int64_t i = 0; i < extent.rows; ++i) {
    convert_row(x.data + i * x.stride, extent.width, y.data + i * y.stride);
  }
}

/// Rounds rows to the type S.
template <class S>
inline void round_rows(Rows<float> x, Extent extent) {
  if constexpr (sizeof(S) < sizeof(float)) {
    for (int64_t i = 0; i < extent.rows; ++i) {
      float *row = x.data + i * x.stride;
      for_each_vec(extent.width, [&](int64_t j, int64_t lanes) {
        S stored[kWidth];
        store_n(stored, load_n(row + j, lanes), lanes);
        store_n(row + j, load_n(stored, lanes), lanes);
      });
    }
  }
}

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_RECURRENT_ROWS_H_
