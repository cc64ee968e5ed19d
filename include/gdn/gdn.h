/* Copyright the libgdn authors. Licensed under Apache-2.0. */
#ifndef GDN_GDN_H_
#define GDN_GDN_H_

/**
 * @file gdn.h
 * @brief The C interface of libgdn: Gated DeltaNet (GDN) kernels.
 *
 * One value head, one token, with a state S of shape [DK, DV]:
 *
 *     S   <- exp(g_t) S
 *     v'_t = beta_t (v_t - S^T k_t)
 *     S   <- S + k_t v'_t^T
 *     o_t  = scale S^T q_t
 *
 * Conventions that hold for every function here:
 *
 * - Tensors are DLPack `DLTensor`s. `byte_offset` is honoured; `strides == NULL` means compact row
 *   major; strides count elements. An element's address is a multiple of its size; nothing more is
 *   asked of alignment. A null data pointer is legal for an empty tensor.
 * - All tensors of a call lie on one device. The CPU reads kDLCPU and kDLCUDAHost memory, CUDA
 *   kDLCUDA and kDLCUDAManaged.
 * - B: batch, T: tokens, N: sequences, HK: query/key heads, HV: value heads, DK/DV: head widths,
 *   C: chunk length or channels. HV is a multiple of HK. B, T and N may be 0; all else is 1 or
 *   more. DK up to 256 and DV up to 1024, anything in the reference; else GDN_UNSUPPORTED.
 * - q, k, v, w, u, v_new, o, A, T, h and states have a unit last stride; so have the operands of
 *   the norms. Everything else may have any strides. Other strides are free: negative or, on
 *   inputs, 0. (An extent of 1 makes its stride irrelevant.)
 * - Packed variable length: B == 1 and cu_seqlens [N + 1], int32 or int64, from 0 to T, not
 *   decreasing. Without cu_seqlens each of the B rows is a sequence: N == B. With GDN_PADDED
 *   cu_seqlens may end before T: tokens after its end are neither read nor written.
 * - Outputs never overlap inputs, each other or themselves, the in-place state excepted. Operands
 *   that interleave in one buffer without sharing a byte (slices of a projection, pools in common
 *   pages) do not overlap.
 * - Every function returns a status. After a failure gdn_last_error() says in a sentence which
 *   argument was wrong, what was found and what was expected; no output has been written. (A
 *   GDN_DEVICE_ERROR may come too late for that.)
 * - The contents of cu_seqlens, of index arrays, num_accepted_tokens and positions are always
 *   checked on the CPU, on CUDA only with GDN_EXEC_CHECK or GDN_CHECK=1, which synchronise.
 *   Unchecked, wrong contents give undefined results, never an access out of bounds.
 * - Args structs: zero the struct, set struct_size = sizeof, set the required tensors. Zero means
 *   the default everywhere. A shorter struct (older caller) reads as zero-extended; a longer one
 *   whose tail is not zero is refused.
 * - Results are bitwise the same from run to run, for any number of threads, and for a sequence
 *   alone or packed with others. The last ends where the CUDA backend cuts the sequences of a call
 *   into segments (few sequences and value heads, long sequences, on Hopper GPUs; it follows from
 *   shapes and from how many multiprocessors the GPU has); GDN_EXEC_NO_SPLIT restores it.
 * - Several threads may call at once on different outputs.
 * - GDN_BACKEND, GDN_ISA, GDN_CHECK, GDN_NO_SPLIT and GDN_NUM_THREADS are read from the environment
 *   once, at the first call that needs them. What one of them cannot mean refuses the call.
 */

#include <dlpack/dlpack.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Marks what the library exports. */
#if defined(_WIN32)
#define GDN_API
#else
#define GDN_API __attribute__((visibility("default")))
#endif

/**
 * @defgroup calls Status, flags and how to run a call
 * @{
 */

/** Version of this header, first part; gdn_version() is that of the library. */
#define GDN_VERSION_MAJOR 0
/** Second part. */
#define GDN_VERSION_MINOR 1
/** Third part. */
#define GDN_VERSION_PATCH 0

/** Public chunk length, in tokens. */
#define GDN_CHUNK_SIZE 64

/** Alignment that a workspace pointer must have, in bytes. */
#define GDN_WORKSPACE_ALIGNMENT 256

/** Most threads that one call may use. */
#define GDN_MAX_THREADS 1024

/** What a call came to. */
typedef enum gdn_status {
  GDN_OK = 0,
  /** An argument is wrong: rank, shape, dtype, stride, device, value, overlap. */
  GDN_INVALID_ARGUMENT = 1,
  /** The call is valid, but this build, backend or processor cannot serve it. */
  GDN_UNSUPPORTED = 2,
  /** exec->workspace is missing, misaligned or smaller than gdn_*_workspace_size() says. */
  GDN_WORKSPACE_TOO_SMALL = 3,
  /** The library could not get memory for its own bookkeeping (threads). */
  GDN_OUT_OF_MEMORY = 4,
  /** The device reported an error (possibly one of earlier, asynchronous work). */
  GDN_DEVICE_ERROR = 5,
  /** A defect of the library. */
  GDN_INTERNAL_ERROR = 6
} gdn_status;

