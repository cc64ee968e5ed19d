#ifndef GDN_CPU_KERNELS_RECURRENT_STEPS_H_
#define GDN_CPU_KERNELS_RECURRENT_STEPS_H_

// One token over some value columns of one head's state, for each of the two state layouts. A step
// reads the state twice and writes it once: S^T k must be known whole before S can change. The
// second pass finds it in the cache. Include GDN_TILE and gates.h first.
//
// `source` and `target` may be the same memory. The bits of a column depend neither on the
// columns beside it nor on source and target being f32 tensors or a block on the stack.

namespace gdn::cpu::GDN_ISA {
namespace {

/// Upper bound of DK and DV.
constexpr int64_t kMaxHeadDim = 256;

/// A token as f32, l2norm and scale applied; q and k are 0 from DK up to a whole Vec.
struct RecurrentToken {
  alignas(64) float q[kMaxHeadDim];
  alignas(64) float k[kMaxHeadDim];
  Decay decay;
  float beta;
};

/// Rows whose stride is `stride` elements.
template <class S>
struct Rows {
  S *data;
  int64_t stride;
};

/// State rows are keys: [DK][DV].
struct KeyFirst {
  static constexpr int64_t kBlockColumns = kTileColumns;

  template <class S>
  static Rows<S> rows(const Tensor &t, int64_t slot, int64_t head, int64_t column) {
    return {t.at<S>(slot, head, 0, column), t.stride[2]};
  }

  /// Copies `columns` columns between a tensor and a block, converting.
  template <class X, class Y>
  static void copy(Rows<X> x, Rows<Y> y, int64_t key_dim, int64_t columns) {
    for (int64_t d = 0; d < key_dim; ++d) {
      convert_row(x.data + d * x.stride, columns, y.data + d * y.stride);
    }
  }

  /// v and o hold `columns` elements, readable and writable up to a whole Vec. `ahead` lies where
  /// the state that comes next will be read (or null).
  template <class S>
  static void step(const RecurrentToken &token, int64_t key_dim, int64_t columns, Rows<S> source,
                   Rows<S> target, const S *ahead, const float *v, float *o) {
    alignas(64) float w[kMaxHeadDim];
    const Vec decay = set1(token.decay.whole);
    const Vec kept = set1(token.decay.kept);
    const Vec rest = set1(token.decay.rest);
    const Vec beta = set1(token.beta);
    for (int64_t j = 0; j < columns; j += kWidth) store(w + j, zero());
    for (int64_t d = 0; d < key_dim; d += kTileRows) {
      const S *row = source.data + d * source.stride;
      for_each_vec(columns, [&](int64_t j, int64_t lanes) {
        Vec sum = load(w + j);
        if (lanes == kWidth) {
#pragma GCC unroll 8
          for (int i = 0; i < kTileRows; ++i) {
            sum = fma(set1(token.k[d + i]), load(row + i * source.stride + j), sum);
          }
        } else {
          for (int i = 0; i < kTileRows; ++i) {
            sum = fma(set1(token.k[d + i]), load_n(row + i * source.stride + j, lanes), sum);
          }
        }
        store(w + j, sum);
      });
    }
    for (int64_t j = 0; j < columns; j += kWidth) {
      store(w + j, beta * fnma(decay, load(w + j), load(v + j)));
      store(o + j, zero());
    }
    for (int64_t d = 0; d < key_dim; d += kTileRows) {
      const S *row = source.data + d * source.stride;
      S *out = target.data + d * target.stride;
      const S *next = ahead != nullptr ? ahead + d * source.stride : row;
      for_each_vec(columns, [&](int64_t j, int64_t lanes) {
        const Vec x = load(w + j);
        Vec sum = load(o + j);
        if (lanes == kWidth) {
#pragma GCC unroll 8
          for (int i = 0; i < kTileRows; ++i) {
            prefetch(next + i * source.stride + j);
            const Vec s = load(row + i * source.stride + j);
            const Vec y = fma(set1(token.k[d + i]), x, fma(kept, s, rest * s));
            store(out + i * target.stride + j, y);
            sum = fma(set1(token.q[d + i]), y, sum);
          }
        } else {
          for (int i = 0; i < kTileRows; ++i) {
            const Vec s = load_n(row + i * source.stride + j, lanes);
            const Vec y = fma(set1(token.k[d + i]), x, fma(kept, s, rest * s));
            store_n(out + i * target.stride + j, y, lanes);
            sum = fma(set1(token.q[d + i]), y, sum);
          }
        }
        store(o + j, sum);
      });
    }
  }
};

/// State rows are values: [DV][DK].
struct ValueFirst {
  static constexpr int64_t kBlockColumns = kWidth;

