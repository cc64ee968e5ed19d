#ifndef GDN_ASCEND_TILE_CUBE_H_
#define GDN_ASCEND_TILE_CUBE_H_

#include "ascend/tile/core.h"

namespace gdn::ascend {

// Fractals of 16-bit elements: 16 rows of 16. In L1 a matrix lies as load_nd2nz leaves it. In L0A
// element (m, k) of A lies in fractal (m / 16) * (K / 16) + k / 16, which holds its rows. In L0B
// element (k, n) of B lies in fractal (k / 16) * (N / 16) + n / 16, which holds its columns.

/// Fractals that a move takes: `count` of them, `stride` apart in L1, one behind the other in L0.
struct Fractals {
  int64_t count;
  int64_t stride;
};

/// MTE1. Fractals as they are: 16 rows of a matrix in L1 become 16 rows of A. E: f16, bf16.
template <class E>
GDN_NPU void load_a(Core &core, L0a<E> to, L1<E> from, Fractals fractals,
                    Where where = Where::current());

/// MTE1. Each fractal turned over: 16 columns of a matrix in L1 become 16 rows of A. E: f16, bf16.
template <class E>
GDN_NPU void load_a_transposed(Core &core, L0a<E> to, L1<E> from, Fractals fractals,
                               Where where = Where::current());

/// MTE1. Fractals as they are: a matrix in L1, all of it, becomes its transpose as B, without a
/// move inside a fractal. E: f16, bf16.
template <class E>
GDN_NPU void load_b(Core &core, L0b<E> to, L1<E> from, Fractals fractals,
                    Where where = Where::current());

/// MTE1. Each fractal turned over: 16 rows of a matrix in L1 become 16 rows of B. E: f16, bf16.
template <class E>
GDN_NPU void load_b_transposed(Core &core, L0b<E> to, L1<E> from, Fractals fractals,
                               Where where = Where::current());

/// How a product adds: to what L0C holds, or to zero.
enum class Sum : uint8_t { fresh, onto };

/// M. C [m, n] (f32, fractals of 16 x 16 as store_nz2nd takes them, `m` rows high) = or += A [m, k]
/// B [k, n]; m, k, n are multiples of 16. E: f16, bf16.
template <class E>
GDN_NPU void mmad(Core &core, L0c c, L0a<E> a, L0b<E> b, int64_t m, int64_t k, int64_t n, Sum sum,
                  Where where = Where::current());

}  // namespace gdn::ascend

#endif  // GDN_ASCEND_TILE_CUBE_H_
