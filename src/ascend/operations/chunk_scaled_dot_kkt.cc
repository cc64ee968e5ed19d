#include "ascend/kernels/chunk_scaled_dot_kkt.h"

#include "ascend/operations/operations.h"
#include "ascend/operations/problem.h"

namespace gdn::ascend {
namespace {

template <class E, class B, int64_t C>
Status run(const ChunkScaledDotKkt &p, const model::Options &options) {
  const std::vector<uint8_t> triangle = triangle_bits(C, false);
  model::Launch launch;
  kernels::ChunkScaledDotKktTensors<E, B> t;
  t.sequences = sequence_table(launch, p);
  t.key_heads = p.heads.key_heads;
  t.value_heads = p.heads.value_heads;
  t.k = input<E>(launch, "k", p.k);
  t.beta = input<B>(launch, "beta", p.beta);
  t.g_cumsum = input<float>(launch, "g_cumsum", p.g_cumsum);
  t.triangle = launch.input("triangle", triangle.data(), C * C / 8);
  t.products = launch.scratch<float>("products", options.blocks * kernels::kSlots * C * C);
  t.A = output<float>(launch, "A", p.A);
  return status_of(
      launch.run([&](Core &core) { kernels::chunk_scaled_dot_kkt<E, B, C>(core, t); }, options));
}

}  // namespace

Status chunk_scaled_dot_kkt(const ChunkScaledDotKkt &p, const model::Options &options) {
  Status status = check_key_stage(
      p, p.k, {{"k", &p.k}, {"beta", &p.beta}, {"g_cumsum", &p.g_cumsum}, {"A", &p.A}});
  if (status.ok()) status = check_beta(p.beta, p.k);
  if (!status.ok() || empty(p)) return status;
  return with_key_form(p.k.dtype, p.chunk_size, [&](auto element, auto chunk) {
    using E = decltype(element);
    return with_f32_or<E>(p.beta.dtype,
                          [&](auto b) { return run<E, decltype(b), chunk>(p, options); });
  });
}

}  // namespace gdn::ascend
