// g = -exp(A_log) softplus(a + dt_bias), beta = sigmoid(b), doubled for negative eigenvalues.
//
// Operations: three exponentials, two divisions and a logarithm's polynomial an element; exp(A_log)
// once per head and item. Memory: a and b read, g and beta written once.
// An item is a run of tokens with all heads; heads go along the vector lanes, 256 at a time.

#include GDN_TILE

#include "cpu/kernels/gate_rate.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/strided.h"

namespace gdn::cpu::GDN_ISA {
namespace {

constexpr int64_t kHeads = 256;

int64_t tokens_per_item(const FusedGdnGating &p) {
  const int64_t tokens = 1024 / (p.a.shape[2] > 0 ? p.a.shape[2] : 1);
  return tokens > 0 ? tokens : 1;
}

/// Heads [head, head + count) of tokens [begin, end); tokens are numbered over B and T. A and B are
/// the types of a and b.
template <class A, class B, class Beta>
void run_heads(const FusedGdnGating &p, int64_t begin, int64_t end, int64_t head, int64_t count) {
  float logs[kHeads];  // A_log
  float rate[kHeads];  // -exp(A_log)
  float bias[kHeads];
  Vec largest = zero();
  for_each_vec(count, [&](int64_t i, int64_t lanes) {
    const int64_t stride = p.A_log.stride[0];
    const Vec a_log = load_strided(p.A_log, (head + i) * stride, stride, lanes);
    largest = max(abs(a_log), largest);
    store_n(logs + i, a_log, lanes);
    store_n(rate + i, zero() - exp(a_log), lanes);
    const int64_t step = p.dt_bias.stride[0];
    const Vec dt =
        p.dt_bias.present() ? load_strided(p.dt_bias, (head + i) * step, step, lanes) : zero();
    store_n(bias + i, dt, lanes);
  });
  const bool extreme = reduce_max(largest) > kOrdinaryRate;
  const Vec factor = set1(p.allow_neg_eigval ? 2.0F : 1.0F);
  for (int64_t token = begin; token < end; ++token) {
    const int64_t b = token / p.a.shape[1];
    const int64_t t = token % p.a.shape[1];
    const A *raw_g = p.a.at<const A>(b, t, head);
    const B *raw_beta = p.b.at<const B>(b, t, head);
    float *g = p.g.at<float>(b, t, head);
    Beta *beta = p.beta.at<Beta>(b, t, head);
    for_each_vec(count, [&](int64_t i, int64_t lanes) {
      const Vec x =
          load_strided(raw_g + i * p.a.stride[2], p.a.stride[2], lanes) + load_n(bias + i, lanes);
      const Vec decay = extreme ? zero() - extreme_rate(load_n(logs + i, lanes), x)
                                : load_n(rate + i, lanes) * softplus(x);
      store_strided(g + i * p.g.stride[2], p.g.stride[2], decay, lanes);
      const Vec y = load_strided(raw_beta + i * p.b.stride[2], p.b.stride[2], lanes);
      store_strided(beta + i * p.beta.stride[2], p.beta.stride[2], factor * sigmoid(y), lanes);
    });
  }
}

int64_t items(const FusedGdnGating &p, int32_t) {
  const int64_t tokens = tokens_per_item(p);
  return (p.a.shape[0] * p.a.shape[1] + tokens - 1) / tokens;
}

void run(const FusedGdnGating &p, int32_t, int64_t first, int64_t last, void *) {
  const int64_t tokens = p.a.shape[0] * p.a.shape[1];
  const int64_t per_item = tokens_per_item(p);
  const int64_t begin = first * per_item;
  const int64_t end = last * per_item < tokens ? last * per_item : tokens;
  with_element(p.a.dtype, [&](auto of_a) {
    with_element(p.b.dtype, [&](auto of_b) {
      using A = decltype(of_a);
      using B = decltype(of_b);
      for (int64_t head = 0; head < p.a.shape[2]; head += kHeads) {
        const int64_t rest = p.a.shape[2] - head;
        const int64_t count = rest < kHeads ? rest : kHeads;
        if (p.beta.dtype == DType::f32) {
          run_heads<A, B, float>(p, begin, end, head, count);
        } else {
          run_heads<A, B, B>(p, begin, end, head, count);
        }
      }
    });
  });
}

}  // namespace

const Kernel<op::fused_gdn_gating> kernel::fused_gdn_gating = {items, run};

}  // namespace gdn::cpu::GDN_ISA
