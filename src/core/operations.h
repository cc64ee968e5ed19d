#ifndef GDN_CORE_OPERATIONS_H_
#define GDN_CORE_OPERATIONS_H_

#include "core/delta_rule.h"
#include "core/fused_gdn_decode.h"
#include "core/layer.h"
#include "core/stages.h"

/// The operations of the library, one row each: OP(name, problem, args, workspace).
///
///     name       gdn_NAME is the C entry point; kernels are files and symbols of that name
///     problem    the checked call that kernels get
///     args       the struct of gdn.h that callers fill
///     workspace  true: callers ask gdn_NAME_workspace_size; false: no backend needs a workspace
///                today. One that does turns its row to true and declares the query in gdn.h.
///
/// The C entry points, the backends' tables, the kernel tables of every code path and the lists of
/// sources in CMake (cmake/GdnOperations.cmake reads these rows) follow from this list.
#define GDN_FOR_EACH_OPERATION(OP)                                                   \
  OP(chunk_gated_delta_rule, DeltaRule, gdn_gated_delta_rule_args, true)             \
  OP(fused_recurrent_gated_delta_rule, DeltaRule, gdn_gated_delta_rule_args, false)  \
  OP(chunk_local_cumsum, ChunkLocalCumsum, gdn_chunk_local_cumsum_args, false)       \
  OP(chunk_scaled_dot_kkt, ChunkScaledDotKkt, gdn_chunk_scaled_dot_kkt_args, false)  \
  OP(solve_tril, SolveTril, gdn_solve_tril_args, false)                              \
  OP(recompute_w_u, RecomputeWU, gdn_recompute_w_u_args, false)                      \
  OP(chunk_fwd_h, ChunkFwdH, gdn_chunk_fwd_h_args, false)                            \
  OP(chunk_fwd_o, ChunkFwdO, gdn_chunk_fwd_o_args, false)                            \
  OP(causal_conv1d_fwd, CausalConv1dFwd, gdn_causal_conv1d_fwd_args, false)          \
  OP(causal_conv1d_update, CausalConv1dUpdate, gdn_causal_conv1d_update_args, false) \
  OP(fused_gdn_gating, FusedGdnGating, gdn_fused_gdn_gating_args, false)             \
  OP(l2norm, L2Norm, gdn_l2norm_args, false)                                         \
  OP(rms_norm_gated, RmsNormGated, gdn_rms_norm_gated_args, false)                   \
  OP(fused_gdn_decode, FusedGdnDecode, gdn_fused_gdn_decode_args, true)

namespace gdn {

/// An operation as a type. Two operations may share a problem type; a table entry of one never
/// fits the other.
namespace op {
#define GDN_OPERATION_TYPE(name, problem, args, workspace) \
  struct name {                                            \
    using Problem = problem;                               \
    static constexpr bool kWorkspace = workspace;          \
  };
GDN_FOR_EACH_OPERATION(GDN_OPERATION_TYPE)
#undef GDN_OPERATION_TYPE
}  // namespace op

/// A table with one Entry<Op> for each operation Op.
template <template <class> class Entry, class... Ops>
struct TableOf : Entry<Ops>... {
  template <class Op>
  GDN_HOST_DEVICE constexpr Entry<Op> &at() {
    return *this;
  }
  template <class Op>
  GDN_HOST_DEVICE constexpr const Entry<Op> &at() const {
    return *this;
  }
};

/// The operations in the order of the list.
template <class... Ops>
struct OperationList {
  template <template <class> class Entry>
  using Table = TableOf<Entry, Ops...>;

  /// A table whose entry of Op is make(Op()).
  template <template <class> class Entry, class Make>
  static Table<Entry> table(Make make) {
    return {make(Ops())...};
  }
};

namespace detail {
/// Drops the first of a list: what a macro that writes a comma before each name leaves.
template <class, class... Ops>
OperationList<Ops...> list_of();
}  // namespace detail

#define GDN_OPERATION_NAME(name, problem, args, workspace) , op::name
using Operations = decltype(detail::list_of<void GDN_FOR_EACH_OPERATION(GDN_OPERATION_NAME)>());
#undef GDN_OPERATION_NAME

template <template <class> class Entry>
using OperationTable = Operations::Table<Entry>;

}  // namespace gdn

#endif  // GDN_CORE_OPERATIONS_H_
