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
  IndexArray state_indices;
  FlagArray has_initial_state;
  bool silu = false;
  Tensor y;  ///< Out [B, C, T].
};

struct CausalConv1dUpdate {
  Tensor x;           ///< [N, C, T].
  Tensor weight;      ///< [C, W].
  Tensor bias;        ///< [C] or absent.
  Tensor conv_state;  ///< In/out [slots, C, L].
  IndexArray state_indices;
  IndexArray num_accepted_tokens;
  bool silu = false;
  Tensor y;  ///< Out [N, C, T].
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
  Tensor x;
  Tensor z;       ///< [.., D] or absent.
  Tensor weight;  ///< [D] or absent.
  Tensor y;
};

}  // namespace gdn

#endif  // GDN_CORE_LAYER_H_
