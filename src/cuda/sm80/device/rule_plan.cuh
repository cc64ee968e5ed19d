#ifndef GDN_CUDA_SM80_DEVICE_RULE_PLAN_CUH_
#define GDN_CUDA_SM80_DEVICE_RULE_PLAN_CUH_

#include "cuda/device/functions.cuh"
#include "cuda/device/sequences.cuh"
#include "cuda/sm80/device/divisor.cuh"
#include "cuda/sm80/device/state_part.cuh"

// What a decode kernel asks of a call, made on the host and laid out in the order in which blocks
// ask for it: each first look at a line of a kernel's arguments costs about as much as an access to
// the second-level cache, and in DeltaRule the same things lie in some twenty lines.

namespace gdn::cuda::sm80 {

/// q, k, v, o or gates of a call.
struct Rows {
  void *data = nullptr;
  int64_t batch = 0, token = 0, head = 0;
  DType dtype = DType::none;

  Rows() = default;
  explicit Rows(const Tensor &t)
      : data(t.data), batch(t.stride[0]), token(t.stride[1]), head(t.stride[2]), dtype(t.dtype) {}
  __device__ __forceinline__ bool present() const { return dtype != DType::none; }
  __device__ __forceinline__ int64_t offset(int64_t b, int64_t t, int64_t h) const {
    return b * batch + t * token + h * head;
  }
  __device__ __forceinline__ uint32_t bits(int64_t offset) const {
    if (dtype == DType::f32) return static_cast<const uint32_t *>(data)[offset];
    return static_cast<const uint16_t *>(data)[offset];
  }
};

/// States of a call.
struct States {
  void *data = nullptr;
  int64_t entry = 0, head = 0, row = 0, column = 0;
  DType dtype = DType::none;
  Access access = Access::exact;