/** Which key head a value head h reads. */
typedef enum gdn_head_map {
  /** h / (HV / HK): Qwen3-Next, Qwen3.5, vLLM, FLA. */
  GDN_HEAD_MAP_BLOCK = 0,
  /** h % HK: ggml. */
  GDN_HEAD_MAP_INTERLEAVED = 1
} gdn_head_map;

/** Bits of the `flags` field of args structs. A bit that an operation does not know is refused. */
typedef enum gdn_flag {
  /** The scale field counts (otherwise DK^-0.5). */
  GDN_HAS_SCALE = 1 << 0,
  /** q and k are multiplied by rsqrt(sum x^2 + 1e-6) over DK. */
  GDN_USE_QK_L2NORM = 1 << 1,
  /** g holds raw gates a: the decay is -exp(A_log[h]) softplus(a + dt_bias[h]). */
  GDN_USE_GATE = 1 << 2,
  /** beta holds raw logits b: sigmoid(b) is used. */
  GDN_USE_BETA_SIGMOID = 1 << 3,
  /** beta = 2 sigmoid(b); needs GDN_USE_BETA_SIGMOID (or the gating operation). */
  GDN_ALLOW_NEG_EIGVAL = 1 << 4,
  /** States are [.., HV, DV, DK] instead of [.., HV, DK, DV]. */
  GDN_STATE_V_FIRST = 1 << 5,
  /** The eps field counts (otherwise 1e-6). */
  GDN_HAS_EPS = 1 << 6,
  /** The convolution is followed by silu. */
  GDN_SILU = 1 << 7,
  /** The null_slot field counts: that index means "no slot", as negative ones do. */
  GDN_HAS_NULL_SLOT = 1 << 8,
  /** cu_seqlens, which must be given, may end before T. */
  GDN_PADDED = 1 << 9,
  /** Recurrent and gdn_fused_gdn_decode: between the tokens of a call states are rounded to the
   * type in which they are stored, so that a call of several tokens is bitwise the same as calls of
   * one token each, with any type of pool. Otherwise they are rounded where they are stored alone.
   */
  GDN_ROUND_STATES = 1 << 10,
  /** The gate of a gated norm is sigmoid(z) instead of silu(z). */
  GDN_SIGMOID_GATE = 1 << 11
} gdn_flag;

/** Bits of gdn_exec.flags. */
typedef enum gdn_exec_flag {
  /** CUDA: synchronise and check the contents of cu_seqlens and index arrays (also GDN_CHECK=1).
   *  The CPU backends always check. */
  GDN_EXEC_CHECK = 1 << 0,
  /** Never split one sequence for parallelism (also GDN_NO_SPLIT=1): a prefill cut at multiples of
   *  64 tokens and resumed from its float32 state is bitwise the same on the cpu and cuda backends,
   *  and so is a sequence alone or packed. (The reference holds a state in float64 inside a call,
   * so that what it hands over is rounded.) */
  GDN_EXEC_NO_SPLIT = 1 << 1
} gdn_exec_flag;

/** A task of gdn_exec.parallel_for: what one thread does. */
typedef void (*gdn_task)(void *argument, int32_t index);

/** How to run a call. NULL or a zeroed struct (with struct_size) means the defaults. */
typedef struct gdn_exec {
  size_t struct_size; /**< sizeof this struct. */
  /** cudaStream_t on CUDA; must be NULL on the CPU. NULL on CUDA: the default stream. */
  void *stream;
  /** Threads on the CPU, up to GDN_MAX_THREADS; 0: GDN_NUM_THREADS (a number from 1 to
   *  GDN_MAX_THREADS; anything else refuses the call), else what the process may use (the reference
   *  backend: all processors), and no more than an OpenMP runtime gives where threads come from it.
   */
  int32_t threads;
  /** gdn_exec_flag bits. */
  uint32_t flags;
  /** Caller-owned scratch memory on the operands' device, 256-byte aligned; may be NULL when the
   *  operation's workspace size is 0. Its contents before the call do not matter. */
  void *workspace;
  /** Bytes at workspace. */
  size_t workspace_size;
  /** Name of a backend; NULL: GDN_BACKEND, else the operands' device decides. */
  const char *backend;
  /** Name of one of that backend's instruction sets; NULL: GDN_ISA if that backend has it (a name
   *  that no backend has is refused), else the fastest. */
  const char *isa;
  /** Backend cpu: where the threads come from, "pool" (the library's own) or "openmp" (the OpenMP
   *  runtime that the program or torch has loaded); NULL: GDN_THREADS_FROM, else openmp if the
   *  process has one, else pool. Results are bitwise the same. */
  const char *threads_from;
  /** Backend cpu: the caller's own threads, instead of those. The function calls
   *  task(argument, i) once for each i in [0, count), on threads of its choice, in any order, at
   *  once or one after the other, and returns when all have returned; it throws nothing. `count` is
   *  the number of threads of the call, and one task does all work if it runs alone. A call that
   *  has work for one thread only does not use it. NULL: see threads_from. */
  void (*parallel_for)(void *context, int32_t count, gdn_task task, void *argument);
  /** First argument of parallel_for. */
  void *parallel_for_context;
} gdn_exec;

