#include "api/head_dims_check.h"

namespace gdn::api {

void check_head_dim(Call *call, const Backend &backend, const HeadDims &served, const char *operand,
                    const char *extent, int64_t found) {
  if (found <= served.maximum && found % served.multiple == 0) return;
  call->fail(Code::unsupported, operand, " has head width ", extent, " = ", found, ", but the ",
             backend.name(), " backend serves multiples of ", served.multiple, " up to ",
             served.maximum, ".");
}

}  // namespace gdn::api
