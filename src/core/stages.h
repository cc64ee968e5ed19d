#ifndef GDN_CORE_STAGES_H_
#define GDN_CORE_STAGES_H_

#include "core/delta_rule.h"

namespace gdn {

/// What all stages share. Chunks start at each sequence's first token.
struct StageShape {
  Sequences sequences;
  HeadMap heads;
  int64_t key_dim = 0;
  int64_t value_dim = 0;
  int64_t chunk_size = 64;  ///< C: 16, 32, 64 or 128.
};

struct ChunkLocalCumsum : StageShape {
  Tensor g;         ///< [B, T, HV].
  Tensor g_cumsum;  ///< Out [B, T, HV] f32.
};

struct ChunkScaledDotKkt : StageShape {
  Tensor k;         ///< [B, T, HK, DK].
  Tensor beta;      ///< [B, T, HV].
  Tensor g_cumsum;  ///< [B, T, HV] f32 or absent.
  Tensor A;         ///< Out [B, T, HV, C] f32.
};

struct SolveTril : StageShape {
  Tensor A;  ///< [B, T, HV, C] f32.
  Tensor T;  ///< Out [B, T, HV, C].
};

struct RecomputeWU : StageShape {
  Tensor k, v, beta, g_cumsum, T;
  Tensor w;  ///< Out [B, T, HV, DK].
  Tensor u;  ///< Out [B, T, HV, DV].
};

/// h and states are presented as [.., HV, DK, DV] as in DeltaRule.
struct ChunkFwdH : StageShape {
  Tensor k, w, u, g_cumsum;
  Tensor initial_state;  ///< [N, HV, DK, DV] or absent.
  Tensor h;              ///< Out [NT, HV, DK, DV].
  Tensor v_new;          ///< Out [B, T, HV, DV].
  Tensor final_state;    ///< Out [N, HV, DK, DV] or absent.
};

struct ChunkFwdO : StageShape {
  float scale = 1.0F;
  Tensor q, k, v_new, h, g_cumsum;
  Tensor o;  ///< Out [B, T, HV, DV].
};

}  // namespace gdn

#endif  // GDN_CORE_STAGES_H_
