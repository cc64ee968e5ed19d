#ifndef GDN_CUDA_SM90_DEVICE_PTX_CUH_
#define GDN_CUDA_SM90_DEVICE_PTX_CUH_

#include <cuda.h>

#include "cuda/device/dependent.cuh"
#include "cuda/device/tile.cuh"

// Thin wrappers of the instructions that the Hopper kernel is made of: mbarriers, the bulk tensor
// copy engine (TMA), warpgroup products (wgmma). PTX ISA 8.0 and later, sm_90a.

namespace gdn::cuda::sm90 {

/// True in one lane of the (converged) warp. Unlike a test of the lane number it makes no loop over
/// lanes around a TMA instruction.
__device__ __forceinline__ bool elect() {
  uint32_t p;
  asm volatile("{.reg .pred p; elect.sync _|p, 0xffffffff; selp.u32 %0, 1, 0, p;}" : "=r"(p));
  return p != 0;
}

/// Makes ordinary writes to shared memory visible to TMA and wgmma.
__device__ __forceinline__ void proxy_fence() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
/// Predicated inside, so that it may stand beside a wgmma in flight.
__device__ __forceinline__ void proxy_fence_if(bool p) {
  asm volatile("{.reg .pred p; setp.ne.b32 p, %0, 0;\n@p fence.proxy.async.shared::cta;}" ::"r"(
                   static_cast<int>(p))
               : "memory");
}

/// A barrier of `threads` threads with a hardware number of its own.
__device__ __forceinline__ void named_barrier(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// ---- mbarriers ----

__device__ __forceinline__ void barrier_init(uint64_t *b, int arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals)
               : "memory");
}
__device__ __forceinline__ void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void arrive(uint64_t *b) {
  asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}

// A warp arrives through one lane (`leader`) once its lanes have met at __syncwarp: release is
// cumulative. racecheck of compute-sanitizer does not follow that, so that a build for it
// (GDN_CUDA_RACECHECK) lets every lane arrive for itself, at barriers that count them all.
#if defined(GDN_CUDA_RACECHECK)
constexpr bool kEveryLaneArrives = true;
#else
constexpr bool kEveryLaneArrives = false;
#endif

__device__ __forceinline__ void barrier_init_warps(uint64_t *b, int warps) {
  barrier_init(b, kEveryLaneArrives ? 32 * warps : warps);
}
__device__ __forceinline__ void arrive_warp(bool leader, uint64_t *b) {
  if (kEveryLaneArrives || leader) arrive(b);
}

/// Predicated inside: a branch while a wgmma is in flight makes ptxas wait for it (C7517).
__device__ __forceinline__ void arrive_if(bool p, uint64_t *b) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %1, 0;\n@p mbarrier.arrive.shared.b64 _, [%0];}" ::"r"(
          shared_address(b)),
      "r"(static_cast<int>(p))
      : "memory");
}
__device__ __forceinline__ void arrive_expect(uint64_t *b, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(b)),
               "r"(bytes)
               : "memory");
}
/// Bytes that the current phase waits for too; no arrival.
__device__ __forceinline__ void expect(uint64_t *b, int bytes) {
  asm volatile("mbarrier.expect_tx.relaxed.cta.shared.b64 [%0], %1;" ::"r"(shared_address(b)),
               "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void wait(uint64_t *b, int parity) {
  asm volatile(
      "{.reg .pred p; W%=: mbarrier.try_wait.parity.shared.b64 p, [%0], %1; @p bra D%=; bra W%=; "
      "D%=: }" ::"r"(shared_address(b)),
      "r"(parity)
      : "memory");
}
/// Whether a wait would be over at once; straight code, so that it may stand beside a wgmma in
/// flight.
__device__ __forceinline__ bool is_over(uint64_t *b, int parity) {
  uint32_t over;
  asm volatile(
      "{.reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
      : "=r"(over)
      : "r"(shared_address(b)), "r"(parity)
      : "memory");
  return over != 0;
}

// ---- TMA ----

/// Coordinates in a map: element of a row's half, token, half, head, batch row.
__device__ __forceinline__ void tma_load(void *to, const CUtensorMap *map, int token, int half,
                                         int head, int batch, uint64_t *b) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, "
      "{%2, %3, %4, %5, %6}], [%7];" ::"r"(shared_address(to)),
      "l"(map), "r"(0), "r"(token), "r"(half), "r"(head), "r"(batch), "r"(shared_address(b))
      : "memory");
}
__device__ __forceinline__ void tma_load_gates(void *to, const CUtensorMap *map, int head,
                                               int token, int batch, uint64_t *b) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, "
      "{%2, %3, %4}], [%5];" ::"r"(shared_address(to)),
      "l"(map), "r"(head), "r"(token), "r"(batch), "r"(shared_address(b))
      : "memory");
}
/// `bytes` (a multiple of 16) that lie together in either memory.
__device__ __forceinline__ void bulk_load(void *to, const void *from, int bytes, uint64_t *b) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(b))
      : "memory");
}
__device__ __forceinline__ void tma_store(const CUtensorMap *map, int token, int half, int head,
                                          int batch, const void *from) {
  asm volatile(
      "cp.async.bulk.tensor.5d.global.shared::cta.tile.bulk_group [%0, {%1, %2, %3, %4, %5}], "
      "[%6];" ::"l"(map),
      "r"(0), "r"(token), "r"(half), "r"(head), "r"(batch), "r"(shared_address(from))
      : "memory");
}
__device__ __forceinline__ void tma_store_commit() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
/// The stores of this thread have read their source, but for the last kLeft commits.
template <int kLeft = 0>
__device__ __forceinline__ void tma_store_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kLeft) : "memory");
}
__device__ __forceinline__ void tma_store_wait() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

