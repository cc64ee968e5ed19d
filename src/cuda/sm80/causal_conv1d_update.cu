#include "cuda/device/sequences.cuh"
#include "cuda/launch.h"
#include "cuda/sm80/kernels.h"

// Depthwise causal convolution of a few new tokens a sequence; one thread a channel and sequence.

namespace gdn::cuda::sm80 {
namespace {

constexpr int kThreads = 128;
constexpr int kMaxWidth = 4;

__global__ void __launch_bounds__(kThreads)
    conv1d_update_kernel(const __grid_constant__ CausalConv1dUpdate p) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t channels = p.x.shape[1];
  const int64_t n = item / channels, c = item - n * channels;
  if (n >= p.sequences.count) return;
  const int64_t width = p.weight.shape[1];
  const SequenceSpan span = clamped_span(p.sequences, n);
  const int64_t tokens = span.length, slot = p.slot(n);
  if (slot < 0) {
    for (int64_t t = 0; t < tokens; ++t) {
      store_any(p.y, p.y.offset(span.batch, c, span.begin + t), 0.0F);
    }
    return;
  }
  // The line is the first `before` entries of the state, then x.
  const auto [before, after] = p.kept(n, tokens);
  float weight[kMaxWidth], window[kMaxWidth] = {};
#pragma unroll
  for (int i = 0; i < kMaxWidth; ++i) {
    const int64_t at = i - (kMaxWidth - width);
    weight[i] = at >= 0 ? load_any(p.weight, p.weight.offset(c, at)) : 0.0F;
    const int64_t from = before - kMaxWidth + i;  // The last width - 1 count.
    if (i > kMaxWidth - width && from >= 0) {
      window[i] = load_any(p.conv_state, p.conv_state.offset(slot, c, from));
    }
  }
  const float bias = p.bias.present() ? load_any(p.bias, p.bias.offset(c)) : 0.0F;
  for (int64_t t = 0; t < tokens; ++t) {
#pragma unroll
    for (int i = 0; i + 1 < kMaxWidth; ++i) window[i] = window[i + 1];
    window[kMaxWidth - 1] = load_any(p.x, p.x.offset(span.batch, c, span.begin + t));
    float sum = bias;
#pragma unroll
    for (int i = 0; i < kMaxWidth; ++i) {
      if (i >= kMaxWidth - width) sum = fmaf(weight[i], window[i], sum);
    }
    store_any(p.y, p.y.offset(span.batch, c, span.begin + t), p.silu ? silu(sum) : sum);
  }
  // The new state is the end of the line; ascending, so that old entries are read before they are
  // overwritten.
  const int64_t shift = before + tokens - after;
  for (int64_t i = 0; i < after; ++i) {
    const int64_t at = i + shift;
    const float x = at < before
                        ? load_any(p.conv_state, p.conv_state.offset(slot, c, at))
                        : load_any(p.x, p.x.offset(span.batch, c, span.begin + at - before));
    store_any(p.conv_state, p.conv_state.offset(slot, c, i), x);
  }
}

}  // namespace

Status causal_conv1d_update(const CausalConv1dUpdate &p, const Launch &l) {
  const int64_t items = p.sequences.count * p.x.shape[1];
  return launch<conv1d_update_kernel>("causal_conv1d_update", l, (items + kThreads - 1) / kThreads,
                                      kThreads, 0, p);
}

}  // namespace gdn::cuda::sm80
