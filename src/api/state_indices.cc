#include "api/state_indices.h"

namespace gdn::api {

IndexArray read_slots(Call *call, const char *name, const DLTensor *t, Indices kind, Shapes *s) {
  if (kind == Indices::per_token && t != nullptr && t->ndim == 2) {
    Dim columns{"M", 1};
    return call->indices(name, t, {&s->N, &columns});
  }
  if (kind == Indices::per_token && t != nullptr && t->ndim != 1) {
    call->invalid(name, " has rank ", t->ndim, ", expected rank 1 or 2: [N] or [N, M].");
  }
  return call->indices(name, t, {&s->N});
}

}  // namespace gdn::api
