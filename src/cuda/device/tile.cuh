#ifndef GDN_CUDA_DEVICE_TILE_CUH_
#define GDN_CUDA_DEVICE_TILE_CUH_

#include "cuda/device/element.cuh"

namespace gdn::cuda {

// Warp-level products of 16 x 16 tiles. Accumulators are pairs of 16 x 8 fragments in the layout of
// mma.m16n8: thread (r = lane / 4, c = lane % 4) holds (r, 2c), (r, 2c + 1), (r + 8, 2c),
// (r + 8, 2c + 1). 16-bit types multiply on the tensor cores and add in f32; f32 uses plain fused
// multiply-adds, so that no product is rounded below f32.

/// Elements between rows of a shared-memory tile with `columns` columns: rows shift by 16 bytes
/// against the banks, which keeps ldmatrix and float4 reads free of conflicts.
template <class E>
__host__ __device__ constexpr int padded(int columns) {
  return columns + 16 / static_cast<int>(sizeof(E));
}

/// Left operand of a product, 16 x 16.
template <class E>
struct LeftTile {
  uint32_t r[4];
};
template <>
struct LeftTile<float> {
  float row[2][16];  ///< Rows r and r + 8, whole.
};

/// A left operand in two parts: rounded to E, and what that left.
template <class E>
struct TwoTiles {
  LeftTile<E> high, low;
};

__device__ __forceinline__ uint32_t shared_address(const void *p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

__device__ __forceinline__ void ldmatrix(uint32_t (&r)[4], const void *p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(p))
               : "memory");
}

__device__ __forceinline__ void ldmatrix_trans(uint32_t (&r)[4], const void *p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(p))
               : "memory");
}

/// Transposes an 8 x 8 block of 16-bit elements, two a lane, within a warp.
__device__ __forceinline__ uint32_t transpose8(uint32_t x) {
  uint32_t y;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
  return y;
}

template <class E>
__device__ __forceinline__ void mma16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                         uint32_t b1);
template <>
__device__ __forceinline__ void mma16816<bf16>(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                               uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void mma16816<f16>(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                              uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// A left operand out of accumulators (columns 0..7 and 8..15), rounded to E.
template <class E>
__device__ __forceinline__ void left_from_accumulators(LeftTile<E> &a, const float (&c0)[4],
                                                       const float (&c1)[4]) {
  if constexpr (sizeof(E) == 2) {
    a.r[0] = pack2<E>(c0[0], c0[1]);
    a.r[1] = pack2<E>(c0[2], c0[3]);
    a.r[2] = pack2<E>(c1[0], c1[1]);
    a.r[3] = pack2<E>(c1[2], c1[3]);
  } else {
    // The four threads of a row exchange their elements.
#pragma unroll
    for (int k = 0; k < 16; ++k) {
      const float *c = k < 8 ? c0 : c1;
      const int owner = (k & 7) >> 1;
      a.row[0][k] = __shfl_sync(0xffffffffu, c[k & 1], owner, 4);
      a.row[1][k] = __shfl_sync(0xffffffffu, c[2 + (k & 1)], owner, 4);
    }
  }
}

/// A left operand from shared memory, stored [m][k].
template <class E>
__device__ __forceinline__ void left_from_shared(LeftTile<E> &a, const E *p, int ld, int lane) {
  if constexpr (sizeof(E) == 2) {
    ldmatrix(a.r, p + (lane & 15) * ld + (lane >> 4) * 8);
  } else {
#pragma unroll
    for (int k = 0; k < 16; k += 4) {
      const float4 x = *reinterpret_cast<const float4 *>(p + (lane >> 2) * ld + k);
      const float4 y = *reinterpret_cast<const float4 *>(p + ((lane >> 2) + 8) * ld + k);
      a.row[0][k] = x.x, a.row[0][k + 1] = x.y, a.row[0][k + 2] = x.z, a.row[0][k + 3] = x.w;
      a.row[1][k] = y.x, a.row[1][k + 1] = y.y, a.row[1][k + 2] = y.z, a.row[1][k + 3] = y.w;
    }
  }
}

/// How a right operand [k, n] lies in shared memory.
enum class Right { n_major, k_major };  // n_major: [n][k]; k_major: [k][n].

/// A 16 x 16 right operand of 16-bit elements: k x n fragments (b[0], b[1]) and (b[2], b[3]).
template <Right kLayout, class E>
__device__ __forceinline__ void load_right(uint32_t (&b)[4], const E *p, int ld, int lane) {
  if constexpr (kLayout == Right::n_major) {
    ldmatrix(b, p + ((lane >> 4) * 8 + (lane & 7)) * ld + ((lane >> 3) & 1) * 8);
  } else {
    ldmatrix_trans(b, p + (lane & 15) * ld + (lane >> 4) * 8);
  }
}

/// (c0, c1)[16, 16] += a[16, 16] b[16, 16]; p: the tile's first element.
template <Right kLayout, class E>
__device__ __forceinline__ void multiply_add(float (&c0)[4], float (&c1)[4], const LeftTile<E> &a,
                                             const E *p, int ld, int lane) {
  if constexpr (sizeof(E) == 2) {
    uint32_t b[4];
    load_right<kLayout>(b, p, ld, lane);
    mma16816<E>(c0, a.r, b[0], b[1]);
    mma16816<E>(c1, a.r, b[2], b[3]);
  } else {
    const int n = (lane & 3) * 2;
    if constexpr (kLayout == Right::n_major) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        float(&c)[4] = j == 0 ? c0 : c1;
        const float *row = p + (n + 8 * j) * ld;
#pragma unroll
        for (int k = 0; k < 16; k += 4) {
          const float4 x = *reinterpret_cast<const float4 *>(row + k);
          const float4 y = *reinterpret_cast<const float4 *>(row + ld + k);
          const float bx[4] = {x.x, x.y, x.z, x.w};
          const float by[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            c[0] = fmaf(a.row[0][k + i], bx[i], c[0]);
            c[1] = fmaf(a.row[0][k + i], by[i], c[1]);
            c[2] = fmaf(a.row[1][k + i], bx[i], c[2]);
            c[3] = fmaf(a.row[1][k + i], by[i], c[3]);
          }
        }
      }
    } else {
#pragma unroll
      for (int k = 0; k < 16; ++k) {
        const float2 x = *reinterpret_cast<const float2 *>(p + k * ld + n);
        const float2 y = *reinterpret_cast<const float2 *>(p + k * ld + n + 8);
        c0[0] = fmaf(a.row[0][k], x.x, c0[0]);
        c0[1] = fmaf(a.row[0][k], x.y, c0[1]);
        c0[2] = fmaf(a.row[1][k], x.x, c0[2]);
        c0[3] = fmaf(a.row[1][k], x.y, c0[3]);
        c1[0] = fmaf(a.row[0][k], y.x, c1[0]);
        c1[1] = fmaf(a.row[0][k], y.y, c1[1]);
        c1[2] = fmaf(a.row[1][k], y.x, c1[2]);
        c1[3] = fmaf(a.row[1][k], y.y, c1[3]);
      }
    }
  }
}

