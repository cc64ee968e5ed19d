#ifndef GDN_CORE_LAYER_H_
#define GDN_CORE_LAYER_H_

#include "core/sequences.h"

namespace gdn {

struct CausalConv1dFwd {
  Sequences sequences;
  Tensor x;           ///< [B, C, T].
  Tensor weight;      ///< [C, W].
  Tensor bias;        ///< [C] or absent.
  Tensor conv_state;  ///< In/out [slots, C, L] or absent.
  Slots slots;        ///< Of conv_state.
  IndexArray state_indices;
  FlagArray has_initial_state;
  bool silu = false;
  Tensor y;  ///< Out [B, C, T].

  /// Slot of sequence n, -1 where the sequence is skipped.
  GDN_HOST_DEVICE int64_t slot(int64_t n) const {
    return state_indices.present ? slots.named(state_indices.at(n)) : n;
  }
};

struct CausalConv1dUpdate {
  Sequences sequences;
  Tensor x;           ///< [B, C, T].
  Tensor weight;      ///< [C, W].
  Tensor bias;        ///< [C] or absent.
  Tensor conv_state;  ///< In/out [slots, C, L].
  Slots slots;        ///< Of conv_state.
  IndexArray state_indices;
  IndexArray num_accepted_tokens;
  bool silu = false;
  Tensor y;  ///< Out [B, C, T].

  /// What a sequence takes from its slot, and leaves there.
  struct Kept {
    int64_t before;  ///< The first entries, which come before x; the last W - 1 of them count.
    int64_t after;   ///< Entries from the first one on that are written: the newest of all.
  };

  /// Slot of sequence n, -1 where the sequence is skipped.
  GDN_HOST_DEVICE int64_t slot(int64_t n) const {
    return state_indices.present ? slots.named(state_indices.at(n)) : n;
  }

  /// For sequence n of `tokens` tokens, which is not skipped. Within the slot whatever
  /// num_accepted_tokens and cu_seqlens hold.
  GDN_HOST_DEVICE Kept kept(int64_t n, int64_t tokens) const {
    const int64_t entries = conv_state.shape[2];
    if (!num_accepted_tokens.present) return {entries, entries};
    const int64_t accepted = num_accepted_tokens.at(n);
    if (!sequences.packed()) {
      return {entries - (tokens - within(accepted, tokens)), entries};
    }
    const int64_t others = weight.shape[1] - 2;
    const int64_t after = others + tokens < entries ? others + tokens : entries;
    return {within(accepted, entries - others) + others, tokens > 0 ? after : 0};
  }

 private:
  /// x, or the nearer end of 1..high; 0 if that is empty.
  GDN_HOST_DEVICE static int64_t within(int64_t x, int64_t high) {
    if (high < 1) return 0;
    return x < 1 ? 1 : x > high ? high : x;
  }
};

struct FusedGdnGating {
  Tensor A_log;    ///< [HV].
  Tensor a, b;     ///< [B, T, HV].
  Tensor dt_bias;  ///< [HV] or absent.
  bool allow_neg_eigval = false;
  Tensor g;     ///< Out [B, T, HV] f32.
  Tensor beta;  ///< Out [B, T, HV].
};

/// Rows of D elements; leading dimensions padded with 1 so that the rank is always 5.
struct L2Norm {
  float eps = 1e-6F;
  Tensor x;  ///< [.., D].
  Tensor y;  ///< Out [.., D].
};

/// As L2Norm, with a gate and a weight.
struct RmsNormGated {
  float eps = 1e-6F;
  bool sigmoid_gate = false;  ///< The gate is sigmoid(z), not silu(z).
  Tensor x;
  Tensor z;       ///< [.., D] or absent.
  Tensor weight;  ///< [D] or absent.
  Tensor y;
};

}  // namespace gdn

#endif  // GDN_CORE_LAYER_H_
