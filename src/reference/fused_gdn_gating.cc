#include "reference/access.h"
#include "reference/functions.h"
#include "reference/operations.h"

namespace gdn::reference {

void fused_gdn_gating(const FusedGdnGating &p, int32_t) {
  for (int64_t b = 0; b < p.a.shape[0]; ++b) {
    for (int64_t t = 0; t < p.a.shape[1]; ++t) {
      for (int64_t h = 0; h < p.a.shape[2]; ++h) {
        const double g =
            decay_of_gate(load(p.a, p.a.offset(b, t, h)), load(p.A_log, p.A_log.offset(h)),
                          load_or(p.dt_bias, p.dt_bias.offset(h), 0.0));
        const double beta = sigmoid(load(p.b, p.b.offset(b, t, h)));
        store(p.g, p.g.offset(b, t, h), g);
        store(p.beta, p.beta.offset(b, t, h), p.allow_neg_eigval ? 2.0 * beta : beta);
      }
    }
  }
}

}  // namespace gdn::reference
