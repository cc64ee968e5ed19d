#ifndef GDN_API_CONV_CHECKS_H_
#define GDN_API_CONV_CHECKS_H_

#include "api/call.h"
#include "core/layer.h"

namespace gdn::api {

// Checks of a convolution's operands weight [C, W] and conv_state [slots, C, L], for operations
// that contain one. Names are those of the caller's arguments.

/// W is 2, 3 or 4.
void check_width(Call *call, const char *name, const Tensor &weight);

/// L is at least `least`, which `why` explains.
void check_entries(Call *call, const Tensor &conv_state, int64_t least, const char *why);

/// Without an array of slot indices, which is called `indices`, sequence n uses slot n of the pool
/// `name`.
void check_slot_count(Call *call, const char *name, int64_t slots, const Dim &n,
                      const char *indices);

/// num_accepted_tokens, and the lengths that a slot can take with it. Skipped sequences are not
/// looked at, nor packed ones without tokens, which keep their slot. Index arrays are readable.
void check_accepted(Call *call, const CausalConv1dUpdate &p);

}  // namespace gdn::api

#endif  // GDN_API_CONV_CHECKS_H_
