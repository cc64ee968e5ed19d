#ifndef GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_SHARED_CUH_
#define GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_SHARED_CUH_

#include "core/delta_rule.h"
#include "cuda/device/inverse.cuh"
#include "cuda/device/sequences.cuh"
#include "cuda/sm80/chunk_gated_delta_rule/precision.cuh"
#include "cuda/sm80/device/copy.cuh"

// What the warps of the portable chunk kernel share: the layout of shared memory and the place of
// the block's work.

namespace gdn::cuda::sm80::chunk {

constexpr int kStep = 32;  ///< Tokens a step.

/// Most warps of a block, 16 value columns each; fewer for f32, whose operands need registers.
template <class E>
constexpr int kStateWarps = sizeof(E) == 2 ? 8 : 4;
template <class E>
constexpr int kThreads = kStateWarps<E> * 32;

/// Blocks of a multiprocessor.
template <class E, int kKeyDim>
constexpr int kResidentBlocks = kKeyDim == 128 && sizeof(E) == 2 ? 2 : 1;

/// What follows from shapes and alignment.
struct Plan {
  int warps;                       ///< Of a block; each holds 16 value columns.
  int column_blocks;               ///< Blocks that share a value head.
  int stages;                      ///< Steps whose q, k, v fit into shared memory: 3, 2 or 1.
  int piece_qk, piece_v, piece_o;  ///< Bytes that rows move in.
};

/// Gates of one step, a token a lane. Decays are in base 2; r is 1 / |k| or 1 / |q| under l2norm,
/// else 1.
struct alignas(16) StepGates {
  float c[kStep];            ///< Sum of log decays from the step's first token on.
  float key_decay[kStep];    ///< 2^c r_k.
  float query_decay[kStep];  ///< scale 2^c r_q.
  float to_end[kStep];       ///< 2^(c_last - c) r_k.
  float beta[kStep];
  union {
    // With gains alone (gain.cuh). Row i of T diag(beta) has a factor of about beta_i and is kept
    // without its power of two, `power`; to_end and decay carry a power of two that the state is
    // multiplied by `undo` for.
    float power[kStep];
    float c_low[kStep];  ///< With sums in two alone: what rounding the sum to c left.
  };
  float inverse_power[kStep];
  float undo;
  float decay;  ///< 2^c_last.
};

/// What a block works on. In shared memory: registers are for the state.
///
/// Steps lie on a grid of kStep tokens, counted from where the sequence began, in this call or
/// before it: the first `lead` rows of the first step are not of this call.
template <class E>
struct Place {
  const E *k, *q,
      *v;  ///< At the grid's first row, which is `lead` before the sequence's first token.
  E *o;
  int64_t n, batch, begin, h;  ///< begin: likewise.
  int64_t final_slot;          ///< Entry that takes the last state; -1: none.
  int64_t checkpoint;          ///< Row of the first one.
  int64_t passed;              ///< Rows of the grid since a checkpoint before the call.
  int column, columns;         ///< First value column, and how many.
  int lead;
  int steps, last_rows;

  /// Rows of a step, those before the call among them.
  __device__ __forceinline__ int rows(int step) const {
    return step + 1 < steps ? kStep : last_rows;
  }
  /// Rows of a step that are before the call. Such a step has its first token in row 0.
  __device__ __forceinline__ int skipped(int step) const { return step == 0 ? lead : 0; }
};

template <class E>
struct Shared {
  static constexpr int kLdT = padded<E>(kStep);
  Place<E> place;
  StepGates gates[3];                              ///< Of this step and the next two.
  alignas(16) float norm_k[kStep], norm_q[kStep];  ///< rsqrt(sum x^2 + eps), or 1.
  alignas(16) float a[2][kStep][kInverseLd];  ///< a[.][j][i] = A[i, j], of this step and the next.
  alignas(16) E p[2][kStep * kLdT];           ///< Masked, decayed and scaled Q K^T, likewise,
  alignas(16) E p_low[2][Precision<E>::kValuesInTwo ? kStep * kLdT : 1];  ///< and what that left.
  alignas(16) E t_high[kStep * kLdT];                             ///< T diag(beta) rounded to E,
  alignas(16) E t_low[Precision<E>::kTInTwo ? kStep * kLdT : 1];  ///< and what that left.
};

/// The tiles of a step: K, Q [kStep, kKeyDim], zero past the width, V and later O [kStep, columns].
template <class E, int kKeyDim>
struct StepTiles {
  static constexpr int kLd = padded<E>(kKeyDim);
  static constexpr int kLdV = padded<E>(kStateWarps<E> * 16);
  E k[kStep * kLd], q[kStep * kLd], v[kStep * kLdV];
};

/// Where the tiles start in a block's shared memory.
template <class E>
constexpr size_t kTilesOffset = (sizeof(Shared<E>) + 15) / 16 * 16;

/// Bytes of a block's shared memory.
template <class E, int kKeyDim>
size_t shared_bytes(int stages) {
  return kTilesOffset<E> + static_cast<size_t>(stages) * sizeof(StepTiles<E, kKeyDim>);
}

/// Steps whose tiles a block keeps, on a GPU that gives one at most `most` bytes: three, if as many
/// blocks as there are registers for still reside, or if with two stages they would not either.
template <class E, int kKeyDim>
int stages_within(size_t most) {
  const auto fits = [&](int stages, size_t blocks) {
    constexpr size_t kReserved = 1024;  // Of each block, by the driver.
    return blocks * (shared_bytes<E, kKeyDim>(stages) + kReserved) <= most + kReserved;
  };
  constexpr size_t kBlocks = kResidentBlocks<E, kKeyDim>;
  if (fits(3, kBlocks) || (!fits(2, kBlocks) && fits(3, 1))) return 3;
  return fits(2, 1) ? 2 : 1;
}

}  // namespace gdn::cuda::sm80::chunk

#endif  // GDN_CUDA_SM80_CHUNK_GATED_DELTA_RULE_SHARED_CUH_