  template <class S>
  static Rows<S> rows(const Tensor &t, int64_t slot, int64_t head, int64_t column) {
    return {t.at<S>(slot, head, 0, column), t.stride[3]};
  }

  template <class X, class Y>
  static void copy(Rows<X> x, Rows<Y> y, int64_t key_dim, int64_t columns) {
    for (int64_t c = 0; c < columns; ++c) {
      convert_row(x.data + c * x.stride, key_dim, y.data + c * y.stride);
    }
  }

  template <class S>
  static void step(const RecurrentToken &token, int64_t key_dim, int64_t columns, Rows<S> source,
                   Rows<S> target, const S *ahead, const float *v, float *o) {
    for (int64_t c = 0; c < columns; c += kWidth) {
      const int64_t rows = columns - c < kWidth ? columns - c : kWidth;
      const S *from = source.data + c * source.stride;
      const S *next = ahead != nullptr ? ahead + c * source.stride : from;
      group(token, key_dim, rows, Rows<const S>{from, source.stride},
            Rows<S>{target.data + c * target.stride, target.stride}, next, v + c, o + c);
    }
  }

 private:
  /// Rows that share the loads of k and q; DV is a multiple.
  static constexpr int kTogether = 4;

  /// Sum over the lanes of each of kWidth vectors, as the lanes of one.
  static Vec reduce_rows(const float *sums) {
    alignas(64) float turned[kWidth * kWidth];
    transpose_square(sums, kWidth, turned, kWidth);
    Vec total = load(turned);
    for (int i = 1; i < kWidth; ++i) total = total + load(turned + i * kWidth);
    return total;
  }

  template <class S>
  static void group(const RecurrentToken &token, int64_t key_dim, int64_t rows,
                    Rows<const S> source, Rows<S> target, const S *ahead, const float *v,
                    float *o) {
    alignas(64) float sums[kWidth * kWidth];
    alignas(64) float w[kWidth];
    const Vec decay = set1(token.decay.whole);
    const Vec kept = set1(token.decay.kept);
    const Vec rest = set1(token.decay.rest);
    for (int i = 0; i < kWidth; ++i) store(sums + i * kWidth, zero());
    for (int64_t r = 0; r < rows; r += kTogether) {
      const S *row = source.data + r * source.stride;
      Vec sum[kTogether];
      for (Vec &s : sum) s = zero();
      for_each_vec(key_dim, [&](int64_t d, int64_t lanes) {
        const Vec k = load(token.k + d);
#pragma GCC unroll 4
        for (int i = 0; i < kTogether; ++i) {
          const S *p = row + i * source.stride + d;
          sum[i] = fma(lanes == kWidth ? load(p) : load_n(p, lanes), k, sum[i]);
        }
      });
      for (int i = 0; i < kTogether; ++i) store(sums + (r + i) * kWidth, sum[i]);
    }
    const Vec values = load_n(v, rows);
    store(w, set1(token.beta) * fnma(decay, reduce_rows(sums), values));
    for (int64_t r = 0; r < rows; r += kTogether) {
      const S *row = source.data + r * source.stride;
      const S *next = ahead + r * source.stride;
      S *out = target.data + r * target.stride;
      Vec sum[kTogether];
      for (Vec &s : sum) s = zero();
      for_each_vec(key_dim, [&](int64_t d, int64_t lanes) {
        const Vec k = load(token.k + d);
        const Vec q = load(token.q + d);
#pragma GCC unroll 4
        for (int i = 0; i < kTogether; ++i) {
          const S *p = row + i * source.stride + d;
          prefetch(next + i * source.stride + d);
          const Vec s = lanes == kWidth ? load(p) : load_n(p, lanes);
          const Vec y = fma(k, set1(w[r + i]), fma(kept, s, rest * s));
          if (lanes == kWidth) {
            store(out + i * target.stride + d, y);
          } else {
            store_n(out + i * target.stride + d, y, lanes);
          }
          sum[i] = fma(q, y, sum[i]);
        }
      });
      for (int i = 0; i < kTogether; ++i) store(sums + (r + i) * kWidth, sum[i]);
    }
    store_n(o, reduce_rows(sums), rows);
  }
};

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_RECURRENT_STEPS_H_
