#ifndef GDN_CASES_CASES_H_
#define GDN_CASES_CASES_H_

#include <cstdint>
#include <span>
#include <string_view>

namespace gdn::testing {

/// How inputs are drawn; see recipes.cc.
enum class Recipe {
  ladder,
  repeated_key,
  reflections,
  strong_decay,
  decay_spikes,
  slow_decay,
  beta_levels,
  huge_v,
  gate_extremes,
  zero_rows,
  zero_tail,
  mixed_keys,
  small_keys,
  fading_tail,
  raw,
};

/// Bits of Case::options, in the order of cases.py.
enum Option : uint64_t {
  kInitialState = 1U << 0,
  kNoFinalState = 1U << 1,
  kVFirst = 1U << 2,
  kInterleaved = 1U << 3,
  kInPlace = 1U << 4,
  kPool = 1U << 5,
  kNegativeIndex = 1U << 6,
  kSlotPerToken = 1U << 7,
  kNumAccepted = 1U << 8,
  kStateBf16 = 1U << 9,
  kCheckpointsBf16 = 1U << 10,
  kIndex64 = 1U << 11,
  kGatesSameType = 1U << 12,
  kNoG = 1U << 13,
  kNoBeta = 1U << 14,
  kQkL2Norm = 1U << 15,
  kGate = 1U << 16,
  kNoDtBias = 1U << 17,
  kBetaSigmoid = 1U << 18,
  kNegEigval = 1U << 19,
  kStrided = 1U << 20,
  kStridedState = 1U << 21,
  kHeadFirst = 1U << 22,
  kBroadcast = 1U << 23,
  kReversed = 1U << 24,
  kStateF16 = 1U << 25,
  kCheckpointsF16 = 1U << 26,
  kFinalStateF16 = 1U << 27,
  kGatesMixed = 1U << 28,
  kNullSlot = 1U << 29,
  kOutputIndices = 1U << 30,
  kOutputPerToken = 1U << 31,
  kHasInitialState = uint64_t{1} << 32,
  kCheckpointIndices = uint64_t{1} << 33,
  kPositions = uint64_t{1} << 34,
  kPadded = uint64_t{1} << 35,
  kRoundStates = uint64_t{1} << 36,
};

/// Bits of Case::dtypes.
enum CaseDType : uint32_t { kF32 = 1U << 0, kBf16 = 1U << 1, kF16 = 1U << 2 };

/// Bits of Case::tags.
enum Tag : uint32_t {
  kQuick = 1U << 0,
  kLadder = 1U << 1,
  kWhole = 1U << 2,
  kHard = 1U << 3,
  kSemantics = 1U << 4,
  kRecurrent = 1U << 5,
};

/// A named problem of the gated delta rule: shapes, how to draw inputs, which options to use.
struct Case {
  std::string_view name;
  std::span<const int64_t> lengths;  ///< Tokens of each sequence.
  bool packed;                       ///< With cu_seqlens; else `batch` rows of `tokens` tokens.
  int64_t batch, tokens;             ///< B and T of the tensors.
  int64_t hk, hv, dk, dv;
  Recipe recipe;
  uint32_t dtypes;   ///< Types of q, k, v to test.
  uint64_t options;  ///< Option bits.
  uint32_t tags;     ///< Tag bits.
  int64_t checkpoint_every;
  int32_t chunk_size;
  bool has_scale;
  double scale;

  constexpr bool has(Option option) const { return (options & option) != 0; }
  /// The chunk operation does not know it.
  constexpr bool recurrent_only() const {
    return has(kSlotPerToken) || has(kOutputPerToken) || has(kRoundStates);
  }
  /// The recurrent operation does not know it.
  constexpr bool chunk_only() const {
    return checkpoint_every > 0 || chunk_size > 0 || has(kPositions);
  }
  constexpr bool tagged(Tag tag) const { return (tags & tag) != 0; }
};

/// All cases of cases.json.
std::span<const Case> cases();

}  // namespace gdn::testing

#endif  // GDN_CASES_CASES_H_
