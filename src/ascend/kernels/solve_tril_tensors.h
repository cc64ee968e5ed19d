#ifndef GDN_ASCEND_KERNELS_SOLVE_TRIL_TENSORS_H_
#define GDN_ASCEND_KERNELS_SOLVE_TRIL_TENSORS_H_

#include <type_traits>

#include "ascend/kernels/items.h"

namespace gdn::ascend::kernels {

/// The type of the two numbers that the Cube core gets for one of f32.
template <class R>
using SolvePart = std::conditional_t<std::is_same_v<R, float>, f16, R>;
inline constexpr int kParts = 2;
inline constexpr int kHigh = 0;
inline constexpr int kLow = 1;

/// R: float, f16 or bf16.
template <class R>
struct SolveTrilTensors {
  SequenceTable sequences;
  int64_t heads;
  Gm<const float> A;                      ///< [tokens, heads, C]; read below the diagonal alone.
  Gm<const float> identity;               ///< [8, 8].
  Gm<const SolvePart<R>> minus_identity;  ///< [16, 16].
  Gm<SolvePart<R>> operands;              ///< Scratch [blocks, 2, 2, C, C].
  Gm<R> T;                                ///< Out [tokens, heads, C].
};

/// Flags between the cores of a block.
enum class SolveFlag { operands, slot_free };

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_SOLVE_TRIL_TENSORS_H_
