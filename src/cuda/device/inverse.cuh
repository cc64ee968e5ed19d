#ifndef GDN_CUDA_DEVICE_INVERSE_CUH_
#define GDN_CUDA_DEVICE_INVERSE_CUH_

#include "cuda/device/functions.cuh"

namespace gdn::cuda {

// T = (I + A)^-1 of a strictly lower triangular 32 x 32 matrix in f32, by one warp, without the
// tensor cores. Blocks of 16 x 16: T = [T11 0; T21 T22] with T21 = -T22 (A21 T11).

constexpr int kInverseLd = 36;  ///< Floats between columns of A: float4 reads stay aligned.

/// out[0..7] += sign * sum over k of row k of a 16 x 8 block (rows kInverseLd floats apart) times
/// z(k). Operands are fetched two steps ahead: ptxas would load each right before its use.
template <class Z>
__device__ __forceinline__ void multiply_block(float (&out)[8], const float *block, float sign,
                                               Z z_of) {
  constexpr int kAhead = 2, kSlots = kAhead + 1;
  float4 f[kSlots], g[kSlots];
  float z[kSlots];
#pragma unroll
  for (int k = 0; k < 16 + kAhead; ++k) {
    if (k < 16) {
      f[k % kSlots] = *reinterpret_cast<const float4 *>(block + k * kInverseLd);
      g[k % kSlots] = *reinterpret_cast<const float4 *>(block + k * kInverseLd + 4);
      z[k % kSlots] = z_of(k);
    }
    if (k >= kAhead) {
      const float4 p = f[(k - kAhead) % kSlots], q = g[(k - kAhead) % kSlots];
      const float v = sign * z[(k - kAhead) % kSlots];
      out[0] += p.x * v;
      out[1] += p.y * v;
      out[2] += p.z * v;
      out[3] += p.w * v;
      out[4] += q.x * v;
      out[5] += q.y * v;
      out[6] += q.z * v;
      out[7] += q.w * v;
    }
  }
}

/// a[c][r] = A[r, c] for r > c; the rest of `a` is ignored. Lane (h, c) = (lane / 16, lane % 16)
/// gets y = column c of Thh, by forward substitution.
__device__ __forceinline__ void invert_diagonal(const float (*a)[kInverseLd], int lane,
                                                float (&y)[16]) {
  const int h = lane >> 4, c = lane & 15;
#pragma unroll
  for (int i = 0; i < 16; ++i) y[i] = i == c ? 1.0F : 0.0F;
  const float *diagonal = &a[16 * h][16 * h];
#pragma unroll
  for (int j = 0; j < 15; ++j) {
#pragma unroll
    for (int i4 = (j + 1) / 4; i4 < 4; ++i4) {
      const float4 f = *reinterpret_cast<const float4 *>(diagonal + j * kInverseLd + i4 * 4);
      const float av[4] = {f.x, f.y, f.z, f.w};
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if (i4 * 4 + e > j) y[i4 * 4 + e] -= av[e] * y[j];
      }
    }
  }
}

/// Puts column c of Thh into a[lane][0 .. 15]: T22 above A's diagonal, T11 over its first block.
__device__ __forceinline__ void keep_diagonal(float (*a)[kInverseLd], int lane,
                                              const float (&y)[16]) {
#pragma unroll
  for (int i = 0; i < 16; i += 4) {
    *reinterpret_cast<float4 *>(&a[lane][i]) = make_float4(y[i], y[i + 1], y[i + 2], y[i + 3]);
  }
}

/// r = rows 8 h .. 8 h + 7 of column c of -A21 T11, with t11(k) = T11[k, c].
template <class T11>
__device__ __forceinline__ void multiply_corner(const float (*a)[kInverseLd], int lane,
                                                float (&r)[8], T11 t11) {
#pragma unroll
  for (int i = 0; i < 8; ++i) r[i] = 0.0F;
  multiply_block(r, &a[0][16 + 8 * (lane >> 4)], -1.0F, t11);
}

/// u = the same rows of T21 = T22 r, with T22 kept.
__device__ __forceinline__ void finish_corner(const float (*a)[kInverseLd], int lane, float (&u)[8],
                                              const float (&r)[8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) u[i] = 0.0F;
  multiply_block(u, &a[16][8 * (lane >> 4)], 1.0F, [&](int k) {
    return __shfl_sync(kFullWarp, r[k & 7], (lane & 15) + (k & 8) * 2);
  });
}

}  // namespace gdn::cuda

#endif  // GDN_CUDA_DEVICE_INVERSE_CUH_
