#include "ascend/kernels/solve_tril.h"

#include <array>

#include "ascend/device/packing.h"
#include "ascend/operations/model_launch.h"
#include "ascend/operations/operations.h"
#include "ascend/operations/problem.h"

namespace gdn::ascend {
namespace {

/// -1.
template <class E>
inline constexpr E kMinusOne = {0xbc00};
template <>
inline constexpr bf16 kMinusOne<bf16> = {0xbf80};

/// `scale` times the identity.
template <class E, size_t Size>
std::array<E, Size * Size> diagonal(E scale) {
  std::array<E, Size *Size> matrix = {};
  for (size_t i = 0; i < Size; ++i) matrix[i * (Size + 1)] = scale;
  return matrix;
}

template <class Launch>
Status run_form(const SolveTril &p, Launch &launch) {
  Status status = check_stage(p, {{"A", &p.A}, {"T", &p.T}});
  if (!status.ok() || empty(p)) return status;
  return with_type(p.T.dtype, [&](auto element) {
    using R = decltype(element);
    return with_chunk(p.chunk_size, [&](auto chunk) {
      using E = kernels::SolvePart<R>;
      const auto identity = diagonal<float, kBlockLanes>(1.0F);
      const auto minus_identity = diagonal<E, kFractal>(kMinusOne<E>);
      kernels::SolveTrilTensors<R> t;
      t.sequences = sequence_table(launch, p);
      t.heads = p.heads.value_heads;
      t.A = input<float>(launch, "A", p.A);
      t.identity = launch.constant("identity", identity.data(), kBlockLanes * kBlockLanes);
      t.minus_identity =
          launch.constant("minus_identity", minus_identity.data(), kFractal * kFractal);
      t.operands = scratch<E>(launch, "operands",
                              launch.blocks() * kernels::kSlots * kernels::kParts * chunk * chunk);
      t.T = output<R>(launch, "T", p.T);
      constexpr kernels::Form kForm{kernels::Stage::solve_tril, kernels::form_number<chunk, R>()};
      return launch.template run<kernels::solve_tril<R, chunk>>(kForm, t);
    });
  });
}

}  // namespace

Status solve_tril(const SolveTril &p, const model::Options &options) {
  ModelLaunch launch(options);
  return run_form(p, launch);
}

Status solve_tril(const SolveTril &p, device::Packing &packing) { return run_form(p, packing); }

}  // namespace gdn::ascend
