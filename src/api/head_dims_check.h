#ifndef GDN_API_HEAD_DIMS_CHECK_H_
#define GDN_API_HEAD_DIMS_CHECK_H_

#include "api/call.h"
#include "core/backend.h"

namespace gdn::api {

/// Refuses a head width that the backend does not serve; `extent` (DK or DV) is the last dimension
/// of `operand`. A stage without that width has 0 there.
void check_head_dim(Call *call, const Backend &backend, const HeadDims &served, const char *operand,
                    const char *extent, int64_t maximum, int64_t found);

/// `key` and `value` are the operands that have the widths.
template <class Problem>
void check_head_dims(Call *call, const Backend &backend, const HeadDims &served, const Problem &p,
                     const char *key, const char *value) {
  check_head_dim(call, backend, served, key, "DK", served.key_maximum, p.key_dim);
  check_head_dim(call, backend, served, value, "DV", served.value_maximum, p.value_dim);
}

template <class Problem>
void check_head_dims(Call *call, const Backend &backend, const HeadDims &served, const Problem &p) {
  constexpr bool has_q = requires { p.q; };
  constexpr bool has_v = requires { p.v; };
  constexpr bool has_u = requires { p.u; };
  check_head_dims(call, backend, served, p, has_q ? "q" : "k", has_v ? "v" : has_u ? "u" : "v_new");
}

}  // namespace gdn::api

#endif  // GDN_API_HEAD_DIMS_CHECK_H_
