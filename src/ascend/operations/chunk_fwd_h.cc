#include "ascend/kernels/chunk_fwd_h.h"

#include "ascend/operations/operations.h"
#include "ascend/operations/problem.h"

namespace gdn::ascend {
namespace {

template <class E, class H, int64_t C>
Status run(const ChunkFwdH &p, const model::Options &options) {
  model::Launch launch;
  kernels::ChunkFwdHTensors<E, H> t;
  t.sequences = sequence_table(launch, p);
  t.key_heads = p.heads.key_heads;
  t.value_heads = p.heads.value_heads;
  t.k = input<E>(launch, "k", p.k);
  t.w = input<E>(launch, "w", p.w);
  t.u = input<E>(launch, "u", p.u);
  t.g_cumsum = input<float>(launch, "g_cumsum", p.g_cumsum);
  t.has_initial_state = p.initial_state.present();
  if (t.has_initial_state) t.initial_state = input<float>(launch, "initial_state", p.initial_state);
  t.operands = launch.scratch<E>("operands", options.blocks * 2 * kernels::kStateSize);
  t.products = launch.scratch<float>("products", options.blocks * 2 * kernels::kStateSize);
  t.h = output<H>(launch, "h", p.h);
  t.v_new = output<E>(launch, "v_new", p.v_new);
  t.has_final_state = p.final_state.present();
  if (t.has_final_state) t.final_state = output<float>(launch, "final_state", p.final_state);
  return status_of(
      launch.run([&](Core &core) { kernels::chunk_fwd_h<E, H, C>(core, t); }, options));
}

}  // namespace

Status chunk_fwd_h(const ChunkFwdH &p, const model::Options &options) {
  Status status = check_key_stage(p, p.k,
                                  {{"k", &p.k},
                                   {"w", &p.w},
                                   {"u", &p.u},
                                   {"g_cumsum", &p.g_cumsum},
                                   {"h", &p.h},
                                   {"v_new", &p.v_new}});
  if (!status.ok()) return status;
  for (const Named &state :
       {Named{"initial_state", &p.initial_state}, Named{"final_state", &p.final_state}}) {
    if (!state.tensor->present()) continue;
    Status gaps = check_stage(p, {state});
    if (!gaps.ok()) return gaps;
    if (state.tensor->dtype != DType::f32) return unsupported("takes states in float32.");
  }
  return with_key_form(p.k.dtype, p.chunk_size, [&](auto element, auto chunk) {
    using E = decltype(element);
    return with_f32_or<E>(p.h.dtype,
                          [&](auto h) { return run<E, decltype(h), chunk>(p, options); });
  });
}

}  // namespace gdn::ascend
