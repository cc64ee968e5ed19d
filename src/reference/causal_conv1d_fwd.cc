#include "reference/causal_conv1d.h"

#include <vector>

#include "reference/operations.h"

namespace gdn::reference {
namespace {

void run_channel(const CausalConv1dFwd &p, int64_t n, int64_t c) {
  const SequenceSpan span = p.sequences.span(n);
  const int64_t slot = p.slot(n);
  if (slot < 0) {
    for (int64_t t = span.begin; t < span.begin + span.length; ++t) {
      store(p.y, p.y.offset(span.batch, c, t), 0.0);
    }
    return;
  }
  // The line: what came before (the state, or zeros), then the sequence.
  const bool has_state = p.conv_state.present();
  const int64_t before = has_state ? p.conv_state.shape[2] : p.weight.shape[1] - 1;
  std::vector<double> line(static_cast<size_t>(before), 0.0);
  if (has_state && p.has_initial_state.at(n)) {
    load_row(p.conv_state, p.conv_state.offset(slot, c), p.conv_state.stride[2], before,
             line.data());
  }
  for (int64_t t = span.begin; t < span.begin + span.length; ++t) {
    line.push_back(load(p.x, p.x.offset(span.batch, c, t)));
  }
  for (int64_t i = 0; i < span.length; ++i) {
    store(p.y, p.y.offset(span.batch, c, span.begin + i),
          convolve(p.weight, p.bias, p.silu, c, line, before + i));
  }
  if (has_state) {
    store_row(p.conv_state, p.conv_state.offset(slot, c), p.conv_state.stride[2], before,
              line.data() + span.length);
  }
}

}  // namespace

void causal_conv1d_fwd(const CausalConv1dFwd &p, int32_t) {
  for (int64_t n = 0; n < p.sequences.count; ++n) {
    for (int64_t c = 0; c < p.x.shape[1]; ++c) run_channel(p, n, c);
  }
}

}  // namespace gdn::reference
