// Copyright the libgdn authors. Licensed under Apache-2.0.
#ifndef GDN_ARGS_HPP_
#define GDN_ARGS_HPP_

/**
 * @file args.hpp
 * @brief Argument structs of the operations, part of gdn.hpp. A field has the name and the meaning
 * of the field in gdn.h; optional fields say there what leaving them out means.
 */

#include <gdn/gdn.h>
#include <gdn/view.hpp>

#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <utility>

namespace gdn {

/// Scratch memory for calls. Owns host memory that grows to what a call needs and is kept for the
/// next one, or borrows memory (of a GPU, say) of a fixed size. One thread at a time.
class Workspace {
 public:
  Workspace() = default;
  /// Borrows; `data` is 256-byte aligned and outlives this object.
  Workspace(void *data, std::size_t size) : data_(data), size_(size) {}
  ~Workspace() { release(); }
  Workspace(Workspace &&other) noexcept { *this = std::move(other); }
  Workspace &operator=(Workspace &&other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(owned_, other.owned_);
    return *this;
  }

  void *data() const { return data_; }
  std::size_t size() const { return size_; }

  /// Makes owned (or empty) memory at least `bytes` large. Borrowed memory stays as it is.
  void reserve(std::size_t bytes) {
    if (bytes <= size_ || (data_ != nullptr && !owned_)) return;
    release();
    data_ = ::operator new (bytes, std::align_val_t{GDN_WORKSPACE_ALIGNMENT});
    size_ = bytes;
    owned_ = true;
  }

 private:
  void release() noexcept {
    if (owned_) ::operator delete (data_, std::align_val_t{GDN_WORKSPACE_ALIGNMENT});
    data_ = nullptr;
    size_ = 0;
    owned_ = false;
  }

  void *data_ = nullptr;
  std::size_t size_ = 0;
  bool owned_ = false;
};

/// How to run a call: gdn_exec.
struct ExecOptions {
  void *stream = nullptr;  ///< cudaStream_t.
  std::int32_t threads = 0;
  bool check = false;     ///< GDN_EXEC_CHECK.
  bool no_split = false;  ///< GDN_EXEC_NO_SPLIT.
  const char *backend = nullptr;
  const char *isa = nullptr;
  /// Memory for the operations that need a workspace. nullptr: such a call allocates and frees its
  /// own, on the CPU.
  Workspace *workspace = nullptr;
};

/// gdn_gated_delta_rule_args.
struct GatedDeltaRuleArgs {
  Input q = {}, k = {}, v = {}, g = {}, beta = {};
  Input A_log = {}, dt_bias = {};
  Input cu_seqlens = {};
  Output initial_state = {};  ///< Written only where gdn.h says so: pool or in place.
  Output final_state = {};
  Input state_indices = {};
  Input num_accepted_tokens = {};
  Output checkpoints = {};
  Output o = {};
  std::optional<double> scale = {};
  bool use_qk_l2norm = false;
  bool use_gate = false;
  bool use_beta_sigmoid = false;
  bool allow_neg_eigval = false;
  bool state_v_first = false;
  gdn_head_map head_map = GDN_HEAD_MAP_BLOCK;
  std::int32_t chunk_size = 0;
  std::int64_t checkpoint_every = 0;
};

/// gdn_chunk_local_cumsum_args.
struct ChunkLocalCumsumArgs {
  Input g = {}, cu_seqlens = {};
  Output g_cumsum = {};
  std::int32_t chunk_size = 0;
};

/// gdn_chunk_scaled_dot_kkt_args.
struct ChunkScaledDotKktArgs {
  Input k = {}, beta = {}, g_cumsum = {}, cu_seqlens = {};
  Output A = {};
  gdn_head_map head_map = GDN_HEAD_MAP_BLOCK;
  std::int32_t chunk_size = 0;
};

/// gdn_solve_tril_args.
struct SolveTrilArgs {
  Input A = {}, cu_seqlens = {};
  Output T = {};
  std::int32_t chunk_size = 0;
};

/// gdn_recompute_w_u_args.
struct RecomputeWUArgs {
  Input k = {}, v = {}, beta = {}, g_cumsum = {}, T = {}, cu_seqlens = {};
  Output w = {}, u = {};
  gdn_head_map head_map = GDN_HEAD_MAP_BLOCK;
  std::int32_t chunk_size = 0;
};

/// gdn_chunk_fwd_h_args.
struct ChunkFwdHArgs {
  Input k = {}, w = {}, u = {}, g_cumsum = {}, cu_seqlens = {}, initial_state = {};
  Output h = {}, v_new = {}, final_state = {};
  bool state_v_first = false;
  gdn_head_map head_map = GDN_HEAD_MAP_BLOCK;
  std::int32_t chunk_size = 0;
};

/// gdn_chunk_fwd_o_args.
struct ChunkFwdOArgs {
  Input q = {}, k = {}, v_new = {}, h = {}, g_cumsum = {}, cu_seqlens = {};
  Output o = {};
  std::optional<double> scale = {};
  bool state_v_first = false;
  gdn_head_map head_map = GDN_HEAD_MAP_BLOCK;
  std::int32_t chunk_size = 0;
};

/// gdn_causal_conv1d_fwd_args.
struct CausalConv1dFwdArgs {
  Input x = {}, weight = {}, bias = {}, cu_seqlens = {};
  Output conv_state = {};
  Input state_indices = {}, has_initial_state = {};
  Output y = {};
  bool silu = false;
};

/// gdn_causal_conv1d_update_args.
struct CausalConv1dUpdateArgs {
  Input x = {}, weight = {}, bias = {};
  Output conv_state = {};
  Input state_indices = {}, num_accepted_tokens = {};
  Output y = {};
  bool silu = false;
};

/// gdn_fused_gdn_gating_args.
struct FusedGdnGatingArgs {
  Input A_log = {}, a = {}, b = {}, dt_bias = {};
  Output g = {}, beta = {};
  bool allow_neg_eigval = false;
};

/// gdn_l2norm_args.
struct L2NormArgs {
  Input x = {};
  Output y = {};
  std::optional<double> eps = {};
};

/// gdn_rms_norm_gated_args.
struct RmsNormGatedArgs {
  Input x = {}, z = {}, weight = {};
  Output y = {};
  std::optional<double> eps = {};
};

}  // namespace gdn

#endif  // GDN_ARGS_HPP_
