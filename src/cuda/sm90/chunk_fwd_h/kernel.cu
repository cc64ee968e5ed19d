#include "cuda/sm90/chunk_fwd_h/kernel.h"

#include <limits>
#include <utility>

#include "cuda/launch.h"
#include "cuda/sm80/kernels.h"
#include "cuda/sm90/chunk_fwd_h/helper_warps.cuh"
#include "cuda/sm90/device/tensor_maps.h"

// The chain of states on Hopper: bf16, DK = DV = 128, chunks of 64 tokens. A block owns a sequence
// and a value head; two warpgroups keep S^T for 64 value columns each as accumulators:
//
//     V'^T = u^T - S^T w^T,   S^T <- e^{c_last} S^T + (V'^T diag(e^{c_last - c})) K
//
// A load warp keeps a ring of w, k and u full by TMA, a gate warp turns c into decays. V' replaces
// u in its tile and leaves from there, h leaves from two tiles of its own, both by TMA at the hands
// of a store warp: the chain from state to state never waits for memory that the ring can hold.
// Everything comes and goes in boxes of eight whole rows, which memory likes better than columns
// of halves of rows. One block a multiprocessor, all of its shared memory. Warps meet at mbarriers
// alone, but for the two warpgroups in a sequence's last, partial chunk.

namespace gdn::cuda::sm90::chunk_fwd_h {
namespace {

/// A warpgroup of the state. Barriers are waited for and branches taken only while no wgmma is in
/// flight (else ptxas waits for it first).
struct ChainWarps {
  const ChunkFwdH &p;
  const ChainPlan &plan;
  ChainShared &s;
  const ChainPlace &at;
  const int half;  ///< Which 64 value columns.
  const int warp, lane;

  __device__ __forceinline__ int64_t state_offset(const Tensor &t, int64_t entry) const {
    return t.offset(entry, at.head, (lane & 3) * 2, half * kHalf + warp * 16 + (lane >> 2));
  }
  __device__ __forceinline__ void read(float (&x)[64], const Tensor &t, int64_t entry) const {
    read_state(x, t, state_offset(t, entry));
  }
  __device__ __forceinline__ void write(const Tensor &t, int64_t entry,
                                        const float (&x)[64]) const {
    write_state(t, state_offset(t, entry), x);
  }

  /// Where this lane's row of two 8 x 8 blocks (rows 8 j .. 8 j + 15, this warp's columns) lies for
  /// ldmatrix and stmatrix in a tile in boxes.
  __device__ __forceinline__ bf16 *block(bf16 *tile, int j) const {
    return tile + box_element(j * 8 + (lane & 7) + (lane >> 4) * 8,
                              half * kHalf + warp * 16 + ((lane >> 3) & 1) * 8);
  }

  /// x = V'^T = u^T - product, rounded, and y = x diag(to_end) as left operand.
  __device__ __forceinline__ void form_values(uint32_t (&x)[16], uint32_t (&y)[16],
                                              const uint32_t (&u)[16], const float (&product)[32],
                                              const float2 (&to_end)[8]) const {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float2 f = to_end[j];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float2 from = unpack2<bf16>(u[2 * j + r]);
        const float a = from.x - product[4 * j + 2 * r], b = from.y - product[4 * j + 2 * r + 1];
        x[2 * j + r] = pack2<bf16>(a, b);
        y[2 * j + r] = pack2<bf16>(a * f.x, b * f.y);
      }
    }
  }

