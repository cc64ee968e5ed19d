#include "ascend/kernels/chunk_scaled_dot_kkt.h"

#include "ascend/device/packing.h"
#include "ascend/operations/model_launch.h"
#include "ascend/operations/operations.h"
#include "ascend/operations/problem.h"

namespace gdn::ascend {
namespace {

template <class E, class B, int64_t C, class Launch>
Status run(const ChunkScaledDotKkt &p, Launch &launch) {
  const std::vector<uint8_t> triangle = triangle_bits(C, false);
  kernels::ChunkScaledDotKktTensors<E, B> t;
  t.sequences = sequence_table(launch, p);
  t.key_heads = p.heads.key_heads;
  t.value_heads = p.heads.value_heads;
  t.k = input<E>(launch, "k", p.k);
  t.beta = input<B>(launch, "beta", p.beta);
  t.g_cumsum = input<float>(launch, "g_cumsum", p.g_cumsum);
  t.triangle = launch.constant("triangle", triangle.data(), C * C / 8);
  t.products = scratch<float>(launch, "products", launch.blocks() * kernels::kSlots * C * C);
  t.A = output<float>(launch, "A", p.A);
  constexpr kernels::Form kForm{kernels::Stage::chunk_scaled_dot_kkt,
                                kernels::form_number<C, E, B>()};
  return launch.template run<kernels::chunk_scaled_dot_kkt<E, B, C>>(kForm, t);
}

template <class Launch>
Status run_form(const ChunkScaledDotKkt &p, Launch &launch) {
  Status status = check_key_stage(
      p, p.k, {{"k", &p.k}, {"beta", &p.beta}, {"g_cumsum", &p.g_cumsum}, {"A", &p.A}});
  if (status.ok()) status = check_beta(p.beta, p.k);
  if (!status.ok() || empty(p)) return status;
  return with_key_form(p.k.dtype, p.chunk_size, [&](auto element, auto chunk) {
    using E = decltype(element);
    return with_f32_or<E>(p.beta.dtype,
                          [&](auto b) { return run<E, decltype(b), chunk>(p, launch); });
  });
}

}  // namespace

Status chunk_scaled_dot_kkt(const ChunkScaledDotKkt &p, const model::Options &options) {
  ModelLaunch launch(options);
  return run_form(p, launch);
}

Status chunk_scaled_dot_kkt(const ChunkScaledDotKkt &p, device::Packing &packing) {
  return run_form(p, packing);
}

}  // namespace gdn::ascend