/** @} */

/**
 * @defgroup library Library
 * @{
 */

/** Returns "major.minor.patch" of the loaded library. Static storage. */
GDN_API const char *gdn_version(void);

/** Returns the name of a status, for example "GDN_INVALID_ARGUMENT". Static storage. */
GDN_API const char *gdn_status_string(gdn_status status);

/** Returns the message of the calling thread's last failed call, "" if none failed. Valid until
 *  that thread's next call into the library. */
GDN_API const char *gdn_last_error(void);

/** Number of backends in this build. */
GDN_API int gdn_backend_count(void);

/** Name of backend i ("reference", "cpu", "cuda"); NULL if i is out of range. */
GDN_API const char *gdn_backend_name(int i);

/** Number of instruction sets (code paths) compiled into a backend; 0 for an unknown backend. */
GDN_API int gdn_isa_count(const char *backend);

/** Name of instruction set i of a backend, slowest first; NULL if out of range. */
GDN_API const char *gdn_isa_name(const char *backend, int i);

/** 1 if this machine can run instruction set i of the backend, else 0. */
GDN_API int gdn_isa_supported(const char *backend, int i);

/** What a call with a given gdn_exec would run on. Strings are static. */
typedef struct gdn_selection {
  const char *backend; /**< Its name. */
  const char *isa;     /**< The instruction set's name. */
  /** A sentence: why this instruction set was chosen. */
  const char *reason;
  /** Threads that a CPU call would use at most. */
  int32_t threads;
  /** Where they come from: "pool", "openmp" or "host" (exec->parallel_for); "" on backends that
   *  have no choice. */
  const char *threads_from;
} gdn_selection;

/** Reports backend, instruction set and threads under `exec` (may be NULL) for operands on the CPU,
 *  or on CUDA where exec->backend or GDN_BACKEND says so. */
GDN_API gdn_status gdn_select(const gdn_exec *exec, gdn_selection *out);

/** @} */

/**
 * @defgroup delta_rule The gated delta rule
 * @{
 */

/**
 * Arguments of gdn_chunk_gated_delta_rule (prefill) and gdn_fused_recurrent_gated_delta_rule
 * (decode, speculative verify). Both compute the recurrence at the top of this file.
 *
 * State, one of three ways; in float32, bfloat16 or float16 each (arithmetic is in float32):
 * - fresh: initial_state (optional) is read, final_state (optional) is written; both
 *   [N, HV, DK, DV].
 * - in place: initial_state and final_state are the same memory, type and strides.
 * - pool: state_indices is given; initial_state is the pool [slots, HV, DK, DV] and is updated in
 *   place; final_state is NULL or the same memory, type and strides. Sequence n starts from slot
 *   state_indices[n]; the state after it goes to slot output_state_indices[n], by default the same.
 *
 * An index that is negative or, with GDN_HAS_NULL_SLOT, equals null_slot names no slot. A sequence
 * without a slot to start from is skipped: its o is 0, no slot is touched, and nothing else that is
 * said of it is looked at. A state without a slot to go to is not stored. A slot that a sequence
 * writes may be read and written by no other; slots that are only read may be shared.
 */