  /// Keeps what lies past the end of a partial chunk, NaN perhaps, out of the state.
  __device__ __forceinline__ void clear_tail(uint32_t (&y)[16], bf16 *k, int valid) const {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int token = j * 8 + (lane & 3) * 2;
      const uint32_t keep = token + 1 < valid ? 0xffffffffu : token < valid ? 0xffffu : 0u;
      y[2 * j] &= keep, y[2 * j + 1] &= keep;
    }
    for (int i = valid * 8 + warp * 32 + lane; i < kTokens * 8; i += 128) {
      *reinterpret_cast<uint4 *>(k + box_element(i >> 3, half * kHalf + (i & 7) * 8)) =
          make_uint4(0, 0, 0, 0);
    }
    proxy_fence();
    named_barrier(3, 256);  // Each warpgroup has cleared half of K.
  }

  /// This warp's columns of V', if it is of a partial chunk or one that TMA cannot take.
  __device__ __forceinline__ void store_values(const bf16 *tile, int token, int valid) const {
    bf16 *const to = p.v_new.at<bf16>(at.batch, token, at.head);
    for (int i = lane; i < valid * 16; i += 32) {
      const int r = i >> 4, c = half * kHalf + warp * 16 + (i & 15);
      to[r * p.v_new.stride[1] + c] = tile[box_element(r, c)];
    }
  }

  __device__ __forceinline__ void run() const {
    float state[64];
#pragma unroll
    for (int i = 0; i < 64; ++i) state[i] = 0.0F;
    if (p.initial_state.present()) read(state, p.initial_state, at.sequence);
    Ring<kSlots> slot;
    for (int i = 0; i < at.chunks; ++i, slot.next()) {
      const int valid = at.valid(i);
      uint32_t left[32], u[16], x[16], y[16];
      float product[32];
      float2 to_end[8];
#pragma unroll
      for (int j = 0; j < 32; ++j) left[j] = pack2<bf16>(state[2 * j], state[2 * j + 1]);
      if (!plan.tma_h) write(p.h, s.first + i, state);
      wait(&s.h_empty[i & 1], (i >> 1 & 1) ^ 1);
      wait(&s.full[slot.i], slot.phase);
      const float decay = s.decay[slot.i];
#pragma unroll
      for (int j = 0; j < 64; ++j) state[j] *= decay;

      bf16 *const u_tile = s.u[slot.i], *const h_tile = s.h[i & 1];
      const uint32_t w = descriptor_base(s.w[slot.i], 16);
      mma_fence();
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        mma_rs_n64(product, left + 4 * k,
                   descriptor128<2 * kHalfBox>(w, (k >> 2) * kHalfBox + (k & 3) * 32), k > 0);
      }
      mma_commit();
#pragma unroll
      for (int j = 0; j < 16; j += 2) {
        stmatrix_trans(block(h_tile, j), left[2 * j], left[2 * j + 1], left[2 * j + 2],
                       left[2 * j + 3]);
      }
#pragma unroll
      for (int j = 0; j < 8; j += 2) {
        ldmatrix_trans(*reinterpret_cast<uint32_t(*)[4]>(u + 2 * j), block(u_tile, j));
      }
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        to_end[j] = *reinterpret_cast<const float2 *>(&s.to_end[slot.i][j * 8 + (lane & 3) * 2]);
      }
      mma_wait<0>();
      pin(product);
      form_values(x, y, u, product, to_end);
      if (valid < kTokens) clear_tail(y, s.k[slot.i], valid);

      const uint32_t k_base = descriptor_base(s.k[slot.i], kHalfBox);
      mma_fence();
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        mma_rs_n128(state, y + 4 * k, descriptor128<2 * kHalfBox>(k_base, k * 4 * kHalfBox));
      }
      mma_commit();
      __syncwarp();  // This warp alone reads these columns of u.
#pragma unroll
      for (int j = 0; j < 8; j += 2) {
        stmatrix_trans(block(u_tile, j), x[2 * j], x[2 * j + 1], x[2 * j + 2], x[2 * j + 3]);
      }
      proxy_fence();
      mma_wait<0>();
      pin(state);
      __syncwarp();
      if (!plan.tma_v || valid < kTokens) {
        store_values(u_tile, at.token(i), valid);
        __syncwarp();
      }
      arrive_warp(lane == 0, &s.done[slot.i]);
    }
    if (p.final_state.present()) write(p.final_state, at.sequence, state);
  }
};

