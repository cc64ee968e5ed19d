#include "ascend/kernels/solve_tril.h"

#include <array>

#include "ascend/operations/operations.h"
#include "ascend/operations/problem.h"

namespace gdn::ascend {

Status solve_tril(const SolveTril &p, const model::Options &options) {
  Status status = check_stage(p, {{"A", &p.A}, {"T", &p.T}});
  if (!status.ok() || empty(p)) return status;
  std::array<float, kBlockLanes *kBlockLanes> identity = {};
  for (size_t i = 0; i < kBlockLanes; ++i) identity[i * (kBlockLanes + 1)] = 1.0F;
  return with_type(p.T.dtype, [&](auto element) {
    using R = decltype(element);
    return with_chunk(p.chunk_size, [&](auto chunk) {
      model::Launch launch;
      kernels::SolveTrilTensors<R> t;
      t.sequences = sequence_table(launch, p);
      t.heads = p.heads.value_heads;
      t.A = input<float>(launch, "A", p.A);
      t.identity = launch.input("identity", identity.data(), kBlockLanes * kBlockLanes);
      t.T = output<R>(launch, "T", p.T);
      return status_of(
          launch.run([&](Core &core) { kernels::solve_tril<R, chunk>(core, t); }, options));
    });
  });
}

}  // namespace gdn::ascend
