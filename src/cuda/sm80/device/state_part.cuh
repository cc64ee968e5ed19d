#ifndef GDN_CUDA_SM80_DEVICE_STATE_PART_CUH_
#define GDN_CUDA_SM80_DEVICE_STATE_PART_CUH_

#include <type_traits>

#include "cuda/device/functions.cuh"

namespace gdn::cuda::sm80 {

constexpr int kPartGroups = 16;  ///< Of rows.

/// Multiplication by e^g. A factor near 1 enters as x + x (e^g - 1): rounded itself, it would be
/// off by the same amount at each of thousands of tokens.
struct Decay {
  float factor, keep;  ///< x becomes factor x + keep x; keep is 1 for a factor near 1, else 0.

  __device__ __forceinline__ Decay(float factor_, float keep_) : factor(factor_), keep(keep_) {}
  __device__ __forceinline__ explicit Decay(float g) {
    const bool small = g > -0.5F;
    factor = small ? expm1f(g) : expf(g);
    keep = small ? 1.0F : 0.0F;
  }
  __device__ __forceinline__ bool near_one() const { return keep != 0.0F; }
  /// As apply, one instruction less.
  template <bool kNearOne>
  __device__ __forceinline__ float apply_if(float x) const {
    return kNearOne ? fmaf(x, factor, x) : x * factor;
  }
  __device__ __forceinline__ float apply(float x) const { return fmaf(x, factor, keep * x); }
  /// Calls f with a function that applies the decay, one for factors near 1 and one for others.
  template <class F>
  __device__ __forceinline__ void with_kind(F f) const {
    if (near_one()) {
      f([this](float x) { return apply_if<true>(x); });
    } else {
      f([this](float x) { return apply_if<false>(x); });
    }
  }
};

/// How the pieces of a state are reached. `exact`: in 16 bytes, and DK and DV are multiples of a
/// piece. The next mind the state's last row and column: pieces in 16 bytes, in halves of 8
/// (16-bit types), or element by element. `shared`: as exact, in the block's shared memory.
enum class Access : int { exact, whole, halves, elements, shared };

/// Which of them code is made for: `exact` alone, `bounded` for whole and halves, `any` for all but
/// exact. The more there are the more registers it takes. `split`: halves of a K-first state, the
/// columns of which threads share out by halves, since two accesses that each leave out every other
/// 8 bytes cost twice what two of neighbouring bytes do.
enum class Pieces { exact, bounded, any, split };

/// Rows of a state, and its columns from a thread's first on.
struct Extent {
  int rows, columns;
};

/// 16 bytes of a state. The second-level cache is told to fetch the 256 bytes around them: another
/// block asks for the rest of them soon.
__device__ __forceinline__ uint4 load16_with_neighbours(const void *p) {
  uint4 x;
  asm volatile("ld.global.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "l"(p)
               : "memory");
  return x;
}

/// What kThreads = 16 kPlaces threads hold of a state [DK, DV]: 16 kPlaces bytes of each of its
/// rows as S, so that every access is 16 bytes a thread and whole lines a warp.
///
/// With V = 16 / sizeof(S), a thread owns V columns and, for each of kChunks, V consecutive rows of
/// the 16 V that the groups share. It moves them in pieces of V elements: along DV, or along DK if
/// kRowsFirst (a V-first state). Which rows a thread sums, and in which order, depends on neither
/// kRowsFirst nor kThreads.
///
/// kPacked keeps the elements as they were loaded: half the registers in bf16, and enough where a
/// state is updated once or rounded between its updates.
template <class S, bool kRowsFirst, int kChunks, int kThreads, bool kPacked, Pieces kKind>
class StatePart {
 public:
  static constexpr int kPlaces = kThreads / kPartGroups;  ///< Of columns.
  static constexpr int kVector = 16 / static_cast<int>(sizeof(S));
  static constexpr int kColumns = kPlaces * kVector;
  static constexpr int kKeyDim = kChunks * kPartGroups * kVector;  ///< Most rows.
  static constexpr int kPieces = kChunks * kVector;
  static constexpr bool kSplit = kKind == Pieces::split;
  static_assert(!kSplit || (!kRowsFirst && sizeof(S) == 2));
  /// Whether elements are kept in another form than they are read in: unpacking waits for loads, so
  /// read() leaves it to unpack(), which has to come before anything else.
  static constexpr bool kUnpacks = sizeof(S) == 2 && !kPacked;

