#ifndef GDN_CPU_KERNEL_TABLE_H_
#define GDN_CPU_KERNEL_TABLE_H_

#include "core/operations.h"

namespace gdn::cpu {

/// One kernel of one instruction set. A call is cut into independent work items; an item is
/// computed whole by one thread and its bits depend on the problem alone, so any number of threads
/// gives the same result.
template <class Op>
struct Kernel {
  using Problem = typename Op::Problem;

  /// Number of items. `threads` may only influence how finely independent outputs are cut.
  int64_t (*items)(const Problem &p, int32_t threads);
  /// Computes items [first, last). `scratch` is 256-byte aligned. Denormals are flushed to zero.
  void (*run)(const Problem &p, int32_t threads, int64_t first, int64_t last, void *scratch);
  /// Bytes of scratch that one thread needs, a multiple of 256; from shapes and types alone.
  /// nullptr: none. The row of an operation that needs some says so (core/operations.h).
  size_t (*scratch)(const Problem &p, int32_t threads) = nullptr;
};

/// Where a table keeps the kernel of an operation.
template <class Op>
struct KernelOf {
  const Kernel<Op> *kernel;
};

/// All kernels of one instruction set: the only symbol that its translation units export.
using KernelTable = OperationTable<KernelOf>;

}  // namespace gdn::cpu

#endif  // GDN_CPU_KERNEL_TABLE_H_