__global__ void __launch_bounds__(kThreads, 1)
    chain_kernel(const __grid_constant__ ChunkFwdH p, const __grid_constant__ ChainPlan plan,
                 const __grid_constant__ ChainMaps maps) {
  extern __shared__ unsigned char memory[];
  ChainShared &s =
      *reinterpret_cast<ChainShared *>(memory + ((1024 - (shared_address(memory) & 1023)) & 1023));
  // Through shuffles, as in the kernel of chunk_gated_delta_rule.
  const int warp = __shfl_sync(kFullWarp, static_cast<int>(threadIdx.x) >> 5, 0);
  const int lane = __shfl_sync(kFullWarp, static_cast<int>(threadIdx.x) & 31, threadIdx.x & 31);
  const ChainPlace at = chain_place(p);
  if (warp == 0) {
    const SequenceSpan span = {at.batch, at.begin, at.length};
    s.first =
        static_cast<int>(first_chunk(p.sequences, at.sequence, span, kTokens, p.h.shape[0], lane));
  }
  if (threadIdx.x == 0) {
    for (int i = 0; i < kSlots; ++i) {
      barrier_init(&s.raw_full[i], 1);
      barrier_init_warps(&s.full[i], 2);  // The loader and the gates.
      barrier_init_warps(&s.done[i], 8);  // The warps of the state.
      barrier_init(&s.u_empty[i], 1);
    }
    for (int i = 0; i < 2; ++i) barrier_init(&s.h_empty[i], 1);
    barrier_init_fence();
  }
  __syncthreads();
  if (warp < 8) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kStateRegisters));
    ChainWarps{p, plan, s, at, warp >> 2, warp & 3, lane}.run();
  } else {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kHelperRegisters));
    if (warp == 8) {
      load_chunks(p, plan, maps, s, at, lane);
    } else if (warp == 9) {
      form_decays(p, plan, s, at, lane);
    } else if (warp == 10) {
      store_chunks(plan, maps, s, at);
    }
  }
}

/// Strides and alignment do not enter, since result bits must not depend on them.
bool applies(const ChunkFwdH &p) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max() / 2;
  return p.k.dtype == DType::bf16 && p.key_dim == kDim && p.value_dim == kDim &&
         p.chunk_size == kTokens && p.sequences.tokens <= kMost && p.sequences.batch <= kMost &&
         p.h.shape[0] <= kMost && p.sequences.count <= kMost / p.heads.value_heads;
}

}  // namespace

Status run(const ChunkFwdH &p, const Launch &l) {
  if (!applies(p)) return sm80::chunk_fwd_h(p, l);
  // Whole rows are asked for at once, so that nothing is gained by fetching more.
  const auto box_map = [](CUtensorMap *map, const Tensor &t) {
    return make_row_map(map, t, 2, kBoxRows, CU_TENSOR_MAP_L2_PROMOTION_L2_128B);
  };
  ChainPlan plan;
  ChainMaps maps = {};
  const bool w = box_map(&maps.w, p.w), k = box_map(&maps.k, p.k);
  plan.tma_in = w && k && box_map(&maps.u, p.u);
  plan.tma_c = p.g_cumsum.present() && make_gate_map(&maps.c, p.g_cumsum);
  plan.tma_v = box_map(&maps.v_new, p.v_new);
  Tensor h = p.h;  // [NT, DK, HV, DV]: a row of DK where other operands have a token.
  std::swap(h.shape[1], h.shape[2]);
  std::swap(h.stride[1], h.stride[2]);
  plan.tma_h = h.dtype == DType::bf16 && h.stride[3] == 1 && box_map(&maps.h, h);
  return launch<chain_kernel>("chunk_fwd_h", l, p.sequences.count * p.heads.value_heads, kThreads,
                              kSharedBytes, p, plan, maps);
}

}  // namespace gdn::cuda::sm90::chunk_fwd_h