  States() = default;
  States(const Tensor &t, Access how)
      : data(t.data),
        entry(t.stride[0]),
        head(t.stride[1]),
        row(t.stride[2]),
        column(t.stride[3]),
        dtype(t.dtype),
        access(how) {}
  template <class T>
  __device__ __forceinline__ T *at(int64_t n, int64_t h, int first_column) const {
    return static_cast<T *>(data) + (n * entry + h * head + first_column * column);
  }
};

struct RulePlan {
  Divisor column_tiles;  ///< Blocks that share a value head.
  Divisor value_heads;
  Divisor head_map;         ///< By the key heads if interleaved, else by a key head's value heads.
  unsigned ahead = 0;       ///< How far from a block is the one whose state it asks for; 0: it
                            ///< does not (HeadAhead).
  unsigned head_bytes = 0;  ///< Of a head's state if that lies in one piece.
  bool interleaved;
  bool packed;          ///< There is cu_seqlens,
  bool pool;            ///< state_indices,
  bool accepted;        ///< num_accepted_tokens,
  bool reads, writes;   ///< a state to read, one to write,
  bool flagged;         ///< has_initial_state,
  bool output_named;    ///< output_state_indices.
  bool slot_per_token;  ///< As DeltaRule's, and so are:
  bool l2norm, gate;
  DType round;  ///< What states become between tokens; none: they stay f32.
  int key_dim, value_dim;
  float scale;
  IndexArray state_indices;
  Slots slots;
  States in;
  Rows q, k, v, g, beta, o;
  States out;
};

/// How a state is reached in pieces of `vector` elements along its unit stride: 16 bytes of the
/// type that the state is read in.
inline Access access_of(const Tensor &t, DType read, bool rows_first) {
  if (!t.present()) return Access::exact;
  const int unit = rows_first ? 2 : 3;
  const auto size = static_cast<int64_t>(dtype_size(t.dtype));
  uint64_t bits = reinterpret_cast<uintptr_t>(t.data);
  for (int i = 0; i < 4; ++i) {
    if (i != unit && t.shape[i] > 1) bits |= static_cast<uint64_t>(t.stride[i] * size);
  }
  const auto vector = 16 / static_cast<int64_t>(dtype_size(read));
  if (bits % 16 == 0 && t.shape[2] % vector == 0 && t.shape[3] % vector == 0) return Access::exact;
  bits |= static_cast<uint64_t>(t.shape[unit] * size);
  if (t.dtype == read && bits % 16 == 0) return Access::whole;
  if (t.dtype == read && size == 2 && bits % 8 == 0) return Access::halves;
  return Access::elements;
}

/// Bytes of a head's state if they lie in one piece, else 0.
inline unsigned head_bytes_of(const Tensor &t) {
  if (!t.present()) return 0;
  const int unit = t.stride[3] != 1 ? 2 : 3;
  if (t.stride[unit] != 1 || t.stride[5 - unit] != t.shape[unit]) return 0;
  return static_cast<unsigned>(t.shape[2] * t.shape[3] * static_cast<int64_t>(dtype_size(t.dtype)));
}

/// All but column_tiles and ahead, which follow from the kernel.
inline RulePlan plan_rule(const DeltaRule &p, DType read, bool rows_first) {
  RulePlan plan;
  plan.value_heads = Divisor(static_cast<unsigned>(p.heads.value_heads));
  plan.head_map =
      Divisor(static_cast<unsigned>(p.heads.interleaved ? p.heads.key_heads : p.heads.group()));
  plan.interleaved = p.heads.interleaved;
  plan.packed = p.sequences.packed();
  plan.pool = p.state_indices.present;
  plan.accepted = p.num_accepted_tokens.present;
  plan.reads = p.initial_state.present(), plan.writes = p.final_state.present();
  plan.flagged = p.has_initial_state.present;
  plan.output_named = p.output_state_indices.present;
  plan.slot_per_token = p.slot_per_token();
  plan.l2norm = p.qk_l2norm, plan.gate = p.gate;
  const DType kept = p.final_state.dtype;
  plan.round = p.round_states && kept != DType::f32 ? kept : DType::none;
  plan.key_dim = static_cast<int>(p.key_dim), plan.value_dim = static_cast<int>(p.value_dim);
  plan.scale = p.scale;
  plan.state_indices = p.state_indices, plan.slots = p.slots;
  plan.in = States(p.initial_state, access_of(p.initial_state, read, rows_first));
  plan.out = States(p.final_state, access_of(p.final_state, read, rows_first));
  plan.head_bytes = head_bytes_of(p.initial_state);
  plan.q = Rows(p.q), plan.k = Rows(p.k), plan.v = Rows(p.v), plan.o = Rows(p.o);
  plan.g = Rows(p.g), plan.beta = Rows(p.beta);
  return plan;
}

/// RulePlan::ahead of a call of so many blocks, `running` of which a device runs at a time: half of
/// them, which is soon enough, and what has been asked for does not push out what others are about
/// to read. A head is `tiles` blocks'.
inline unsigned blocks_ahead(const RulePlan &plan, int64_t blocks, int running, int64_t tiles) {
  if (plan.head_bytes == 0 || plan.head_bytes % 16 != 0 || blocks <= running) return 0;
  return static_cast<unsigned>(running / 2 / tiles * tiles);
}

/// Calls f with an element of the type that states are written in, where those read are S. Kernels
/// for exact pieces of 16-bit states write S or f32.
template <class S, Pieces kKind, class F>
__device__ __forceinline__ void with_state_type(DType dtype, F f) {
  if (sizeof(S) == 2 && dtype == dtype_of<S>()) {
    f(S{});
  } else if (dtype == DType::f32) {
    f(float{});
  } else if (sizeof(S) == 2 && kKind == Pieces::exact) {
    f(S{});
  } else if (dtype == DType::bf16) {
    f(bf16{});
  } else {
    f(f16{});
  }
}

/// Where a sequence's tokens lie and which slot it starts from. Everything is on its way after
/// load(): what a load's place hangs on is not waited for.
template <bool kOne>
struct SequenceBits {
  LoadedIndex begin, end, accepted, slots;