  /// Which rows and columns this thread owns: neighbouring threads have neighbouring pieces.
  __device__ __forceinline__ static int group() {
    return kRowsFirst ? threadIdx.x & (kPartGroups - 1) : threadIdx.x / kPlaces;
  }
  __device__ __forceinline__ static int place() {
    return kRowsFirst ? threadIdx.x / kPartGroups : threadIdx.x & (kPlaces - 1);
  }
  /// Column e of this thread, counted from the part's first.
  __device__ __forceinline__ static int column(int e) {
    return kSplit ? offset(e) + place() * 4 : place() * kVector + e;
  }
  /// First row of this thread's part of a chunk.
  __device__ __forceinline__ static int row(int chunk) {
    return (chunk * kPartGroups + group()) * kVector;
  }

  /// How far column e of a thread is from its first.
  __device__ __forceinline__ static constexpr int offset(int e) {
    return kSplit ? e / 4 * 4 * kPlaces + e % 4 : e;
  }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int i = 0; i < kPieces; ++i) keep(i, make_uint4(0, 0, 0, 0));
  }

  /// from: the part's first column of row 0. What lies outside the state becomes 0.
  __device__ __forceinline__ void read(const S *from, int64_t row_stride, int64_t column_stride,
                                       const Extent &extent, Access access) {
    with_access<S>(access, [&](auto how) {
      read_as<decltype(how)::value>(from, row_stride, column_stride, extent);
    });
  }

  /// The same from shared memory, exactly.
  __device__ __forceinline__ void read_shared(const S *from, int row_stride, int column_stride,
                                              const Extent &extent) {
    read_as<Access::shared>(from, row_stride, column_stride, extent);
  }

  __device__ __forceinline__ void unpack() {
    if constexpr (kUnpacks) {
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        uint4 bits = make_uint4(__float_as_uint(x_[i][0]), __float_as_uint(x_[i][1]),
                                __float_as_uint(x_[i][2]), __float_as_uint(x_[i][3]));
        // Here, not where the loads were asked for.
        asm volatile("" : "+r"(bits.x), "+r"(bits.y), "+r"(bits.z), "+r"(bits.w));
        unpack16<S>(x_[i], bits);
      }
    }
  }

  /// The inverse of read, rounding to T.
  template <class T>
  __device__ __forceinline__ void write(T *to, int64_t row_stride, int64_t column_stride,
                                        const Extent &extent, Access access) const {
    with_access<T>(access, [&](auto how) {
      for_each_piece<decltype(how)::value>(
          to, row_stride, column_stride, extent, [&](T *p, int j, int i, int along) {
            store_kept<decltype(how)::value>(p, j * kVector + i, along);
          });
    });
  }

  /// k_sum += S^T k, q_sum += S^T q, over this thread's rows.
  __device__ __forceinline__ void project(float (&k_sum)[kVector], float (&q_sum)[kVector],
                                          const float *k, const float *q) const {
    // Four rows at a time: registers are short.
    constexpr int kQuads = kVector / 4;
#pragma unroll
    for (int j = 0; j < kChunks * kQuads; ++j) {
      const int chunk = j / kQuads, first = j % kQuads * 4;
      const float4 k4 = *reinterpret_cast<const float4 *>(k + row(chunk) + first);
      const float4 q4 = *reinterpret_cast<const float4 *>(q + row(chunk) + first);
      const float kk[4] = {k4.x, k4.y, k4.z, k4.w}, qq[4] = {q4.x, q4.y, q4.z, q4.w};
#pragma unroll
      for (int i = 0; i < (kRowsFirst ? kVector : 4); ++i) {
        float y[kVector];
        values(y, chunk * kVector + (kRowsFirst ? i : first + i));
#pragma unroll
        for (int e = 0; e < (kRowsFirst ? 4 : kVector); ++e) {
          const int r = kRowsFirst ? e : i, c = kRowsFirst ? i : e;
          const float x = y[kRowsFirst ? first + e : e];
          k_sum[c] = fmaf(x, kk[r], k_sum[c]);
          q_sum[c] = fmaf(x, qq[r], q_sum[c]);
        }
      }
    }
  }

  /// Makes the compiler load packed elements' values anew after this: it would else keep those
  /// that project has unpacked, in twice as many registers.
  __device__ __forceinline__ void forget_values() {
    if constexpr (kPacked) {
#pragma unroll
      for (uint4 &x : bits_) asm volatile("" : "+r"(x.x), "+r"(x.y), "+r"(x.z), "+r"(x.w));
    }
  }

  /// S <- e^g S + k v^T, rounded to S where elements are packed.
  __device__ __forceinline__ void update(const Decay &decay, const float *k,
                                         const float (&v)[kVector]) {
    decay.with_kind([&](auto decayed) {
#pragma unroll
      for (int j = 0; j < kChunks; ++j) {
        float kk[kVector];
        load_rows(kk, k + row(j));
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
          if constexpr (kPacked) {
            float y[kVector];
            values(y, j * kVector + i);
            updated(y, i, kk, v, decayed);
            bits_[j * kVector + i] = pack16<S>(y);
          } else {
            updated(x_[j * kVector + i], i, kk, v, decayed);
          }
        }
      }
    });
  }

  /// Rounds to T.
  template <class T>
  __device__ __forceinline__ void round_to() {
    static_assert(!kPacked, "is rounded already");
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
#pragma unroll
      for (int e = 0; e < kVector; ++e) x_[i][e] = to_float(from_float<T>(x_[i][e]));
    }
  }

  /// As update, but into memory.
  __device__ __forceinline__ void update_and_write(const Decay &decay, const float *k,
                                                   const float (&v)[kVector], S *to,
                                                   int64_t row_stride, int64_t column_stride,
                                                   const Extent &extent, Access access) const {
    with_access<S>(access, [&](auto how) {
      update_as<decltype(how)::value>(decay, k, v, to, row_stride, column_stride, extent);
    });
  }

  /// The same to shared memory, exactly.
  __device__ __forceinline__ void update_and_write_shared(const Decay &decay, const float *k,
                                                          const float (&v)[kVector], S *to,
                                                          int row_stride, int column_stride,
                                                          const Extent &extent) const {
    update_as<Access::shared>(decay, k, v, to, row_stride, column_stride, extent);
  }

 private:
  template <Access kHow>
  using HowConstant = std::integral_constant<Access, kHow>;

  /// Calls f with the access as a constant, one that elements of T can have.
  template <class T, class F>
  __device__ __forceinline__ static void with_access(Access access, F f) {
    constexpr bool kHalves = sizeof(T) == 2;
    if constexpr (kKind == Pieces::exact) {
      f(HowConstant<Access::exact>());
    } else if constexpr (kSplit) {
      f(HowConstant<Access::halves>());
    } else if constexpr (!std::is_same_v<S, T>) {
      f(HowConstant<Access::elements>());
    } else if (access <= Access::whole) {
      f(HowConstant<Access::whole>());
    } else if constexpr (kKind == Pieces::bounded) {
      f(HowConstant < kHalves ? Access::halves : Access::whole > ());
    } else if (kHalves && access == Access::halves) {
      f(HowConstant < kHalves ? Access::halves : Access::elements > ());
    } else {
      f(HowConstant<Access::elements>());
    }
  }

  /// Elements of a piece of chunk j that lie inside the state, and pieces of the chunk that do.
  __device__ __forceinline__ static int along(const Extent &extent, int j) {
    return kRowsFirst ? extent.rows - row(j) : extent.columns;
  }
  __device__ __forceinline__ static int across(const Extent &extent, int j) {
    return kRowsFirst ? extent.columns : extent.rows - row(j);
  }

  /// Whether pieces that lie inside do so as a whole.
  template <Access kHow>
  static constexpr bool kWholePieces = kHow == Access::exact || kHow == Access::shared;

  template <Access kHow>
  __device__ __forceinline__ void update_as(const Decay &decay, const float *k,
                                            const float (&v)[kVector], S *to, int64_t row_stride,
                                            int64_t column_stride, const Extent &extent) const {
    decay.with_kind([&](auto decayed) {
      float kk[kVector];
      for_each_piece<kHow>(to, row_stride, column_stride, extent,
                           [&](S *p, int j, int i, int along) {
                             if (i == 0) load_rows(kk, k + row(j));
                             float y[kVector];
                             values(y, j * kVector + i);
                             updated(y, i, kk, v, decayed);
                             store_piece<kHow>(p, y, along);
                           });
    });
  }

  template <Access kHow>
  __device__ __forceinline__ void read_as(const S *from, int64_t row_stride, int64_t column_stride,
                                          const Extent &extent) {
    from += row(0) * row_stride + column(0) * column_stride;
    const int64_t step = kRowsFirst ? column_stride : row_stride;
#pragma unroll
    for (int j = 0; j < kChunks; ++j, from += kPartGroups * kVector * row_stride) {
      if (row(j) >= extent.rows) {
#pragma unroll
        for (int i = 0; i < kVector; ++i) keep(j * kVector + i, make_uint4(0, 0, 0, 0));
        continue;
      }
      const S *p = from;
#pragma unroll
      for (int i = 0; i < kVector; ++i, p += step) {
        const bool in = kWholePieces<kHow> || i < across(extent, j);
        keep(j * kVector + i, in ? load_piece<kHow>(p, along(extent, j)) : make_uint4(0, 0, 0, 0));
      }
    }
  }

  __device__ __forceinline__ static void load_rows(float (&x)[kVector], const float *p) {
#pragma unroll
    for (int i = 0; i < kVector; i += 4) {
      const float4 f = *reinterpret_cast<const float4 *>(p + i);
      x[i] = f.x, x[i + 1] = f.y, x[i + 2] = f.z, x[i + 3] = f.w;
    }
  }

  /// Piece i of a chunk, updated.
  template <class Decayed>
  __device__ __forceinline__ static void updated(float (&y)[kVector], int i,
                                                 const float (&k)[kVector],
                                                 const float (&v)[kVector], Decayed decayed) {
#pragma unroll
    for (int e = 0; e < kVector; ++e) {
      const int r = kRowsFirst ? e : i, c = kRowsFirst ? i : e;
      y[e] = fmaf(k[r], v[c], decayed(y[e]));
    }
  }

  /// f(address, chunk, i, along) for each piece that lies inside the state. Pointers step: ptxas
  /// would otherwise keep an address for each piece.
  template <Access kHow, class T, class F>
  __device__ __forceinline__ static void for_each_piece(T *to, int64_t row_stride,
                                                        int64_t column_stride, const Extent &extent,
                                                        F f) {
    // Opaque: in a loop over tokens addresses would take registers from the state.
    to += opaque(row(0)) * row_stride + opaque(column(0)) * column_stride;
    const int64_t step = kRowsFirst ? column_stride : row_stride;
#pragma unroll
    for (int j = 0; j < kChunks; ++j, to += kPartGroups * kVector * row_stride) {
      if (row(j) >= extent.rows) continue;
      T *p = to;
#pragma unroll
      for (int i = 0; i < kVector; ++i, p += step) {
        if (kWholePieces<kHow> || i < across(extent, j)) f(p, j, i, along(extent, j));
        // Keeps the compiler from making the next pieces' addresses ahead.
        if constexpr (kHow == Access::elements) asm volatile("" : "+l"(p)::"memory");
      }
    }
  }

  /// along: elements of the piece that lie inside.
  template <Access kHow>
  __device__ __forceinline__ static uint4 load_piece(const S *p, int along) {
    if constexpr (kHow == Access::shared) {
      return *reinterpret_cast<const uint4 *>(p);
    } else if constexpr (kHow == Access::exact || kHow == Access::whole) {
      return load16_with_neighbours(p);
    } else if constexpr (kHow == Access::halves) {
      const uint2 a = *reinterpret_cast<const uint2 *>(p);
      const int second = offset(4);
      const uint2 b =
          along > second ? *reinterpret_cast<const uint2 *>(p + second) : make_uint2(0, 0);
      return make_uint4(a.x, a.y, b.x, b.y);
    } else {
      uint32_t x[kVector];
#pragma unroll
      for (int e = 0; e < kVector; ++e) x[e] = e < along ? raw_bits(p + e) : 0;
      if constexpr (sizeof(S) == 4) {
        return make_uint4(x[0], x[1], x[2], x[3]);
      } else {
        return make_uint4(x[0] | x[1] << 16, x[2] | x[3] << 16, x[4] | x[5] << 16,
                          x[6] | x[7] << 16);
      }
    }
  }

  template <Access kHow, class T>
  __device__ __forceinline__ static void store_piece(T *p, const float (&y)[kVector], int along) {
    if constexpr (kHow == Access::shared && kVector == 8) {
      *reinterpret_cast<uint4 *>(p) = pack16<T>(y);
    } else if constexpr (kHow == Access::shared) {
      *reinterpret_cast<float4 *>(p) = make_float4(y[0], y[1], y[2], y[3]);
    } else if constexpr (kHow == Access::elements) {
#pragma unroll
      for (int e = 0; e < kVector; ++e) {
        if (e < along) p[e] = from_float<T>(y[e]);
      }
    } else if constexpr (kHow != Access::halves && kVector == 8 && sizeof(T) == 2) {
      __stcs(reinterpret_cast<uint4 *>(p), pack16<T>(y));
    } else {
#pragma unroll
      for (int e = 0; e < kVector; e += 4) {
        const float part[4] = {y[e], y[e + 1], y[e + 2], y[e + 3]};
        if (kHow == Access::exact || offset(e) < along) store4(p + offset(e), part, true);
      }
    }
  }

  /// A piece as it is kept.
  template <Access kHow, class T>
  __device__ __forceinline__ void store_kept(T *p, int piece, int along) const {
    if constexpr (kPacked && std::is_same_v<S, T> && kHow == Access::exact) {
      __stcs(reinterpret_cast<uint4 *>(p), bits_[piece]);
    } else {
      float y[kVector];
      values(y, piece);
      store_piece<kHow>(p, y, along);
    }
  }

  __device__ __forceinline__ void keep(int piece, const uint4 &bits) {
    if constexpr (kPacked) {
      bits_[piece] = bits;
    } else {
      x_[piece][0] = __uint_as_float(bits.x), x_[piece][1] = __uint_as_float(bits.y);
      x_[piece][2] = __uint_as_float(bits.z), x_[piece][3] = __uint_as_float(bits.w);
    }
  }
  __device__ __forceinline__ void values(float (&y)[kVector], int piece) const {
    if constexpr (kPacked) {
      unpack16<S>(y, bits_[piece]);
    } else {
#pragma unroll
      for (int e = 0; e < kVector; ++e) y[e] = x_[piece][e];
    }
  }

  // One of the two is empty in effect: what is never used costs no register.
  uint4 bits_[kPacked ? kPieces : 1];
  float x_[kPacked ? 1 : kPieces][kVector];
};

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_STATE_PART_CUH_
