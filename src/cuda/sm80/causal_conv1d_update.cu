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
  if (n >= p.x.shape[0]) return;
  const int64_t tokens = p.x.shape[2], width = p.weight.shape[1], kept = p.conv_state.shape[2];
  const int64_t slot =
      checked_slot(p.state_indices.present ? p.state_indices.at(n) : n, p.conv_state.shape[0]);
  if (slot < 0) {
    for (int64_t t = 0; t < tokens; ++t) store_any(p.y, p.y.offset(n, c, t), 0.0F);
    return;
  }
  int64_t rejected = 0;
  if (p.num_accepted_tokens.present)
    rejected = tokens - clamp64(p.num_accepted_tokens.at(n), 1, tokens);
  // The line is the state without its `rejected` newest entries, then x.
  const int64_t before = kept - rejected;
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
    window[kMaxWidth - 1] = load_any(p.x, p.x.offset(n, c, t));
    float sum = bias;
#pragma unroll
    for (int i = 0; i < kMaxWidth; ++i) {
      if (i >= kMaxWidth - width) sum = fmaf(weight[i], window[i], sum);
    }
    store_any(p.y, p.y.offset(n, c, t), p.silu ? silu(sum) : sum);
  }
  // Entry i of the new state is entry i + tokens - rejected of the line; ascending, so that old
  // entries are read before they are overwritten.
  const int64_t shift = tokens - rejected;
  for (int64_t i = 0; i < kept; ++i) {
    const int64_t at = i + shift;
    const float x = at < before ? load_any(p.conv_state, p.conv_state.offset(slot, c, at))
                                : load_any(p.x, p.x.offset(n, c, at - before));
    store_any(p.conv_state, p.conv_state.offset(slot, c, i), x);
  }
}

}  // namespace

Status causal_conv1d_update(const CausalConv1dUpdate &p, const Launch &l) {
  const int64_t items = p.x.shape[0] * p.x.shape[1];
  return launch<conv1d_update_kernel>("causal_conv1d_update", l, (items + kThreads - 1) / kThreads,
                                      kThreads, 0, p);
}

}  // namespace gdn::cuda::sm80