typedef struct gdn_gated_delta_rule_args {
  size_t struct_size; /**< sizeof this struct. */
  /** gdn_flag: HAS_SCALE, USE_QK_L2NORM, USE_GATE, USE_BETA_SIGMOID, ALLOW_NEG_EIGVAL,
   *  STATE_V_FIRST, HAS_NULL_SLOT, PADDED; recurrent with final_state or a pool: ROUND_STATES. */
  uint32_t flags;
  /** gdn_head_map. */
  int32_t head_map;
  /** Factor of o; finite; counts only with GDN_HAS_SCALE. */
  double scale;
  /** Chunk operation: 0 (default), 16, 32, 64 or 128; a hint that changes rounding at most.
   *  Recurrent: must be 0. */
  int32_t chunk_size;
  /** Must be 0. */
  int32_t reserved;
  /** Chunk operation: tokens between checkpoints, a multiple of 64; 0 without checkpoints and
   *  checkpoint_indices. Recurrent: must be 0. */
  int64_t checkpoint_every;
  /** [B, T, HK, DK], float32, bfloat16 or float16. */
  const DLTensor *q;
  /** [B, T, HK, DK], type of q. */
  const DLTensor *k;
  /** [B, T, HV, DV], type of q. */
  const DLTensor *v;
  /** [B, T, HV], any type: log decay (<= 0 in practice), natural logarithm; NULL: 0. With
   *  GDN_USE_GATE: raw gates, required. */
  const DLTensor *g;
  /** [B, T, HV], any type; NULL: 1. With GDN_USE_BETA_SIGMOID: logits, required. */
  const DLTensor *beta;
  /** [HV], any type; required with GDN_USE_GATE, else NULL. */
  const DLTensor *A_log;
  /** [HV], any type; optional with GDN_USE_GATE, else NULL. */
  const DLTensor *dt_bias;
  /** [N + 1], int32 or int64; NULL: B sequences of T tokens. */
  const DLTensor *cu_seqlens;
  /** See above; NULL: zeros. */
  const DLTensor *initial_state;
  /** See above; NULL: not wanted. */
  const DLTensor *final_state;
  /** [N], or for the recurrent operation also [N, M]; int32 or int64. With [N, M] sequence n starts
   *  from slot state_indices[n, num_accepted_tokens[n] - 1], and without output_state_indices the
   *  state after its token t goes to slot state_indices[n, t]; M is then at least the longest
   *  sequence. Entries that this does not name may hold anything. [N, 1] means [N]. */
  const DLTensor *state_indices;
  /** [N], int32 or int64, each in 1..M; recurrent with state_indices [N, M] only; NULL: ones. (In a
   *  row that is skipped it may hold anything; out of range it names column 0.) */
  const DLTensor *num_accepted_tokens;
  /** Output, optional: the states after m, 2m, .. tokens of each sequence (m = checkpoint_every),
   *  sequences in order: [sum over n of floor((P_n + L_n) / m) - floor(P_n / m), HV, DK, DV] with
   *  P = positions, any type. Those of a skipped sequence are not written. */
  const DLTensor *checkpoints;
  /** Output: [B, T, HV, DV], type of q. */
  const DLTensor *o;
  /** Optional, with state_indices: where states go. [N], or for the recurrent operation [N, M] with
   *  M >= the longest sequence: the state after token t of sequence n goes to slot
   *  output_state_indices[n, t]. int32 or int64; NULL: state_indices. */
  const DLTensor *output_state_indices;
  /** Optional, with initial_state: [N], bool, int8, uint8 or int32. False: the sequence starts from
   *  zeros, whatever its entry of initial_state holds. NULL: all true. */
  const DLTensor *has_initial_state;
  /** Chunk operation, optional, with state_indices and instead of checkpoints: [N, K], int32 or
   *  int64, K >= the most checkpoints of a sequence. Checkpoint j of sequence n goes to that slot
   * of the pool. One at the very end of a sequence may name the slot that its last state goes to.
   *  Entries past a sequence's own checkpoints may hold anything. */
  const DLTensor *checkpoint_indices;
  /** Chunk operation, optional: [N], int32 or int64, each 0 or more: tokens of the sequence before
   *  this call. Checkpoints, and the chunks of 64 tokens in which the sequence is computed, then
   *  fall on multiples counted from the sequence's beginning, not the call's. Those of skipped
   *  sequences count as 0. NULL: zeros. */
  const DLTensor *positions;
  /** Index that names no slot; counts only with GDN_HAS_NULL_SLOT. */
  int64_t null_slot;
} gdn_gated_delta_rule_args;

/**
 * Gated delta rule over whole sequences, in chunks: one fused pass that never stores W, U or V'.
 * S. Yang, J. Kautz, A. Hatamizadeh, "Gated Delta Networks", ICLR 2025 (arXiv 2412.06464).
 */
GDN_API gdn_status gdn_chunk_gated_delta_rule(const gdn_gated_delta_rule_args *args,
                                              const gdn_exec *exec);

/** Bytes of workspace that gdn_chunk_gated_delta_rule needs; follows from shapes, types and the
 *  threads, flags, backend and instruction set that `exec` asks for. Reads no tensor's memory: data
 *  pointers may still be null, and exec->workspace is not looked at. */
GDN_API gdn_status gdn_chunk_gated_delta_rule_workspace_size(const gdn_gated_delta_rule_args *args,
                                                             const gdn_exec *exec, size_t *bytes);

/** Gated delta rule token by token: the state is read and written once per token or call. Needs no
 *  workspace. */
GDN_API gdn_status gdn_fused_recurrent_gated_delta_rule(const gdn_gated_delta_rule_args *args,
                                                        const gdn_exec *exec);

/** @} */

/**
 * @defgroup stages The stages of the chunkwise algorithm, one by one
 *
 * A chunk of C tokens, c = inclusive cumulative sum of g inside it, S0 the state before it:
 *
 *     A[i,j] = beta_i exp(c_i - c_j) (k_i . k_j),  i > j        chunk_scaled_dot_kkt
 *     T      = (I + A)^-1                                       solve_tril
 *     u = T diag(beta) v,   w = T diag(beta exp(c)) k           recompute_w_u
 *     v_new  = u - w S0                                         chunk_fwd_h
 *     S1     = exp(c_last) S0 + (diag(exp(c_last - c)) k)^T v_new
 *     o      = scale (diag(exp(c)) q S0 + tril(q k^T exp(c_i - c_j)) v_new)    chunk_fwd_o
 *
 * Chunks start at each sequence's first token; chunk_size is 0 (64), 16, 32, 64 or 128. NT is the
 * number of chunks of all sequences together, sequences in order; with GDN_PADDED h may have more
 * rows, which are left alone (ceil(T / C) + N always suffice), and has at least ceil(T / C). "type"
 * is float32, bfloat16 or float16; k, v, w, u, v_new, q, o of one call share it. Stages need no
 * workspace.
 * @{
 */

