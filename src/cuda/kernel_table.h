#ifndef GDN_CUDA_KERNEL_TABLE_H_
#define GDN_CUDA_KERNEL_TABLE_H_

#include "core/operations.h"
#include "cuda/runtime.h"

namespace gdn::cuda {

/// How a code path serves an operation.
template <class Op>
struct KernelOf {
  using Problem = typename Op::Problem;

  /// Launches the operation asynchronously: no allocation, no synchronisation. What cu_seqlens and
  /// index arrays hold is clamped on the device; a slot past the pool counts as negative.
  Status (*run)(const Problem &p, const Launch &l) = nullptr;
  /// Bytes of Launch::workspace, from shapes, types and Launch::no_split alone; nullptr: none. The
  /// row of an operation that needs some says so (core/operations.h).
  size_t (*workspace)(const Problem &p, bool no_split) = nullptr;
};

/// All operations of one code path.
using KernelTable = OperationTable<KernelOf>;

}  // namespace gdn::cuda

#endif  // GDN_CUDA_KERNEL_TABLE_H_
