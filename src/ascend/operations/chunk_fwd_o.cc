#include "ascend/kernels/chunk_fwd_o.h"

#include "ascend/operations/operations.h"
#include "ascend/operations/problem.h"

namespace gdn::ascend {
namespace {

template <class E, class H, int64_t C>
Status run(const ChunkFwdO &p, const model::Options &options) {
  const std::vector<uint8_t> triangle = triangle_bits(C, true);
  model::Launch launch;
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
  t.triangle = launch.input("triangle", triangle.data(), C * C / 8);
  t.products = launch.scratch<float>("products", options.blocks * C * C);
  t.operands = launch.scratch<E>("operands", options.blocks * kernels::kSlots *
                                                 kernels::kFwdOOperands * kernels::kOperandSize);
  t.o = output<E>(launch, "o", p.o);
  return status_of(
      launch.run([&](Core &core) { kernels::chunk_fwd_o<E, H, C>(core, t); }, options));
}

}  // namespace

Status chunk_fwd_o(const ChunkFwdO &p, const model::Options &options) {
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
    return with_f32_or<E>(p.h.dtype,
                          [&](auto h) { return run<E, decltype(h), chunk>(p, options); });
  });
}

}  // namespace gdn::ascend