/** Arguments of gdn_chunk_local_cumsum. */
typedef struct gdn_chunk_local_cumsum_args {
  size_t struct_size;         /**< sizeof this struct. */
  uint32_t flags;             /**< GDN_PADDED or 0. */
  int32_t chunk_size;         /**< 0 (64), 16, 32, 64 or 128. */
  const DLTensor *g;          /**< [B, T, HV], any type. */
  const DLTensor *cu_seqlens; /**< [N + 1] or NULL. */
  const DLTensor *g_cumsum;   /**< Output: [B, T, HV], float32. */
} gdn_chunk_local_cumsum_args;

/** g_cumsum = inclusive sum of g over each chunk. */
GDN_API gdn_status gdn_chunk_local_cumsum(const gdn_chunk_local_cumsum_args *args,
                                          const gdn_exec *exec);

/** Arguments of gdn_chunk_scaled_dot_kkt. */
typedef struct gdn_chunk_scaled_dot_kkt_args {
  size_t struct_size;         /**< sizeof this struct. */
  uint32_t flags;             /**< GDN_PADDED or 0. */
  int32_t chunk_size;         /**< 0 (64), 16, 32, 64 or 128. */
  int32_t head_map;           /**< gdn_head_map. */
  int32_t reserved;           /**< Must be 0. */
  const DLTensor *k;          /**< [B, T, HK, DK], type. */
  const DLTensor *beta;       /**< [B, T, HV], float32, bfloat16 or float16. */
  const DLTensor *g_cumsum;   /**< [B, T, HV], float32; NULL: zeros. */
  const DLTensor *cu_seqlens; /**< [N + 1] or NULL. */
  const DLTensor *A;          /**< Output: [B, T, HV, C], float32; 0 on and above the diagonal and
                                   past the end of a sequence. */
} gdn_chunk_scaled_dot_kkt_args;

/** A = strictly lower triangle of diag(beta) (K K^T) exp(c_i - c_j), chunk by chunk. */
GDN_API gdn_status gdn_chunk_scaled_dot_kkt(const gdn_chunk_scaled_dot_kkt_args *args,
                                            const gdn_exec *exec);

/** Arguments of gdn_solve_tril. */
typedef struct gdn_solve_tril_args {
  size_t struct_size;         /**< sizeof this struct. */
  uint32_t flags;             /**< GDN_PADDED or 0. */
  int32_t chunk_size;         /**< 0 (64), 16, 32, 64 or 128. */
  const DLTensor *A;          /**< [B, T, HV, C], float32; only i > j is read. */
  const DLTensor *cu_seqlens; /**< [N + 1] or NULL. */
  const DLTensor *T;          /**< Output: [B, T, HV, C], float32, bfloat16 or float16; 0 above the
                                   diagonal and past the end of a sequence. */
} gdn_solve_tril_args;

/** T = (I + A)^-1, chunk by chunk, by forward substitution in float32. */
GDN_API gdn_status gdn_solve_tril(const gdn_solve_tril_args *args, const gdn_exec *exec);

/** Arguments of gdn_recompute_w_u. */
typedef struct gdn_recompute_w_u_args {
  size_t struct_size;         /**< sizeof this struct. */
  uint32_t flags;             /**< GDN_PADDED or 0. */
  int32_t chunk_size;         /**< 0 (64), 16, 32, 64 or 128. */
  int32_t head_map;           /**< gdn_head_map. */
  int32_t reserved;           /**< Must be 0. */
  const DLTensor *k;          /**< [B, T, HK, DK], type. */
  const DLTensor *v;          /**< [B, T, HV, DV], type. */
  const DLTensor *beta;       /**< [B, T, HV], float32, bfloat16 or float16. */
  const DLTensor *g_cumsum;   /**< [B, T, HV], float32; NULL: zeros. */
  const DLTensor *T;          /**< [B, T, HV, C], float32 or type. */
  const DLTensor *cu_seqlens; /**< [N + 1] or NULL. */
  const DLTensor *w;          /**< Output: [B, T, HV, DK], type. */
  const DLTensor *u;          /**< Output: [B, T, HV, DV], type. */
} gdn_recompute_w_u_args;

/** w = T diag(beta exp(c)) k and u = T diag(beta) v, chunk by chunk. */
GDN_API gdn_status gdn_recompute_w_u(const gdn_recompute_w_u_args *args, const gdn_exec *exec);

/** Arguments of gdn_chunk_fwd_h. */
typedef struct gdn_chunk_fwd_h_args {
  size_t struct_size;            /**< sizeof this struct. */
  uint32_t flags;                /**< GDN_STATE_V_FIRST (concerns h and both states), GDN_PADDED. */
  int32_t chunk_size;            /**< 0 (64), 16, 32, 64 or 128. */
  int32_t head_map;              /**< gdn_head_map. */
  int32_t reserved;              /**< Must be 0. */
  const DLTensor *k;             /**< [B, T, HK, DK], type. */
  const DLTensor *w;             /**< [B, T, HV, DK], type. */
  const DLTensor *u;             /**< [B, T, HV, DV], type. */
  const DLTensor *g_cumsum;      /**< [B, T, HV], float32; NULL: zeros. */
  const DLTensor *cu_seqlens;    /**< [N + 1] or NULL. */
  const DLTensor *initial_state; /**< [N, HV, DK, DV], float32, bfloat16 or float16; NULL: zeros. */
  const DLTensor *h;             /**< Output: [NT, HV, DK, DV], float32 or type: the state before
                                      each chunk. */
  const DLTensor *v_new;         /**< Output: [B, T, HV, DV], type. */
  const DLTensor *final_state;   /**< Output, optional: [N, HV, DK, DV], any type. */
} gdn_chunk_fwd_h_args;

