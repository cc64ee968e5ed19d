#include "ascend/kernels/chunk_local_cumsum.h"

#include "ascend/operations/operations.h"
#include "ascend/operations/problem.h"

namespace gdn::ascend {

Status chunk_local_cumsum(const ChunkLocalCumsum &p, const model::Options &options) {
  Status status = check_stage(p, {{"g", &p.g}, {"g_cumsum", &p.g_cumsum}});
  if (!status.ok() || empty(p)) return status;
  return with_type(p.g.dtype, [&](auto element) {
    using G = decltype(element);
    return with_chunk(p.chunk_size, [&](auto chunk) {
      model::Launch launch;
      kernels::ChunkLocalCumsumTensors<G> t;
      t.sequences = sequence_table(launch, p);
      t.heads = p.heads.value_heads;
      t.g = input<G>(launch, "g", p.g);
      t.g_cumsum = output<float>(launch, "g_cumsum", p.g_cumsum);
      return status_of(
          launch.run([&](Core &core) { kernels::chunk_local_cumsum<G, chunk>(core, t); }, options));
    });
  });
}

}  // namespace gdn::ascend
