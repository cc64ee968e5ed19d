#include "ascend/kernels/chunk_local_cumsum.h"

#include "ascend/device/packing.h"
#include "ascend/operations/model_launch.h"
#include "ascend/operations/operations.h"
#include "ascend/operations/problem.h"

namespace gdn::ascend {
namespace {

template <class Launch>
Status run_form(const ChunkLocalCumsum &p, Launch &launch) {
  Status status = check_stage(p, {{"g", &p.g}, {"g_cumsum", &p.g_cumsum}});
  if (!status.ok() || empty(p)) return status;
  return with_type(p.g.dtype, [&](auto element) {
    using G = decltype(element);
    return with_chunk(p.chunk_size, [&](auto chunk) {
      kernels::ChunkLocalCumsumTensors<G> t;
      t.sequences = sequence_table(launch, p);
      t.heads = p.heads.value_heads;
      t.g = input<G>(launch, "g", p.g);
      t.g_cumsum = output<float>(launch, "g_cumsum", p.g_cumsum);
      constexpr kernels::Form kForm{kernels::Stage::chunk_local_cumsum,
                                    kernels::form_number<chunk, G>()};
      return launch.template run<kernels::chunk_local_cumsum<G, chunk>>(kForm, t);
    });
  });
}

}  // namespace

Status chunk_local_cumsum(const ChunkLocalCumsum &p, const model::Options &options) {
  ModelLaunch launch(options);
  return run_form(p, launch);
}

Status chunk_local_cumsum(const ChunkLocalCumsum &p, device::Packing &packing) {
  return run_form(p, packing);
}

}  // namespace gdn::ascend
