#ifndef GDN_API_STATE_INDICES_H_
#define GDN_API_STATE_INDICES_H_

#include "api/call.h"
#include "api/shapes.h"
#include "core/delta_rule.h"

namespace gdn::api {

/// Whether slots may be named for each token of a sequence.
enum class Indices {
  per_sequence,  ///< [N].
  per_token,     ///< [N] or [N, M], num_accepted_tokens with the latter.
};

/// Reads an index array of slots.
IndexArray read_slots(Call *call, const char *name, const DLTensor *t, Indices kind, Shapes *s);

/// Reads state_indices, num_accepted_tokens and output_state_indices of a call with a pool of
/// states (or, without state_indices, of any).
template <class Args>
void read_state_indices(Call *call, const Args &a, Indices kind, Shapes *s, DeltaRule *p) {
  p->slots = read_null_slot(a);
  p->state_indices = read_slots(call, "state_indices", a.state_indices, kind, s);
  if (kind == Indices::per_token && a.state_indices != nullptr && a.state_indices->ndim == 2) {
    p->num_accepted_tokens = call->indices("num_accepted_tokens", a.num_accepted_tokens, {&s->N});
  } else {
    call->refuse("num_accepted_tokens", a.num_accepted_tokens,
                 kind == Indices::per_token
                     ? "without a state_indices of shape [N, M]"
                     : "without a state_indices of shape [N, M] of the recurrent operation");
  }
  if (a.state_indices == nullptr) {
    call->refuse("output_state_indices", a.output_state_indices, "without state_indices");
  }
  p->output_state_indices =
      read_slots(call, "output_state_indices", a.output_state_indices, kind, s);
}

}  // namespace gdn::api

#endif  // GDN_API_STATE_INDICES_H_
