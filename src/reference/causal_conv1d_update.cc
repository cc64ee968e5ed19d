#include "reference/causal_conv1d.h"

#include <vector>

#include "reference/operations.h"

namespace gdn::reference {
namespace {

void run_channel(const CausalConv1dUpdate &p, int64_t n, int64_t c) {
  const int64_t tokens = p.x.shape[2];
  const int64_t slot = p.state_indices.present ? p.state_indices.at(n) : n;
  if (slot < 0) {
    for (int64_t t = 0; t < tokens; ++t) store(p.y, p.y.offset(n, c, t), 0.0);
    return;
  }
  // The line: the state without its rejected newest entries, then x.
  const int64_t kept = p.conv_state.shape[2];
  const int64_t rejected = p.num_accepted_tokens.present ? tokens - p.num_accepted_tokens.at(n) : 0;
  std::vector<double> line(static_cast<size_t>(kept));
  load_row(p.conv_state, p.conv_state.offset(slot, c), p.conv_state.stride[2], kept, line.data());
  line.resize(static_cast<size_t>(kept - rejected));
  for (int64_t t = 0; t < tokens; ++t) line.push_back(load(p.x, p.x.offset(n, c, t)));
  for (int64_t t = 0; t < tokens; ++t) {
    store(p.y, p.y.offset(n, c, t),
          convolve(p.weight, p.bias, p.silu, c, line, kept - rejected + t));
  }
  store_row(p.conv_state, p.conv_state.offset(slot, c), p.conv_state.stride[2], kept,
            line.data() + tokens - rejected);
}

}  // namespace

void causal_conv1d_update(const CausalConv1dUpdate &p, int32_t) {
  for (int64_t n = 0; n < p.x.shape[0]; ++n) {
    for (int64_t c = 0; c < p.x.shape[1]; ++c) run_channel(p, n, c);
  }
}

}  // namespace gdn::reference
