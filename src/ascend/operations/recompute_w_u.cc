#include "ascend/kernels/recompute_w_u.h"

#include "ascend/device/packing.h"
#include "ascend/operations/model_launch.h"
#include "ascend/operations/operations.h"
#include "ascend/operations/problem.h"

namespace gdn::ascend {
namespace {

template <class E, class B, class S, int64_t C, class Launch>
Status run(const RecomputeWU &p, Launch &launch) {
  kernels::RecomputeWUTensors<E, B, S> t;
  t.sequences = sequence_table(launch, p);
  t.key_heads = p.heads.key_heads;
  t.value_heads = p.heads.value_heads;
  t.k = input<E>(launch, "k", p.k);
  t.v = input<E>(launch, "v", p.v);
  t.beta = input<B>(launch, "beta", p.beta);
  t.g_cumsum = input<float>(launch, "g_cumsum", p.g_cumsum);
  t.T = input<S>(launch, "T", p.T);
  t.operands = scratch<E>(launch, "operands",
                          launch.blocks() * kernels::kSlots * kernels::kOperandsOfHead * C * C);
  t.w = output<E>(launch, "w", p.w);
  t.u = output<E>(launch, "u", p.u);
  constexpr kernels::Form kForm{kernels::Stage::recompute_w_u, kernels::form_number<C, E, B, S>()};
  return launch.template run<kernels::recompute_w_u<E, B, S, C>>(kForm, t);
}

template <class Launch>
Status run_form(const RecomputeWU &p, Launch &launch) {
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
          p.T.dtype, [&](auto s) { return run<E, decltype(b), decltype(s), chunk>(p, launch); });
    });
  });
}

}  // namespace

Status recompute_w_u(const RecomputeWU &p, const model::Options &options) {
  ModelLaunch launch(options);
  return run_form(p, launch);
}

Status recompute_w_u(const RecomputeWU &p, device::Packing &packing) {
  return run_form(p, packing);
}

}  // namespace gdn::ascend
