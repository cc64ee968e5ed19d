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
  /// Leaves the other one empty.
  Workspace(Workspace &&other) noexcept { *this = std::move(other); }
  /// Swaps.
  Workspace &operator=(Workspace &&other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(owned_, other.owned_);
    return *this;
  }

  /// 256-byte aligned; nullptr if empty.
  void *data() const { return data_; }
  /// In bytes.
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
  void *stream = nullptr;         ///< cudaStream_t.
  std::int32_t threads = 0;       ///< 0: GDN_NUM_THREADS, else what the process may use.
  bool check = false;             ///< GDN_EXEC_CHECK.
  bool no_split = false;          ///< GDN_EXEC_NO_SPLIT.
  const char *backend = nullptr;  ///< nullptr: GDN_BACKEND, else by device.
  const char *isa = nullptr;      ///< nullptr: GDN_ISA, else the fastest.
  const char *threads_from =
      nullptr;  ///< "pool" or "openmp"; nullptr: GDN_THREADS_FROM, else by process.
  /// The caller's own threads: gdn_exec.parallel_for.
  void (*parallel_for)(void *context, std::int32_t count, gdn_task task, void *argument) = nullptr;
  void *parallel_for_context = nullptr;  ///< Its first argument.
  /// Memory for the operations that need a workspace. nullptr: such a call allocates and frees its
  /// own, on the CPU.
  Workspace *workspace = nullptr;
};

/// gdn_gated_delta_rule_args.
struct GatedDeltaRuleArgs {
  Input q = {};           ///< [B, T, HK, DK].
  Input k = {};           ///< [B, T, HK, DK].
  Input v = {};           ///< [B, T, HV, DV].
  Input g = {};           ///< [B, T, HV].
  Input beta = {};        ///< [B, T, HV].
  Input A_log = {};       ///< [HV], with use_gate.
  Input dt_bias = {};     ///< [HV], with use_gate.
  Input cu_seqlens = {};  ///< [N + 1], int32_t or int64_t.
  Output initial_state =
      {};  ///< [N or slots, HV, DK, DV]; written where gdn.h says so: pool, in place.
  Output final_state = {};                     ///< [N, HV, DK, DV].
  Input state_indices = {};                    ///< [N], or [N, M] for the recurrent operation.
  Input output_state_indices = {};             ///< [N], or [N, M] for the recurrent operation.
  Input num_accepted_tokens = {};              ///< [N].
  Input has_initial_state = {};                ///< [N].
  Output checkpoints = {};                     ///< [checkpoints of all sequences, HV, DK, DV].
  Input checkpoint_indices = {};               ///< [N, K].
  Input positions = {};                        ///< [N].
  Output o = {};                               ///< [B, T, HV, DV].
  std::optional<double> scale = {};            ///< Default: DK^-0.5.
  bool use_qk_l2norm = false;                  ///< Normalise q and k.
  bool use_gate = false;                       ///< g holds raw gates.
  bool use_beta_sigmoid = false;               ///< beta holds logits.
  bool allow_neg_eigval = false;               ///< Double the sigmoid.
  bool state_v_first = false;                  ///< States are [.., HV, DV, DK].
  bool padded = false;                         ///< cu_seqlens may end before T.
  bool round_states = false;                   ///< Recurrent: round states between tokens.
  std::optional<std::int64_t> null_slot = {};  ///< An index that names no slot.
  gdn_head_map head_map = GDN_HEAD_MAP_BLOCK;  ///< Which key head a value head reads.
  std::int32_t chunk_size = 0;                 ///< A hint of the chunk operation.
  std::int64_t checkpoint_every = 0;           ///< Tokens between checkpoints.
};

/// gdn_chunk_local_cumsum_args.
struct ChunkLocalCumsumArgs {
  Input g = {};                 ///< [B, T, HV].
  Input cu_seqlens = {};        ///< [N + 1], int32_t or int64_t.
  Output g_cumsum = {};         ///< [B, T, HV], float.
  std::int32_t chunk_size = 0;  ///< 0 (64), 16, 32, 64 or 128.
  bool padded = false;          ///< cu_seqlens may end before T.
};