/** The chain of states from chunk to chunk. */
GDN_API gdn_status gdn_chunk_fwd_h(const gdn_chunk_fwd_h_args *args, const gdn_exec *exec);

/** Arguments of gdn_chunk_fwd_o. */
typedef struct gdn_chunk_fwd_o_args {
  size_t struct_size;         /**< sizeof this struct. */
  uint32_t flags;             /**< GDN_HAS_SCALE, GDN_STATE_V_FIRST (concerns h), GDN_PADDED. */
  int32_t chunk_size;         /**< 0 (64), 16, 32, 64 or 128. */
  int32_t head_map;           /**< gdn_head_map. */
  int32_t reserved;           /**< Must be 0. */
  double scale;               /**< Counts only with GDN_HAS_SCALE; else DK^-0.5. */
  const DLTensor *q;          /**< [B, T, HK, DK], type. */
  const DLTensor *k;          /**< [B, T, HK, DK], type. */
  const DLTensor *v_new;      /**< [B, T, HV, DV], type. */
  const DLTensor *h;          /**< [NT, HV, DK, DV], float32 or type. */
  const DLTensor *g_cumsum;   /**< [B, T, HV], float32; NULL: zeros. */
  const DLTensor *cu_seqlens; /**< [N + 1] or NULL. */
  const DLTensor *o;          /**< Output: [B, T, HV, DV], type. */
} gdn_chunk_fwd_o_args;

/** The output of each chunk from the state before it and its v_new. */
GDN_API gdn_status gdn_chunk_fwd_o(const gdn_chunk_fwd_o_args *args, const gdn_exec *exec);

/** @} */

/**
 * @defgroup layer The rest of a GDN layer
 * @{
 */

/**
 * Arguments of gdn_causal_conv1d_fwd: y[c, t] = act(bias[c] + sum_w weight[c, w] x[c, t - W + 1 +
 * w]) with x before a sequence's start taken from the convolution state, or 0. An index that is
 * negative or, with GDN_HAS_NULL_SLOT, equals null_slot names no slot: y of that sequence is 0, no
 * slot is touched, and nothing else that is said of it is looked at.
 */
typedef struct gdn_causal_conv1d_fwd_args {
  size_t struct_size;                /**< sizeof this struct. */
  uint32_t flags;                    /**< gdn_flag: SILU, HAS_NULL_SLOT, PADDED. */
  int32_t reserved;                  /**< Must be 0. */
  const DLTensor *x;                 /**< [B, C, T], float32, bfloat16 or float16; any strides. */
  const DLTensor *weight;            /**< [C, W], float32 or type of x; W = 2, 3 or 4. */
  const DLTensor *bias;              /**< [C], float32 or type of x; NULL: 0. */
  const DLTensor *cu_seqlens;        /**< [N + 1], int32 or int64; NULL: B sequences of T tokens. */
  const DLTensor *conv_state;        /**< In/out, optional: [slots, C, L] with L >= W - 1, float32,
                                          bfloat16 or float16, any strides: the last L inputs of each
                                          sequence, newest last. */
  const DLTensor *state_indices;     /**< [N], int32 or int64; NULL: slot n. Needs conv_state;
                                          duplicates are refused. */
  const DLTensor *has_initial_state; /**< [N], bool, int8, uint8 or int32; NULL: all true if
                                          conv_state is given. Where false the slot is only written,
                                          as if it had held zeros. */
  const DLTensor *y;                 /**< Output: [B, C, T], type of x; any strides. */
  int64_t null_slot;                 /**< Counts only with GDN_HAS_NULL_SLOT. */
} gdn_causal_conv1d_fwd_args;

/** Depthwise causal convolution over whole sequences. */
GDN_API gdn_status gdn_causal_conv1d_fwd(const gdn_causal_conv1d_fwd_args *args,
                                         const gdn_exec *exec);

/**
 * Arguments of gdn_causal_conv1d_update: new tokens of each of N sequences, T of each or, with
 * cu_seqlens, any number. Slots are named as for gdn_causal_conv1d_fwd. x is appended to a slot's
 * entries, and the newest L stay.
 *
 * With num_accepted_tokens a (speculative verify) the rejected tokens of the last call are dropped
 * first:
 * - Without cu_seqlens the newest T entries of the slot are the tokens of the last call, of which
 *   the first a were accepted; the newest T - a entries are dropped.
 * - With cu_seqlens a sequence's last call may have had another number of tokens than this one, so
 *   its slot is filled from the front: W - 2 inputs, then the tokens of the last call. The W - 1
 *   entries from entry a - 1 on come before x. Afterwards the slot holds the W - 2 inputs before x,
 *   then x; entries behind those keep their values, and a sequence without tokens keeps its slot.
 *   After a call that left the newest W - 1 inputs in the first W - 1 entries (one that was given
 *   those alone as conv_state), a is 1.
 * Where L = W - 2 + T, both say the same.
 */
