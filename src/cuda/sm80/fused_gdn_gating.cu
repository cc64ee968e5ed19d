#include "cuda/device/functions.cuh"
#include "cuda/launch.h"
#include "cuda/sm80/kernels.h"

namespace gdn::cuda::sm80 {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    gating_kernel(const __grid_constant__ FusedGdnGating p) {
  const int64_t tokens = p.a.shape[1], heads = p.a.shape[2];
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t row = i / heads, h = i - row * heads, b = row / tokens, t = row - b * tokens;
  if (b >= p.a.shape[0]) return;
  const float dt_bias = p.dt_bias.present() ? load_any(p.dt_bias, p.dt_bias.offset(h)) : 0.0F;
  const float a = load_any(p.a, p.a.offset(b, t, h));
  store_any(p.g, p.g.offset(b, t, h),
            decay_of_gate(a, load_any(p.A_log, p.A_log.offset(h)), dt_bias));
  const float beta = sigmoid(load_any(p.b, p.b.offset(b, t, h)));
  store_any(p.beta, p.beta.offset(b, t, h), p.allow_neg_eigval ? 2.0F * beta : beta);
}

}  // namespace

Status fused_gdn_gating(const FusedGdnGating &p, const Launch &l) {
  const int64_t items = p.a.shape[0] * p.a.shape[1] * p.a.shape[2];
  return launch<gating_kernel>("fused_gdn_gating", l, (items + kThreads - 1) / kThreads, kThreads,
                               0, p);
}

}  // namespace gdn::cuda::sm80
