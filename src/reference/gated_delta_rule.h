#ifndef GDN_REFERENCE_GATED_DELTA_RULE_H_
#define GDN_REFERENCE_GATED_DELTA_RULE_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "core/delta_rule.h"

namespace gdn::reference {

/// One value head's operands at one token.
struct Token {
  std::vector<double> q, k, v;
  double decay = 1.0;  // exp(g).
  double beta = 1.0;
};

/// l2norm of q and k where p asks for it, then the gates of head h at token t of row b.
void finish_token(const DeltaRule &p, int64_t b, int64_t t, int64_t h, Token *token);

/// Where a head's tokens come from and what becomes of its outputs; tokens are those of a sequence.
struct HeadTokens {
  /// Fills what token i is made of, whose vectors have their sizes.
  std::function<void(int64_t i, Token *token)> load;
  /// Takes o of token i, [DV].
  std::function<void(int64_t i, const std::vector<double> &o)> put;
};

/// The recurrence over sequence n, which is not skipped, for value head h.
void run_head(const DeltaRule &p, int64_t n, int64_t h, int64_t first_checkpoint,
              const HeadTokens &tokens);

/// The recurrence, token by token: the meaning of the chunked and of the recurrent operation.
void gated_delta_rule(const DeltaRule &p, int32_t threads);

}  // namespace gdn::reference

#endif  // GDN_REFERENCE_GATED_DELTA_RULE_H_