typedef struct gdn_causal_conv1d_update_args {
  size_t struct_size;            /**< sizeof this struct. */
  uint32_t flags;                /**< gdn_flag: SILU, HAS_NULL_SLOT, PADDED. */
  int32_t reserved;              /**< Must be 0. */
  const DLTensor *x;             /**< [N, C, T], or [1, C, T] with cu_seqlens; float32, bfloat16 or
                                      float16; any strides. */
  const DLTensor *weight;        /**< [C, W], float32 or type of x; W = 2, 3 or 4. */
  const DLTensor *bias;          /**< [C], float32 or type of x; NULL: 0. */
  const DLTensor *conv_state;    /**< In/out: [slots, C, L], float32, bfloat16 or float16, any
                                      strides; L >= W - 1, and with num_accepted_tokens L >= W - 2 +
                                      T, where T is that of the longest sequence. */
  const DLTensor *state_indices; /**< [N], int32 or int64; NULL: slot n. Duplicates are refused. */
  const DLTensor *num_accepted_tokens; /**< [N], int32 or int64, each in 1..T, with cu_seqlens in
                                            1..L - W + 2; NULL: nothing is dropped. */
  const DLTensor *y;                   /**< Output: shape and type of x; any strides. */
  const DLTensor *cu_seqlens; /**< [N + 1], int32 or int64; NULL: N sequences of T tokens. */
  int64_t null_slot;          /**< Counts only with GDN_HAS_NULL_SLOT. */
} gdn_causal_conv1d_update_args;

/** Depthwise causal convolution for decode, the state kept in a pool. */
GDN_API gdn_status gdn_causal_conv1d_update(const gdn_causal_conv1d_update_args *args,
                                            const gdn_exec *exec);

/** Arguments of gdn_fused_gdn_gating. */
typedef struct gdn_fused_gdn_gating_args {
  size_t struct_size;      /**< sizeof this struct. */
  uint32_t flags;          /**< GDN_ALLOW_NEG_EIGVAL or 0. */
  int32_t reserved;        /**< Must be 0. */
  const DLTensor *A_log;   /**< [HV], float32, bfloat16 or float16. */
  const DLTensor *a;       /**< [B, T, HV], float32, bfloat16 or float16; any strides. */
  const DLTensor *b;       /**< [B, T, HV], float32, bfloat16 or float16; any strides. */
  const DLTensor *dt_bias; /**< [HV], float32, bfloat16 or float16; NULL: 0. */
  const DLTensor *g;       /**< Output: [B, T, HV], float32. */
  const DLTensor *beta;    /**< Output: [B, T, HV], float32 or type of b. */
} gdn_fused_gdn_gating_args;

/** g = -exp(A_log) softplus(a + dt_bias) (threshold 20), beta = sigmoid(b), twice that with
 *  GDN_ALLOW_NEG_EIGVAL. */
GDN_API gdn_status gdn_fused_gdn_gating(const gdn_fused_gdn_gating_args *args,
                                        const gdn_exec *exec);

/** Arguments of gdn_l2norm. */
typedef struct gdn_l2norm_args {
  size_t struct_size; /**< sizeof this struct. */
  uint32_t flags;     /**< GDN_HAS_EPS or 0. */
  int32_t reserved;   /**< Must be 0. */
  double eps;         /**< Counts only with GDN_HAS_EPS; >= 0; else 1e-6. */
  const DLTensor *x;  /**< [.., D], rank 1 to 5, float32, bfloat16 or float16; unit last stride. */
  const DLTensor *y;  /**< Output: shape and type of x; unit last stride. */
} gdn_l2norm_args;

/** y = x rsqrt(sum x^2 + eps) over the last dimension. */
GDN_API gdn_status gdn_l2norm(const gdn_l2norm_args *args, const gdn_exec *exec);

/** Arguments of gdn_rms_norm_gated. */
typedef struct gdn_rms_norm_gated_args {
  size_t struct_size; /**< sizeof this struct. */
  uint32_t flags;     /**< gdn_flag: HAS_EPS, and with z SIGMOID_GATE. */
  int32_t reserved;   /**< Must be 0. */
  double eps;         /**< Counts only with GDN_HAS_EPS; >= 0; else 1e-6. */
  const DLTensor *x;  /**< [.., D], rank 1 to 5, float32, bfloat16 or float16; unit last stride. */
  const DLTensor *z;  /**< Gate: shape and type of x; NULL: no gate. */
  const DLTensor *weight; /**< [D], float32 or type of x; NULL: ones. */
  const DLTensor *y;      /**< Output: shape and type of x; unit last stride. */
} gdn_rms_norm_gated_args;

/** y = x rsqrt(mean x^2 + eps) * weight * silu(z), in float32, rounded once. With GDN_SIGMOID_GATE
 *  sigmoid(z) instead of silu(z). */
GDN_API gdn_status gdn_rms_norm_gated(const gdn_rms_norm_gated_args *args, const gdn_exec *exec);