/// The same with a left operand in two parts; the right one is read once.
template <Right kLayout, class E>
__device__ __forceinline__ void multiply_add(float (&c0)[4], float (&c1)[4], const TwoTiles<E> &a,
                                             const E *p, int ld, int lane) {
  uint32_t b[4];
  load_right<kLayout>(b, p, ld, lane);
  mma16816<E>(c0, a.high.r, b[0], b[1]);
  mma16816<E>(c1, a.high.r, b[2], b[3]);
  mma16816<E>(c0, a.low.r, b[0], b[1]);
  mma16816<E>(c1, a.low.r, b[2], b[3]);
}

/// Accumulator pair of a 16 x 16 tile that lies transposed ([column][row]) in shared memory.
template <class E>
__device__ __forceinline__ void accumulators_from_transposed(float (&c0)[4], float (&c1)[4],
                                                             const E *p, int ld, int lane) {
  if constexpr (sizeof(E) == 2) {
    uint32_t r[4];
    ldmatrix_trans(r, p + ((lane >> 4) * 8 + (lane & 7)) * ld + ((lane >> 3) & 1) * 8);
    const float2 a = unpack2<E>(r[0]), b = unpack2<E>(r[1]), c = unpack2<E>(r[2]),
                 d = unpack2<E>(r[3]);
    c0[0] = a.x, c0[1] = a.y, c0[2] = b.x, c0[3] = b.y;
    c1[0] = c.x, c1[1] = c.y, c1[2] = d.x, c1[3] = d.y;
  } else {
    const int row = lane >> 2, column = (lane & 3) * 2;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      c0[e] = p[(column + (e & 1)) * ld + row + (e >> 1) * 8];
      c1[e] = p[(column + 8 + (e & 1)) * ld + row + (e >> 1) * 8];
    }
  }
}

/// Writes a 16 x 16 unit of accumulators to a tile, rounded to E.
template <class E>
__device__ __forceinline__ void store_unit(E *tile, int ld, const float (&c)[2][4], int lane) {
#pragma unroll
  for (int j = 0; j < 2; ++j) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      E *const to = tile + ((lane >> 2) + half * 8) * ld + j * 8 + (lane & 3) * 2;
      if constexpr (sizeof(E) == 2) {
        *reinterpret_cast<uint32_t *>(to) = pack2<E>(c[j][2 * half], c[j][2 * half + 1]);
      } else {
        *reinterpret_cast<float2 *>(to) = make_float2(c[j][2 * half], c[j][2 * half + 1]);
      }
    }
  }
}

/// Writes a 16 x 16 left operand transposed: element (row, column) to p[column * ld + row].
template <class E>
__device__ __forceinline__ void store_transposed(E *p, int ld, const LeftTile<E> &a, int lane) {
#if __CUDA_ARCH__ >= 900
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(
                   shared_address(p + ((lane >> 4) * 8 + (lane & 7)) * ld + (lane & 8))),
               "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3])
               : "memory");
#else
  E *const to = p + (lane >> 2) * ld + (lane & 3) * 2;
  *reinterpret_cast<uint32_t *>(to) = transpose8(a.r[0]);
  *reinterpret_cast<uint32_t *>(to + 8) = transpose8(a.r[1]);
  *reinterpret_cast<uint32_t *>(to + 8 * ld) = transpose8(a.r[2]);
  *reinterpret_cast<uint32_t *>(to + 8 * ld + 8) = transpose8(a.r[3]);
#endif
}

/// Writes a 16 x 8 accumulator fragment transposed: element (row, column) to p[column * ld + row].
template <class E>
__device__ __forceinline__ void store_transposed(E *p, int ld, const float (&c)[4], int lane) {
  const int row = lane >> 2, column = (lane & 3) * 2;
  if constexpr (sizeof(E) == 2) {
    uint32_t *const to = reinterpret_cast<uint32_t *>(p + row * ld + column);
    to[0] = transpose8(pack2<E>(c[0], c[1]));
    to[4] = transpose8(pack2<E>(c[2], c[3]));
  } else {
#pragma unroll
    for (int e = 0; e < 4; ++e) p[(column + (e & 1)) * ld + row + (e >> 1) * 8] = c[e];
  }
}

}  // namespace gdn::cuda

#endif  // GDN_CUDA_DEVICE_TILE_CUH_
