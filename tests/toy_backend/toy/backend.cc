#include "toy/backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace gdn::toy {
namespace {

constexpr Isa kIsas[] = {{"plain", true}, {"fancy", false}};

Status only_f32(const Tensor &t) {
  if (t.dtype == DType::f32) return {};
  return {Code::unsupported, "the toy backend computes in float32 alone."};
}

Status l2norm(const L2Norm &p, const Exec &) {
  Status status = only_f32(p.x);
  if (!status.ok()) return status;
  const int64_t width = p.x.shape[4];
  const int64_t *shape = p.x.shape;
  for (int64_t row = 0; row < shape[0] * shape[1] * shape[2] * shape[3]; ++row) {
    const int64_t i3 = row % shape[3];
    const int64_t i2 = row / shape[3] % shape[2];
    const int64_t i1 = row / shape[3] / shape[2] % shape[1];
    const int64_t i0 = row / shape[3] / shape[2] / shape[1];
    const float *x = p.x.at<float>(i0, i1, i2, i3);
    float *y = p.y.at<float>(i0, i1, i2, i3);
    float sum = p.eps;
    for (int64_t i = 0; i < width; ++i) sum += x[i] * x[i];
    for (int64_t i = 0; i < width; ++i) y[i] = x[i] / std::sqrt(sum);
  }
  return {};
}

float gate(const Tensor &t, int64_t b, int64_t token, int64_t head, float absent) {
  return t.present() ? *t.at<float>(b, token, head) : absent;
}

/// One head of sequence n; `state` is room for [DK][DV].
void run_head(const DeltaRule &p, int64_t n, int64_t head, float *state) {
  const SequenceSpan span = p.sequences.span(n);
  const int64_t key_head = p.heads.key_head(head);
  for (int64_t i = 0; i < p.key_dim * p.value_dim; ++i) {
    const Tensor &s = p.initial_state;
    state[i] = s.present() ? *s.at<float>(n, head, i / p.value_dim, i % p.value_dim) : 0.0F;
  }
  for (int64_t t = span.begin; t < span.begin + span.length; ++t) {
    const float *q = p.q.at<float>(span.batch, t, key_head);
    const float *k = p.k.at<float>(span.batch, t, key_head);
    const float *v = p.v.at<float>(span.batch, t, head);
    float *o = p.o.at<float>(span.batch, t, head);
    const float decay = std::exp(gate(p.g, span.batch, t, head, 0.0F));
    const float beta = gate(p.beta, span.batch, t, head, 1.0F);
    for (int64_t j = 0; j < p.value_dim; ++j) {
      float predicted = 0.0F;
      for (int64_t i = 0; i < p.key_dim; ++i) {
        predicted += decay * state[i * p.value_dim + j] * k[i];
      }
      o[j] = 0.0F;
      for (int64_t i = 0; i < p.key_dim; ++i) {
        float &s = state[i * p.value_dim + j];
        s = decay * s + k[i] * beta * (v[j] - predicted);
        o[j] += p.scale * s * q[i];
      }
    }
  }
  if (!p.final_state.present()) return;
  for (int64_t i = 0; i < p.key_dim * p.value_dim; ++i) {
    *p.final_state.at<float>(n, head, i / p.value_dim, i % p.value_dim) = state[i];
  }
}

Status chunk(const DeltaRule &p, const Exec &exec) {
  Status status = only_f32(p.q);
  if (!status.ok()) return status;
  if (p.state_indices.present || p.initial_state.dtype == DType::bf16 || p.qk_l2norm || p.gate ||
      p.beta_sigmoid || p.checkpoint_every > 0) {
    return {Code::unsupported, "the toy backend has neither pools nor activations."};
  }
  for (int64_t n = 0; n < p.sequences.count; ++n) {
    for (int64_t h = 0; h < p.heads.value_heads; ++h) {
      run_head(p, n, h, static_cast<float *>(exec.workspace));
    }
  }
  return {};
}

size_t chunk_workspace(const DeltaRule &p, const Exec &) {
  return static_cast<size_t>(p.key_dim * p.value_dim) * sizeof(float);
}

/// Long rows want memory, which the list of operations does not know of: the api asks all the same.
size_t l2norm_workspace(const L2Norm &p, const Exec &) { return p.x.shape[4] > 16 ? 64 : 0; }

class ToyBackend final : public Backend {
 public:
  const char *name() const override { return "toy"; }
  Device device() const override { return {kDLCPU, 0}; }
  bool serves(const Device &operands) const override { return operands.host(); }
  std::span<const Isa> isas() const override { return kIsas; }
  Selection select(const Exec &) const override { return {0, "There is one code path.", 1}; }
  Status copy_to_host(void *host, const void *device, size_t bytes, const Exec &) const override {
    if (bytes > 0) std::memcpy(host, device, bytes);
    return {};
  }

  const OperationTable<Service> &operations() const override {
    static const OperationTable<Service> table = [] {
      OperationTable<Service> t;
      t.at<op::l2norm>() = {l2norm, l2norm_workspace};
      t.at<op::chunk_gated_delta_rule>() = {chunk, chunk_workspace, {32, 32, 4}};
      return t;
    }();
    return table;
  }
};

}  // namespace

const Backend &backend() {
  static const ToyBackend instance;
  return instance;
}

}  // namespace gdn::toy
