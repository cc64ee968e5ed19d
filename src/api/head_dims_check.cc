#include "api/head_dims_check.h"

namespace gdn::api {

void check_head_dim(Call *call, const Backend &backend, const HeadDims &served, const char *operand,
                    const char *extent, int64_t maximum, int64_t found) {
  if (found <= maximum && found % served.multiple == 0) return;
  call->fail(Code::unsupported, operand, " has head width ", extent, " = ", found, ", but the ",
             backend.name(), " backend serves ",
             served.multiple > 1 ? cat("multiples of ", served.multiple, " ") : "", "up to ",
             maximum, ".");
}

}  // namespace gdn::api
