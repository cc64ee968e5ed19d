#include "ascend/kernels/chunk_fwd_h.h"

#include "ascend/device/packing.h"
#include "ascend/operations/model_launch.h"
#include "ascend/operations/operations.h"
#include "ascend/operations/problem.h"

namespace gdn::ascend {
namespace {

template <class E, class H, int64_t C, class Launch>
Status run(const ChunkFwdH &p, Launch &launch) {
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
  t.operands = scratch<E>(launch, "operands", launch.blocks() * 2 * kernels::kStateSize);
  t.products = scratch<float>(launch, "products", launch.blocks() * 2 * kernels::kStateSize);
  t.h = output<H>(launch, "h", p.h);
  t.v_new = output<E>(launch, "v_new", p.v_new);
  t.has_final_state = p.final_state.present();
  if (t.has_final_state) t.final_state = output<float>(launch, "final_state", p.final_state);
  constexpr kernels::Form kForm{kernels::Stage::chunk_fwd_h, kernels::form_number<C, E, H>()};
  return launch.template run<kernels::chunk_fwd_h<E, H, C>>(kForm, t);
}

template <class Launch>
Status run_form(const ChunkFwdH &p, Launch &launch) {
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
    if (state.tensor->dtype != DType::f32) {
      return unsupported(std::string("takes states in float32, but ") + state.name + " is in " +
                         dtype_name(state.tensor->dtype) + ".");
    }
  }
  return with_key_form(p.k.dtype, p.chunk_size, [&](auto element, auto chunk) {
    using E = decltype(element);
    return with_f32_or<E>(p.h.dtype, [&](auto h) { return run<E, decltype(h), chunk>(p, launch); });
  });
}

}  // namespace

Status chunk_fwd_h(const ChunkFwdH &p, const model::Options &options) {
  ModelLaunch launch(options);
  return run_form(p, launch);
}

Status chunk_fwd_h(const ChunkFwdH &p, device::Packing &packing) { return run_form(p, packing); }

}  // namespace gdn::ascend
