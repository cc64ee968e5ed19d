#ifndef GDN_CORE_BACKEND_H_
#define GDN_CORE_BACKEND_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/delta_rule.h"
#include "core/layer.h"
#include "core/stages.h"
#include "core/status.h"

namespace gdn {

/// Most threads that one call may use.
inline constexpr int32_t kMaxThreads = 1024;

/// How to run, after the api has checked it.
struct Exec {
  void *stream = nullptr;
  int32_t threads = 0;  ///< At most kMaxThreads; 0: the backend's default.
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
  const char *reason;
  int32_t threads;
};

enum class DeviceKind { cpu, cuda };

/// Head widths (DK and DV) that a backend serves: multiples of `multiple` up to `maximum`.
struct HeadDims {
  int64_t multiple;
  int64_t maximum;
};

/// One implementation of every operation. Backends are immutable singletons; calls may come from
/// several threads at once. Operands have been checked: shapes agree, strides obey gdn.h, and on
/// the CPU the contents of index arrays are valid. (On CUDA they may hold anything: kernels clamp.)
/// Sizes of 0 (B, T, N) reach the backend; state copies must still happen.
class Backend {
 public:
  virtual ~Backend() = default;

  virtual const char *name() const = 0;
  virtual DeviceKind device() const = 0;
  /// Code paths, slowest first.
  virtual std::span<const Isa> isas() const = 0;
  /// What the gated delta rule and its stages accept; the api refuses the rest.
  virtual HeadDims head_dims() const { return {8, 256}; }
  /// Resolves isa == -1 and threads == 0.
  virtual Selection select(const Exec &exec) const = 0;
  /// Copies device memory of this backend to the host, after the stream's earlier work.
  virtual Status copy_to_host(void *host, const void *device, size_t bytes,
                              const Exec &exec) const = 0;

  virtual size_t chunk_gated_delta_rule_workspace(const DeltaRule &p, const Exec &exec) const = 0;
  virtual Status chunk_gated_delta_rule(const DeltaRule &p, const Exec &exec) const = 0;
  virtual Status fused_recurrent_gated_delta_rule(const DeltaRule &p, const Exec &exec) const = 0;

  virtual Status chunk_local_cumsum(const ChunkLocalCumsum &p, const Exec &exec) const = 0;
  virtual Status chunk_scaled_dot_kkt(const ChunkScaledDotKkt &p, const Exec &exec) const = 0;
  virtual Status solve_tril(const SolveTril &p, const Exec &exec) const = 0;
  virtual Status recompute_w_u(const RecomputeWU &p, const Exec &exec) const = 0;
  virtual Status chunk_fwd_h(const ChunkFwdH &p, const Exec &exec) const = 0;
  virtual Status chunk_fwd_o(const ChunkFwdO &p, const Exec &exec) const = 0;

  virtual Status causal_conv1d_fwd(const CausalConv1dFwd &p, const Exec &exec) const = 0;
  virtual Status causal_conv1d_update(const CausalConv1dUpdate &p, const Exec &exec) const = 0;
  virtual Status fused_gdn_gating(const FusedGdnGating &p, const Exec &exec) const = 0;
  virtual Status l2norm(const L2Norm &p, const Exec &exec) const = 0;
  virtual Status rms_norm_gated(const RmsNormGated &p, const Exec &exec) const = 0;
};

}  // namespace gdn

#endif  // GDN_CORE_BACKEND_H_
