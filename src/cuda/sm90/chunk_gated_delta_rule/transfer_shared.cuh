#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_TRANSFER_SHARED_CUH_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_TRANSFER_SHARED_CUH_

#include "cuda/sm90/chunk_gated_delta_rule/shared.cuh"

// What the warps of segment_transfers.cu share.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

constexpr int kChunk = kSolvedTokens;
constexpr int kSteps = kChunk / kStep;
constexpr int kStages = 4;
constexpr int kTileOfChunk = kChunk * kHalf;  ///< Elements of 64 columns of a chunk.

/// Gates and place of one chunk. Decays are in base 2; r is 1 / |k| under l2norm, else 1.
struct alignas(16) ChunkGates {
  float key_decay[kChunk];  ///< 2^c r.
  float end[kChunk];        ///< 2^(c_last - c) r.
  float decay;              ///< 2^c_last.
  int token;                ///< The first.
  int batch, head;
};

struct TransferShared {
  bf16 k[kStages][2 * kChunk * kHalf];   ///< [dk half][token][64].
  bf16 v[kStages][2 * kChunk * kHalf];   ///< [32 tokens][dv half][token][64].
  bf16 t[kStages][3][2][kStep * kStep];  ///< As segment_inverses.cu makes it.
  float raw[kStages][2][kChunk][4];      ///< g, beta of four heads as loaded.
  ChunkGates gates[kStages];
  int4 repeats[kStages];       ///< x: keys repeat.
  uint64_t key_full[kStages];  ///< K has landed.
  uint64_t raw_full[kStages];  ///< Place written, raw gates landed.
  uint64_t full[kStages];      ///< All is there.
  uint64_t done[kStages];      ///< The state has used it.
};

constexpr size_t kTransferBytes = sizeof(TransferShared) + 1024;  ///< With room to align.
static_assert(kTransferBytes <= 227 * 1024);

/// Item `index` of the call, and how many chunks it has.
__device__ __forceinline__ Item transfer_item(const DeltaRule &p, const Plan &plan, int index) {
  const int heads = static_cast<int>(p.heads.value_heads), rank = index / heads;
  Item item;
  item.head = index - rank * heads;
  item.half = 0;
  return segment_item(p, plan, item, rank, true);
}
__device__ __forceinline__ int chunks_of(const Item &item) {
  return item.slot < 0 ? 0 : item.length / kChunk;
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_TRANSFER_SHARED_CUH_