/// gdn_chunk_scaled_dot_kkt_args.
struct ChunkScaledDotKktArgs {
  Input k = {};                                ///< [B, T, HK, DK].
  Input beta = {};                             ///< [B, T, HV].
  Input g_cumsum = {};                         ///< [B, T, HV], float.
  Input cu_seqlens = {};                       ///< [N + 1], int32_t or int64_t.
  Output A = {};                               ///< [B, T, HV, C], float.
  gdn_head_map head_map = GDN_HEAD_MAP_BLOCK;  ///< Which key head a value head reads.
  std::int32_t chunk_size = 0;                 ///< 0 (64), 16, 32, 64 or 128.
  bool padded = false;                         ///< cu_seqlens may end before T.
};

/// gdn_solve_tril_args.
struct SolveTrilArgs {
  Input A = {};                 ///< [B, T, HV, C], float.
  Input cu_seqlens = {};        ///< [N + 1], int32_t or int64_t.
  Output T = {};                ///< [B, T, HV, C].
  std::int32_t chunk_size = 0;  ///< 0 (64), 16, 32, 64 or 128.
  bool padded = false;          ///< cu_seqlens may end before T.
};

/// gdn_recompute_w_u_args.
struct RecomputeWUArgs {
  Input k = {};                                ///< [B, T, HK, DK].
  Input v = {};                                ///< [B, T, HV, DV].
  Input beta = {};                             ///< [B, T, HV].
  Input g_cumsum = {};                         ///< [B, T, HV], float.
  Input T = {};                                ///< [B, T, HV, C].
  Input cu_seqlens = {};                       ///< [N + 1], int32_t or int64_t.
  Output w = {};                               ///< [B, T, HV, DK].
  Output u = {};                               ///< [B, T, HV, DV].
  gdn_head_map head_map = GDN_HEAD_MAP_BLOCK;  ///< Which key head a value head reads.
  std::int32_t chunk_size = 0;                 ///< 0 (64), 16, 32, 64 or 128.
  bool padded = false;                         ///< cu_seqlens may end before T.
};

/// gdn_chunk_fwd_h_args.
struct ChunkFwdHArgs {
  Input k = {};                                ///< [B, T, HK, DK].
  Input w = {};                                ///< [B, T, HV, DK].
  Input u = {};                                ///< [B, T, HV, DV].
  Input g_cumsum = {};                         ///< [B, T, HV], float.
  Input cu_seqlens = {};                       ///< [N + 1], int32_t or int64_t.
  Input initial_state = {};                    ///< [N, HV, DK, DV].
  Output h = {};                               ///< [NT, HV, DK, DV].
  Output v_new = {};                           ///< [B, T, HV, DV].
  Output final_state = {};                     ///< [N, HV, DK, DV], float.
  bool state_v_first = false;                  ///< States are [.., HV, DV, DK].
  gdn_head_map head_map = GDN_HEAD_MAP_BLOCK;  ///< Which key head a value head reads.
  std::int32_t chunk_size = 0;                 ///< 0 (64), 16, 32, 64 or 128.
  bool padded = false;                         ///< cu_seqlens may end before T.
};

/// gdn_chunk_fwd_o_args.
struct ChunkFwdOArgs {
  Input q = {};                                ///< [B, T, HK, DK].
  Input k = {};                                ///< [B, T, HK, DK].
  Input v_new = {};                            ///< [B, T, HV, DV].
  Input h = {};                                ///< [NT, HV, DK, DV].
  Input g_cumsum = {};                         ///< [B, T, HV], float.
  Input cu_seqlens = {};                       ///< [N + 1], int32_t or int64_t.
  Output o = {};                               ///< [B, T, HV, DV].
  std::optional<double> scale = {};            ///< Default: DK^-0.5.
  bool state_v_first = false;                  ///< h is [NT, HV, DV, DK].
  gdn_head_map head_map = GDN_HEAD_MAP_BLOCK;  ///< Which key head a value head reads.
  std::int32_t chunk_size = 0;                 ///< 0 (64), 16, 32, 64 or 128.
  bool padded = false;                         ///< cu_seqlens may end before T.
};