/**
 * Arguments of gdn_fused_gdn_decode: new tokens of each of N sequences through a whole GDN layer
 * but for its projections. The results are those of
 *
 *     q, k, v = parts of gdn_causal_conv1d_update(mixed_qkv), with silu
 *     q, k    = gdn_l2norm(q), gdn_l2norm(k)
 *     g, beta = gdn_fused_gdn_gating(A_log, a, b, dt_bias)
 *     o       = gdn_fused_recurrent_gated_delta_rule(q, k, v, g, beta)
 *     o       = gdn_rms_norm_gated(o, z, norm_weight)
 *
 * where nothing is rounded on the way: what those calls hand on in the type of mixed_qkv (the
 * output of the convolution, the normalised q and k, the output of the rule) stays in float32.
 *
 * Channels of mixed_qkv are q of all key heads, then k of all key heads, then v of all value heads:
 * C = 2 HK DK + HV DV, which says what HK is.
 *
 * Both pools are updated in place. Sequence n has the slot state_indices[n] of the state and the
 * slot conv_state_indices[n] of the convolution's, by default the same, or the first of its row
 * with [N, M]; without state_indices both are n. State slots are read and written as by the
 * recurrent operation, convolution slots as by gdn_causal_conv1d_update, num_accepted_tokens among
 * that. A sequence that lacks one slot to start from or the other is skipped.
 */
typedef struct gdn_fused_gdn_decode_args {
  size_t struct_size; /**< sizeof this struct. */
  /** gdn_flag: HAS_SCALE, ALLOW_NEG_EIGVAL, STATE_V_FIRST, HAS_EPS, HAS_NULL_SLOT, PADDED,
   *  SIGMOID_GATE, ROUND_STATES (which rounds the inputs that a convolution finds before a token of
   *  this call to the type of conv_state, too). */
  uint32_t flags;
  int32_t head_map;              /**< gdn_head_map. */
  double scale;                  /**< Finite; counts only with GDN_HAS_SCALE; else DK^-0.5. */
  double eps;                    /**< Of the gated norm; counts only with GDN_HAS_EPS; >= 0; else
                                      1e-6. (That of the l2norm is 1e-6.) */
  const DLTensor *mixed_qkv;     /**< [B, T, C], float32, bfloat16 or float16; unit last stride. */
  const DLTensor *conv_weight;   /**< [C, W], float32 or type of mixed_qkv; W = 2, 3 or 4. */
  const DLTensor *conv_bias;     /**< [C], float32 or type of mixed_qkv; NULL: 0. */
  const DLTensor *conv_state;    /**< In/out: [slots, C, L], float32, bfloat16 or float16, any
                                      strides; L as for gdn_causal_conv1d_update. */
  const DLTensor *a;             /**< [B, T, HV], any type. */
  const DLTensor *b;             /**< [B, T, HV], any type. */
  const DLTensor *A_log;         /**< [HV], any type. */
  const DLTensor *dt_bias;       /**< [HV], any type; NULL: 0. */
  const DLTensor *z;             /**< [B, T, HV, DV], type of mixed_qkv; unit last stride. */
  const DLTensor *norm_weight;   /**< [DV], float32 or type of mixed_qkv. */
  const DLTensor *state;         /**< In/out: [slots, HV, DK, DV], with GDN_STATE_V_FIRST [slots,
                                      HV, DV, DK]; float32, bfloat16 or float16; unit last
                                      stride. */
  const DLTensor *state_indices; /**< [N] or [N, M], int32 or int64; NULL: slot n. */
  const DLTensor *output_state_indices; /**< [N] or [N, M], int32 or int64, with state_indices;
                                           NULL: state_indices. */
  const DLTensor *conv_state_indices;   /**< [N], int32 or int64; no slot twice; NULL: the first
                                             column of state_indices. */
  const DLTensor *num_accepted_tokens;  /**< [N], int32 or int64, with state_indices [N, M]; NULL:
                                             each starts from its row's first slot, and the
                                             convolution drops nothing. */
  const DLTensor *cu_seqlens;           /**< [N + 1], int32 or int64; NULL: N = B sequences of T. */
  const DLTensor *o; /**< Output: [B, T, HV, DV], type of mixed_qkv; unit last stride. */
  int64_t null_slot; /**< Counts only with GDN_HAS_NULL_SLOT; in both pools. */
} gdn_fused_gdn_decode_args;

/** A GDN layer's decode step, from its projections to the input of its last one, in one call. On a
 *  GPU calls of many sequences of one token need a workspace. A sequence's results do not depend on
 *  what else the call has. */
GDN_API gdn_status gdn_fused_gdn_decode(const gdn_fused_gdn_decode_args *args,
                                        const gdn_exec *exec);

/** Bytes of workspace that gdn_fused_gdn_decode needs, 0 on a CPU. As
 *  gdn_chunk_gated_delta_rule_workspace_size otherwise. */
GDN_API gdn_status gdn_fused_gdn_decode_workspace_size(const gdn_fused_gdn_decode_args *args,
                                                       const gdn_exec *exec, size_t *bytes);

/** @} */

#ifdef __cplusplus
}
#endif

#endif /* GDN_GDN_H_ */
