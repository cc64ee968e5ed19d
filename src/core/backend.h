#ifndef GDN_CORE_BACKEND_H_
#define GDN_CORE_BACKEND_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/device.h"
#include "core/operations.h"
#include "core/status.h"

namespace gdn {

/// Most threads that one call may use.
inline constexpr int32_t kMaxThreads = 1024;

/// Where the threads of a call on the CPU come from.
enum class ThreadsFrom : uint8_t {
  any,     ///< The backend chooses.
  pool,    ///< The library's own.
  openmp,  ///< The OpenMP runtime of the process.
  host,    ///< The caller's function.
};

/// How to run, after the api has checked it.
struct Exec {
  void *stream = nullptr;
  int32_t threads = 0;  ///< At most kMaxThreads; 0: the backend's default.
  ThreadsFrom threads_from = ThreadsFrom::any;
  /// Calls task(argument, i) for i in [0, count) on threads of the caller's; not nullptr: host.
  void (*parallel_for)(void *context, int32_t count, void (*task)(void *argument, int32_t index),
                       void *argument) = nullptr;
  void *parallel_for_context = nullptr;
  bool no_split = false;
  void *workspace = nullptr;
  size_t workspace_size = 0;
  int32_t isa = -1;    ///< Index into isas(); -1: the backend chooses.
  int32_t device = 0;  ///< DLPack device index.
};

/// A code path of a backend.
struct Isa {
  const char *name;
  bool supported;
};

/// What a backend would run a call on.
struct Selection {
  int32_t isa;
  const char *reason;  ///< A sentence; counts where the backend chose.
  int32_t threads;
  ThreadsFrom threads_from = ThreadsFrom::any;  ///< any: it has no choice of threads.
};

/// Head widths that are served: multiples of `multiple` up to a largest DK and DV.
struct HeadDims {
  int64_t key_maximum = INT64_MAX;
  int64_t value_maximum = INT64_MAX;
  int64_t multiple = 1;
};

/// How a backend serves one operation. The default: it does not, and the api says so.
///
/// Operands have been checked: shapes agree, strides obey gdn.h, head widths are those that the
/// entry names, and on the host the contents of index arrays are valid. (On other devices they may
/// hold anything: kernels clamp.) Sizes of 0 (B, T, N) arrive too; state copies must still happen.
template <class Op>
struct Service {
  using Problem = typename Op::Problem;

  Status (*run)(const Problem &p, const Exec &exec) = nullptr;
  /// Bytes of workspace that run needs, from shapes and types alone; nullptr: none.
  size_t (*workspace)(const Problem &p, const Exec &exec) = nullptr;
  HeadDims head_dims = {};
};

/// A set of operations on a kind of device. Backends are immutable singletons; calls may come from
/// several threads at once. One may serve any part of the operations.
class Backend {
 public:
  virtual ~Backend() = default;

  virtual const char *name() const = 0;
  /// Its own kind of memory.
  virtual Device device() const = 0;
  /// True if it reads and writes operands there.
  virtual bool serves(const Device &operands) const = 0;
  /// Code paths, slowest first.
  virtual std::span<const Isa> isas() const = 0;
  /// True if a call may take its threads from there now.
  virtual bool has_threads(ThreadsFrom) const { return true; }
  /// Resolves isa == -1 and threads == 0.
  virtual Selection select(const Exec &exec) const = 0;
  /// Copies memory of this backend's device to the host, after the stream's earlier work.
  virtual Status copy_to_host(void *host, const void *device, size_t bytes,
                              const Exec &exec) const = 0;
  virtual const OperationTable<Service> &operations() const = 0;
};

}  // namespace gdn

#endif  // GDN_CORE_BACKEND_H_
