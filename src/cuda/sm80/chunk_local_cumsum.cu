#include "cuda/sm80/device/stage.cuh"
#include "cuda/sm80/kernels.h"

// Bandwidth bound: 8 bytes a token and head. A block takes one chunk of up to 32 heads through
// shared memory, so that both sides are coalesced along the heads; a warp scans a head.

namespace gdn::cuda::sm80 {
namespace {

constexpr int kHeads = 32;

__global__ void __launch_bounds__(kStageThreads)
    cumsum_kernel(const __grid_constant__ ChunkLocalCumsum p, int head_blocks) {
  __shared__ float tile[kMaxChunk][kHeads + 1];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int64_t index = blockIdx.x / head_blocks;
  const int64_t first = static_cast<int64_t>(blockIdx.x % head_blocks) * kHeads;
  const int heads = static_cast<int>(min(p.g.shape[2] - first, static_cast<int64_t>(kHeads)));
  const ChunkPlace place = find_chunk(p.sequences, static_cast<int>(p.chunk_size), index, lane);
  const int elements = place.length * heads;
  for (int i = threadIdx.x; i < elements; i += kStageThreads) {
    const int t = i / heads, h = i - t * heads;
    tile[t][h] = load_any(p.g, p.g.offset(place.batch, place.begin + t, first + h));
  }
  __syncthreads();
  for (int h = warp; h < heads; h += kStageWarps) {
    // In double: later stages use differences of these sums, whose error is that of the sums.
    double carry = 0.0;
    for (int t = 0; t < place.length; t += 32) {
      double g = t + lane < place.length ? tile[t + lane][h] : 0.0F;
#pragma unroll
      for (int i = 1; i < 32; i <<= 1) {
        const double before = __shfl_up_sync(kFullWarp, g, i);
        if (lane >= i) g += before;
      }
      g += carry;
      carry = __shfl_sync(kFullWarp, g, 31);
      if (t + lane < place.length) tile[t + lane][h] = static_cast<float>(g);
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < elements; i += kStageThreads) {
    const int t = i / heads, h = i - t * heads;
    store_any(p.g_cumsum, p.g_cumsum.offset(place.batch, place.begin + t, first + h), tile[t][h]);
  }
}

}  // namespace

Status chunk_local_cumsum(const ChunkLocalCumsum &p, const Launch &l) {
  const int head_blocks = static_cast<int>((p.g.shape[2] + kHeads - 1) / kHeads);
  return launch<cumsum_kernel>("chunk_local_cumsum", l,
                               max_chunks(p.sequences, p.chunk_size) * head_blocks, kStageThreads,
                               0, p, head_blocks);
}

}  // namespace gdn::cuda::sm80
