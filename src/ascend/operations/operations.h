#ifndef GDN_ASCEND_OPERATIONS_OPERATIONS_H_
#define GDN_ASCEND_OPERATIONS_OPERATIONS_H_

#include "ascend/model/launch.h"
#include "core/backend.h"

namespace gdn::ascend {
namespace device {
class Packing;
}

// The operations that the backend has, each in a file of its name. On the model they run with
// `options`. For a device they are packed.

/// What the environment says of how the model runs: GDN_ASCEND_SEED chooses one of the schedules.
Status read_environment(model::Options *options);

Status chunk_local_cumsum(const ChunkLocalCumsum &p, const model::Options &options);
Status chunk_scaled_dot_kkt(const ChunkScaledDotKkt &p, const model::Options &options);
Status solve_tril(const SolveTril &p, const model::Options &options);
Status recompute_w_u(const RecomputeWU &p, const model::Options &options);
Status chunk_fwd_h(const ChunkFwdH &p, const model::Options &options);
Status chunk_fwd_o(const ChunkFwdO &p, const model::Options &options);

Status chunk_local_cumsum(const ChunkLocalCumsum &p, device::Packing &packing);
Status chunk_scaled_dot_kkt(const ChunkScaledDotKkt &p, device::Packing &packing);
Status solve_tril(const SolveTril &p, device::Packing &packing);
Status recompute_w_u(const RecomputeWU &p, device::Packing &packing);
Status chunk_fwd_h(const ChunkFwdH &p, device::Packing &packing);
Status chunk_fwd_o(const ChunkFwdO &p, device::Packing &packing);

}  // namespace gdn::ascend

#endif  // GDN_ASCEND_OPERATIONS_OPERATIONS_H_
