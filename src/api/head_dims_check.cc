#include "api/operation.h"

namespace gdn::api {
namespace {

void check_one(Call *call, const Backend &backend, const char *name, int64_t found) {
  const HeadDims served = backend.head_dims();
  if (found <= served.maximum && found % served.multiple == 0) return;
  call->fail(Code::unsupported, name, " is ", found, ", but the ", backend.name(),
             " backend serves multiples of ", served.multiple, " up to ", served.maximum, ".");
}

}  // namespace

void check_head_dims(Call *call, const Backend &backend, int64_t key_dim, int64_t value_dim) {
  // A stage without one of the two has 0 there.
  check_one(call, backend, "the key head width DK", key_dim);
  check_one(call, backend, "the value head width DV", value_dim);
}

}  // namespace gdn::api
