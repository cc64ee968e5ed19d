#include "reference/causal_conv1d.h"

#include <vector>

#include "reference/operations.h"

namespace gdn::reference {
namespace {

void run_channel(const CausalConv1dUpdate &p, int64_t n, int64_t c) {
  const SequenceSpan span = p.sequences.span(n);
  const int64_t slot = p.slot(n);
  if (slot < 0) {
    for (int64_t t = span.begin; t < span.begin + span.length; ++t) {
      store(p.y, p.y.offset(span.batch, c, t), 0.0);
    }
    return;
  }
  // The line: what the slot holds of the accepted past, then x.
  const auto [before, after] = p.kept(n, span.length);
  std::vector<double> line(static_cast<size_t>(before));
  const int64_t state = p.conv_state.offset(slot, c);
  load_row(p.conv_state, state, p.conv_state.stride[2], before, line.data());
  for (int64_t t = span.begin; t < span.begin + span.length; ++t) {
    line.push_back(load(p.x, p.x.offset(span.batch, c, t)));
  }
  for (int64_t i = 0; i < span.length; ++i) {
    store(p.y, p.y.offset(span.batch, c, span.begin + i),
          convolve(p.weight, p.bias, p.silu, c, line, before + i));
  }
  store_row(p.conv_state, state, p.conv_state.stride[2], after,
            line.data() + before + span.length - after);
}

}  // namespace

void causal_conv1d_update(const CausalConv1dUpdate &p, int32_t) {
  for (int64_t n = 0; n < p.sequences.count; ++n) {
    for (int64_t c = 0; c < p.x.shape[1]; ++c) run_channel(p, n, c);
  }
}

}  // namespace gdn::reference
