#include "api/operation.h"

namespace gdn::api {

void check_head_dim(Call *call, const Backend &backend, const char *operand, const char *extent,
                    int64_t found) {
  const HeadDims served = backend.head_dims();
  if (found <= served.maximum && found % served.multiple == 0) return;
  call->fail(Code::unsupported, operand, " has head width ", extent, " = ", found, ", but the ",
             backend.name(), " backend serves multiples of ", served.multiple, " up to ",
             served.maximum, ".");
}

}  // namespace gdn::api
