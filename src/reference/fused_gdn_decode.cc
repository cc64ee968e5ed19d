#include <algorithm>
#include <cmath>
#include <vector>

#include "reference/access.h"
#include "reference/causal_conv1d.h"
#include "reference/functions.h"
#include "reference/gated_delta_rule.h"
#include "reference/operations.h"
#include "reference/parallel.h"

namespace gdn::reference {
namespace {

/// Outputs of the convolution of sequence n, which is not skipped, token by token: [T][C]. Updates
/// its slot.
std::vector<double> convolve_sequence(const CausalConv1dUpdate &p, bool round_inputs, int64_t n) {
  const SequenceSpan span = p.sequences.span(n);
  const int64_t channels = p.x.shape[1];
  const auto [before, after] = p.kept(n, span.length);
  std::vector<double> y(static_cast<size_t>(span.length * channels));
  for (int64_t c = 0; c < channels; ++c) {
    const int64_t state = p.conv_state.offset(p.slot(n), c);
    std::vector<double> line(static_cast<size_t>(before));
    load_row(p.conv_state, state, p.conv_state.stride[2], before, line.data());
    for (int64_t i = 0; i < span.length; ++i) {
      line.push_back(load(p.x, p.x.offset(span.batch, c, span.begin + i)));
      y[static_cast<size_t>(i * channels + c)] =
          convolve(p.weight, p.bias, p.silu, c, line, before + i);
      if (round_inputs) line.back() = rounded(p.conv_state.dtype, line.back());
    }
    store_row(p.conv_state, state, p.conv_state.stride[2], after,
              line.data() + before + span.length - after);
  }
  return y;
}

/// o <- o rsqrt(mean o^2 + eps) weight gate(z), of head h at token t of row b.
void store_gated(const FusedGdnDecode &p, int64_t b, int64_t t, int64_t h,
                 const std::vector<double> &o) {
  const int64_t width = p.rule.value_dim;
  const double mean = sum_of_squares(o.data(), width) / static_cast<double>(width);
  const double norm = std::sqrt(mean + p.eps);
  for (int64_t d = 0; d < width; ++d) {
    const double z = load(p.z, p.z.offset(b, t, h, d));
    const double gate = p.sigmoid_gate ? sigmoid(z) : silu(z);
    const double weight = load(p.norm_weight, p.norm_weight.offset(d));
    store(p.rule.o, p.rule.o.offset(b, t, h, d), o[static_cast<size_t>(d)] / norm * weight * gate);
  }
}

void run_sequence(const FusedGdnDecode &p, int64_t n) {
  const SequenceSpan span = p.rule.sequences.span(n);
  const int64_t channels = p.conv.x.shape[1];
  const std::vector<double> y = convolve_sequence(p.conv, p.rule.round_states, n);
  for (int64_t h = 0; h < p.rule.heads.value_heads; ++h) {
    const int64_t hk = p.rule.heads.key_head(h);
    const auto load = [&](int64_t i, Token *token) {
      const double *row = y.data() + i * channels;
      std::copy_n(row + p.q_channel(hk), p.rule.key_dim, token->q.data());
      std::copy_n(row + p.k_channel(hk), p.rule.key_dim, token->k.data());
      std::copy_n(row + p.v_channel(h), p.rule.value_dim, token->v.data());
      finish_token(p.rule, span.batch, span.begin + i, h, token);
    };
    const auto put = [&](int64_t i, const std::vector<double> &o) {
      store_gated(p, span.batch, span.begin + i, h, o);
    };
    run_head(p.rule, n, h, 0, {load, put});
  }
}

void clear_output(const FusedGdnDecode &p, int64_t n) {
  const SequenceSpan span = p.rule.sequences.span(n);
  const std::vector<double> zeros(static_cast<size_t>(p.rule.value_dim), 0.0);
  for (int64_t t = span.begin; t < span.begin + span.length; ++t) {
    for (int64_t h = 0; h < p.rule.heads.value_heads; ++h) {
      store_row(p.rule.o, p.rule.o.offset(span.batch, t, h), 1, p.rule.value_dim, zeros.data());
    }
  }
}

}  // namespace

void fused_gdn_decode(const FusedGdnDecode &p, int32_t threads) {
  parallel_for(p.rule.sequences.count, threads, [&](int64_t n) {
    if (p.skipped(n)) {
      clear_output(p, n);
    } else {
      run_sequence(p, n);
    }
  });
}

}  // namespace gdn::reference