// ---- wgmma ----

/// Low word of a shared-memory matrix descriptor. `leading` counts for operands that are contiguous
/// along M or N: bytes between groups of 64 elements along it. A step along the tile is one 32-bit
/// addition to this word.
__device__ __forceinline__ uint32_t descriptor_base(const void *tile, int leading) {
  return ((shared_address(tile) & 0x3FFFF) >> 4) | (leading >> 4) << 16;
}
/// Descriptor of a tile with 128-byte rows and swizzle, groups of 8 rows kStride bytes apart.
template <int kStride = 1024>
__device__ __forceinline__ uint64_t descriptor128(uint32_t base, int bytes) {
  return static_cast<uint64_t>(0x40000000u | kStride >> 4) << 32 | (base + bytes / 16);
}
/// Descriptor of a tile with 64-byte rows and swizzle (groups of 8 rows 512 bytes apart).
__device__ __forceinline__ uint64_t descriptor64(uint32_t base, int bytes) {
  return static_cast<uint64_t>(0x80000000u | 512 >> 4) << 32 | (base + bytes / 16);
}

__device__ __forceinline__ void mma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void mma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kLeft>
__device__ __forceinline__ void mma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kLeft) : "memory");
}
/// Keeps the compiler from moving uses of accumulators over a wait.
template <int kCount>
__device__ __forceinline__ void pin(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

#define GDN_F4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define GDN_F16(d, i) GDN_F4(d, i), GDN_F4(d, i + 4), GDN_F4(d, i + 8), GDN_F4(d, i + 12)
#define GDN_REGS16 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}"

/// d[64, 32] (+)= a b, a: bf16 in registers, b in shared memory with k (kRightTransposed: with n)
/// contiguous.
template <bool kRightTransposed>
__device__ __forceinline__ void mma_rs_n32(float (&d)[16], const uint32_t *a, uint64_t b,
                                           bool add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %21, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 " GDN_REGS16
      ", {%16,%17,%18,%19}, %20, p, 1, 1, %22;}\n"
      : GDN_F16(d, 0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)),
        "n"(kRightTransposed ? 1 : 0));
}

/// d[64, 64] (+)= a b, as above.
__device__ __forceinline__ void mma_rs_n64(float (&d)[32], const uint32_t *a, uint64_t b,
                                           bool add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,"
      "%25,%26,%27,%28,%29,%30,%31}, {%32,%33,%34,%35}, %36, p, 1, 1, 0;}\n"
      : GDN_F16(d, 0), GDN_F16(d, 16)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));
}

/// d[64, 128] += a b, a: bf16 in registers, b in shared memory with n contiguous.
__device__ __forceinline__ void mma_rs_n128(float (&d)[64], const uint32_t *a, uint64_t b) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, 1, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,"
      "%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, {%64,%65,%66,%67}, %68, "
      "p, "
      "1, 1, 1;}\n"
      : GDN_F16(d, 0), GDN_F16(d, 16), GDN_F16(d, 32), GDN_F16(d, 48)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

/// d[64, 32] (+)= a b, both in shared memory, bf16, k contiguous.
__device__ __forceinline__ void mma_ss_n32(float (&d)[16], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %18, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 " GDN_REGS16
      ", %16, %17, p, 1, 1, 0, 0;}\n"
      : GDN_F16(d, 0)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}

#undef GDN_F4
#undef GDN_F16
#undef GDN_REGS16

// ---- stmatrix ----

__device__ __forceinline__ void stmatrix(void *p, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(shared_address(p)),
      "r"(a), "r"(b), "r"(c), "r"(d)
      : "memory");
}
__device__ __forceinline__ void stmatrix_trans(void *p, uint32_t a, uint32_t b, uint32_t c,
                                               uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(
                   shared_address(p)),
               "r"(a), "r"(b), "r"(c), "r"(d)
               : "memory");
}

}  // namespace gdn::cuda::sm90

#endif  // GDN_CUDA_SM90_DEVICE_PTX_CUH_
