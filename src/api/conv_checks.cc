#include "api/conv_checks.h"

namespace gdn::api {

void check_width(Call *call, const char *name, const Tensor &weight) {
  if (!call->ok() || (weight.shape[1] >= 2 && weight.shape[1] <= 4)) return;
  call->invalid(name, " has shape ", shape_text(weight.shape, weight.rank),
                ", expected [C, W] with a width W of 2, 3 or 4.");
}

void check_entries(Call *call, const Tensor &conv_state, int64_t least, const char *why) {
  if (!call->ok() || conv_state.shape[2] >= least) return;
  call->invalid("conv_state has shape ", shape_text(conv_state.shape, conv_state.rank),
                ", expected a last extent L of at least ", least, " (", why, ").");
}

void check_slot_count(Call *call, const char *name, int64_t slots, const Dim &n,
                      const char *indices) {
  if (!call->ok() || slots >= n.size) return;
  call->invalid(name, " has ", slots, " slots, expected at least N = ", n.size, " (as in ", n.from,
                ") without ", indices, ".");
}

void check_accepted(Call *call, const CausalConv1dUpdate &p) {
  if (!p.num_accepted_tokens.present || !call->ok()) return;
  const bool packed = p.sequences.packed();
  const int64_t most = packed ? p.conv_state.shape[2] - p.weight.shape[1] + 2 : p.sequences.tokens;
  for (int64_t n = 0; n < p.sequences.count && call->ok(); ++n) {
    const int64_t tokens = p.sequences.span(n).length;
    if (p.slot(n) < 0 || (packed && tokens == 0)) continue;
    const int64_t accepted = p.num_accepted_tokens.at(n);
    if (accepted < 1 || accepted > most) {
      call->invalid("num_accepted_tokens[", n, "] is ", accepted, ", expected 1 to ", most, ".");
    } else if (tokens > most) {
      call->invalid("cu_seqlens gives sequence ", n, " ", tokens, " tokens, expected at most ",
                    most, " with num_accepted_tokens (L - W + 2, from conv_state).");
    }
  }
}

}  // namespace gdn::api