/// gdn_causal_conv1d_fwd_args.
struct CausalConv1dFwdArgs {
  Input x = {};                                ///< [B, C, T].
  Input weight = {};                           ///< [C, W].
  Input bias = {};                             ///< [C].
  Input cu_seqlens = {};                       ///< [N + 1], int32_t or int64_t.
  Output conv_state = {};                      ///< [slots, C, L], read and written.
  Input state_indices = {};                    ///< [N].
  Input has_initial_state = {};                ///< [N], bool, int8_t, uint8_t or int32_t.
  Output y = {};                               ///< [B, C, T].
  bool silu = false;                           ///< Apply silu to the sum.
  bool padded = false;                         ///< cu_seqlens may end before T.
  std::optional<std::int64_t> null_slot = {};  ///< An index that names no slot.
};

/// gdn_causal_conv1d_update_args.
struct CausalConv1dUpdateArgs {
  Input x = {};                                ///< [N, C, T], or [1, C, T] with cu_seqlens.
  Input weight = {};                           ///< [C, W].
  Input bias = {};                             ///< [C].
  Output conv_state = {};                      ///< [slots, C, L], read and written.
  Input state_indices = {};                    ///< [N].
  Input num_accepted_tokens = {};              ///< [N].
  Output y = {};                               ///< Shape of x.
  bool silu = false;                           ///< Apply silu to the sum.
  Input cu_seqlens = {};                       ///< [N + 1], int32_t or int64_t.
  bool padded = false;                         ///< cu_seqlens may end before T.
  std::optional<std::int64_t> null_slot = {};  ///< An index that names no slot.
};

/// gdn_fused_gdn_gating_args.
struct FusedGdnGatingArgs {
  Input A_log = {};               ///< [HV].
  Input a = {};                   ///< [B, T, HV].
  Input b = {};                   ///< [B, T, HV].
  Input dt_bias = {};             ///< [HV].
  Output g = {};                  ///< [B, T, HV], float.
  Output beta = {};               ///< [B, T, HV].
  bool allow_neg_eigval = false;  ///< Double the sigmoid.
};

/// gdn_l2norm_args.
struct L2NormArgs {
  Input x = {};                    ///< [.., D].
  Output y = {};                   ///< [.., D].
  std::optional<double> eps = {};  ///< Default: 1e-6.
};

/// gdn_rms_norm_gated_args.
struct RmsNormGatedArgs {
  Input x = {};                    ///< [.., D].
  Input z = {};                    ///< [.., D], the gate.
  Input weight = {};               ///< [D].
  Output y = {};                   ///< [.., D].
  std::optional<double> eps = {};  ///< Default: 1e-6.
  bool sigmoid_gate = false;       ///< The gate is sigmoid(z), not silu(z).
};

/// gdn_fused_gdn_decode_args.
struct FusedGdnDecodeArgs {
  Input mixed_qkv = {};                        ///< [B, T, 2 HK DK + HV DV].
  Input conv_weight = {};                      ///< [C, W].
  Input conv_bias = {};                        ///< [C].
  Output conv_state = {};                      ///< [slots, C, L], read and written.
  Input a = {};                                ///< [B, T, HV].
  Input b = {};                                ///< [B, T, HV].
  Input A_log = {};                            ///< [HV].
  Input dt_bias = {};                          ///< [HV].
  Input z = {};                                ///< [B, T, HV, DV], the gate.
  Input norm_weight = {};                      ///< [DV].
  Output state = {};                           ///< [slots, HV, DK, DV], read and written.
  Input state_indices = {};                    ///< [N] or [N, M].
  Input output_state_indices = {};             ///< [N] or [N, M].
  Input conv_state_indices = {};               ///< [N].
  Input num_accepted_tokens = {};              ///< [N].
  Input cu_seqlens = {};                       ///< [N + 1], int32_t or int64_t.
  Output o = {};                               ///< [B, T, HV, DV].
  std::optional<double> scale = {};            ///< Default: DK^-0.5.
  std::optional<double> eps = {};              ///< Of the gated norm; default: 1e-6.
  bool sigmoid_gate = false;                   ///< The gate is sigmoid(z), not silu(z).
  bool allow_neg_eigval = false;               ///< Double the sigmoid of b.
  bool state_v_first = false;                  ///< States are [.., HV, DV, DK].
  bool padded = false;                         ///< cu_seqlens may end before T.
  bool round_states = false;                   ///< Round states between tokens.
  std::optional<std::int64_t> null_slot = {};  ///< An index that names no slot, in both pools.
  gdn_head_map head_map = GDN_HEAD_MAP_BLOCK;  ///< Which key head a value head reads.
};

}  // namespace gdn

#endif  // GDN_ARGS_HPP_
