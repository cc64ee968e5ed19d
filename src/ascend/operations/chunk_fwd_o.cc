#include "ascend/kernels/chunk_fwd_o.h"

#include "ascend/device/packing.h"
#include "ascend/operations/model_launch.h"
#include "ascend/operations/operations.h"
#include "ascend/operations/problem.h"

namespace gdn::ascend {
namespace {

template <class E, class H, int64_t C, class Launch>
Status run(const ChunkFwdO &p, Launch &launch) {
  const std::vector<uint8_t> triangle = triangle_bits(C, true);
  kernels::ChunkFwdOTensors<E, H> t;
  t.sequences = sequence_table(launch, p);
  t.key_heads = p.heads.key_heads;
  t.value_heads = p.heads.value_heads;
  t.scale = p.scale;
  t.q = input<E>(launch, "q", p.q);
  t.k = input<E>(launch, "k", p.k);
  t.v_new = input<E>(launch, "v_new", p.v_new);
  t.h = input<H>(launch, "h", p.h);
  t.g_cumsum = input<float>(launch, "g_cumsum", p.g_cumsum);
  t.triangle = launch.constant("triangle", triangle.data(), C * C / 8);
  t.products = scratch<float>(launch, "products", launch.blocks() * C * C);
  t.operands = scratch<E>(
      launch, "operands",
      launch.blocks() * kernels::kSlots * kernels::kFwdOOperands * kernels::kOperandSize);
  t.o = output<E>(launch, "o", p.o);
  constexpr kernels::Form kForm{kernels::Stage::chunk_fwd_o, kernels::form_number<C, E, H>()};
  return launch.template run<kernels::chunk_fwd_o<E, H, C>>(kForm, t);
}

template <class Launch>
Status run_form(const ChunkFwdO &p, Launch &launch) {
  Status status = check_key_stage(p, p.k,
                                  {{"q", &p.q},
                                   {"k", &p.k},
                                   {"v_new", &p.v_new},
                                   {"h", &p.h},
                                   {"g_cumsum", &p.g_cumsum},
                                   {"o", &p.o}});
  if (!status.ok() || empty(p)) return status;
  return with_key_form(p.k.dtype, p.chunk_size, [&](auto element, auto chunk) {
    using E = decltype(element);
    return with_f32_or<E>(p.h.dtype, [&](auto h) { return run<E, decltype(h), chunk>(p, launch); });
  });
}

}  // namespace

Status chunk_fwd_o(const ChunkFwdO &p, const model::Options &options) {
  ModelLaunch launch(options);
  return run_form(p, launch);
}

Status chunk_fwd_o(const ChunkFwdO &p, device::Packing &packing) { return run_form(p, packing); }

}  // namespace gdn::ascend