  __device__ __forceinline__ void load(const RulePlan &plan, const DeltaRule &p, int64_t n) {
    if (!kOne && plan.packed) {
      begin.load(p.sequences.cu_seqlens, n);
      end.load(p.sequences.cu_seqlens, n + 1);
    }
    if (!plan.pool) return;
    int64_t column = 0;
    if (plan.accepted) {
      accepted.load(p.num_accepted_tokens, n);
      // Each lane has a column.
      const int lane = fresh_lane();
      column = lane < plan.state_indices.columns ? lane : 0;
      if (plan.state_indices.columns > 32)
        column = p.start_column(accepted.value(), plan.state_indices.columns);
    }
    slots.load(plan.state_indices, n, column);
  }
  __device__ __forceinline__ SequenceSpan span(const RulePlan &plan, const DeltaRule &p,
                                               int64_t n) const {
    if (kOne) return {n, 0, 1};
    const int64_t tokens = p.sequences.tokens;
    if (!plan.packed) return {n, 0, tokens};
    const int64_t first = clamp64(begin.value(), 0, tokens);
    return {0, first, clamp64(end.value(), first, tokens) - first};
  }
  /// DeltaRule::initial_slot.
  __device__ __forceinline__ int64_t initial_slot(const RulePlan &plan, int64_t n) const {
    if (!plan.pool) return n;
    int lane = 0;
    if (plan.accepted && plan.state_indices.columns <= 32) {
      lane =
          static_cast<int>(DeltaRule::start_column(accepted.value(), plan.state_indices.columns));
    }
    return plan.slots.named(slots.value(lane));
  }
};

/// A state that blocks to come are going to read. Blocks that wait for what they have just found
/// out to need leave memory idle, so each has another's state brought to the second-level cache.
/// For a warp.
class HeadAhead {
 public:
  /// Head h of sequence n.
  __device__ __forceinline__ void load(const RulePlan &plan, const DeltaRule &p, unsigned n,
                                       unsigned h) {
    sequence_.load(plan, p, n);
    n_ = n, h_ = h, wanted_ = true;
  }
  /// Once the block's own state is on its way.
  template <class S>
  __device__ __forceinline__ void ask(const RulePlan &plan) const {
#if __CUDA_ARCH__ >= 900
    if (!wanted_) return;
    const int64_t slot = sequence_.initial_slot(plan, n_);
    if (slot < 0 || fresh_lane() != 0) return;
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(plan.in.at<S>(slot, h_, 0)),
                 "r"(plan.head_bytes)
                 : "memory");
#endif
  }

 private:
  SequenceBits<true> sequence_;
  unsigned n_, h_;
  bool wanted_ = false;
};

/// The gates of a token of a value head as they lie in memory; log decay and beta are two threads'
/// work.
struct GateBits {
  uint32_t x = 0, A_log = 0, dt_bias = 0;

  __device__ __forceinline__ void load_decay(const RulePlan &plan, const DeltaRule &p, int64_t b,
                                             int64_t t, int64_t h) {
    if (plan.g.present()) x = plan.g.bits(plan.g.offset(b, t, h));
    if (!plan.gate) return;
    A_log = load_bits(p.A_log, p.A_log.offset(h));
    if (p.dt_bias.present()) dt_bias = load_bits(p.dt_bias, p.dt_bias.offset(h));
  }
  __device__ __forceinline__ void load_beta(const RulePlan &plan, int64_t b, int64_t t, int64_t h) {
    if (plan.beta.present()) x = plan.beta.bits(plan.beta.offset(b, t, h));
  }

  __device__ __forceinline__ Decay decay(const RulePlan &plan, const DeltaRule &p) const {
    const float g = from_bits(plan.g.dtype, x);
    if (!plan.gate) return Decay(g);
    return Decay(
        decay_of_gate(g, from_bits(p.A_log.dtype, A_log), from_bits(p.dt_bias.dtype, dt_bias)));
  }
  __device__ __forceinline__ float beta(const RulePlan &plan, const DeltaRule &p) const {
    float y = plan.beta.present() ? from_bits(plan.beta.dtype, x) : 1.0F;
    if (plan.beta.present() && p.beta_sigmoid) y = sigmoid(y);
    return p.allow_neg_eigval ? 2.0F * y : y;
  }
};

}  // namespace gdn::cuda::sm80

#endif  // GDN_CUDA_SM80_DEVICE_RULE_PLAN_CUH_
