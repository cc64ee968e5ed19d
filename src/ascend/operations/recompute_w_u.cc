#include "ascend/kernels/recompute_w_u.h"

#include "ascend/operations/operations.h"
#include "ascend/operations/problem.h"

namespace gdn::ascend {
namespace {

template <class E, class B, class S, int64_t C>
Status run(const RecomputeWU &p, const model::Options &options) {
  model::Launch launch;
  kernels::RecomputeWUTensors<E, B, S> t;
  t.sequences = sequence_table(launch, p);
  t.key_heads = p.heads.key_heads;
  t.value_heads = p.heads.value_heads;
  t.k = input<E>(launch, "k", p.k);
  t.v = input<E>(launch, "v", p.v);
  t.beta = input<B>(launch, "beta", p.beta);
  t.g_cumsum = input<float>(launch, "g_cumsum", p.g_cumsum);
  t.T = input<S>(launch, "T", p.T);
  t.operands = launch.scratch<E>(
      "operands", options.blocks * kernels::kSlots * kernels::kOperandsOfHead * C * C);
  t.w = output<E>(launch, "w", p.w);
  t.u = output<E>(launch, "u", p.u);
  return status_of(
      launch.run([&](Core &core) { kernels::recompute_w_u<E, B, S, C>(core, t); }, options));
}

}  // namespace

Status recompute_w_u(const RecomputeWU &p, const model::Options &options) {
  Status status = check_key_stage(p, p.k,
                                  {{"k", &p.k},
                                   {"v", &p.v},
                                   {"beta", &p.beta},
                                   {"g_cumsum", &p.g_cumsum},
                                   {"T", &p.T},
                                   {"w", &p.w},
                                   {"u", &p.u}});
  if (status.ok()) status = check_beta(p.beta, p.k);
  if (!status.ok() || empty(p)) return status;
  return with_key_form(p.k.dtype, p.chunk_size, [&](auto element, auto chunk) {
    using E = decltype(element);
    return with_f32_or<E>(p.beta.dtype, [&](auto b) {
      return with_f32_or<E>(
          p.T.dtype, [&](auto s) { return run<E, decltype(b), decltype(s), chunk>(p, options); });
    });
  });
}

}  // namespace gdn::ascend
