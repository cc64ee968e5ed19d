#include "operations.h"

#include <type_traits>

namespace gdn::testing {
namespace {

using Tensor = std::shared_ptr<DeviceTensor>;

/// Makes operands and keeps the operations.
class Builder {
 public:
  Builder(const HostProblem &p, std::string isa, size_t shift)
      : p_(p), isa_(std::move(isa)), shift_(shift), t_(p.tokens()) {
    std::vector<int32_t> cu = {0};
    for (const int64_t n : p.lengths) {
      cu.push_back(cu.back() + static_cast<int32_t>(n));
      chunks_ += (n + 63) / 64;
      checkpoints_ += n / 64;
    }
    cu_ = empty(Element::i32, {sequences() + 1});
    cu_->upload(cu.data(), cu.size() * sizeof(int32_t));
    q_ = filled(p.type, {1, t_, p.hk, p.dk}, p.q);
    k_ = filled(p.type, {1, t_, p.hk, p.dk}, p.k);
    v_ = filled(p.type, {1, t_, p.hv, p.dv}, p.v);
    g_ = filled(Element::f32, {1, t_, p.hv}, p.g);
    beta_ = filled(Element::f32, {1, t_, p.hv}, p.beta);
  }

  std::vector<DeviceOperation> build() {
    rules();
    stages();
    convolutions();
    rows();
    decode();
    return std::move(operations_);
  }
  const Tensor &cu_seqlens() const { return cu_; }

 private:
  int64_t sequences() const { return static_cast<int64_t>(p_.lengths.size()); }

  Tensor empty(Element type, std::vector<int64_t> shape, std::vector<int64_t> strides = {}) const {
    return std::make_shared<DeviceTensor>(type, std::move(shape), shift_ * size_of(type),
                                          std::move(strides));
  }
  Tensor filled(Element type, std::vector<int64_t> shape, const std::vector<float> &values,
                std::vector<int64_t> strides = {}) const {
    Tensor t = empty(type, std::move(shape), std::move(strides));
    const Bytes bytes = encoded(type, values);
    t->upload(bytes.data(), t->bytes());
    return t;
  }
  Tensor states() const {
    return filled(Element::f32, {sequences(), p_.hv, p_.dk, p_.dv}, p_.state);
  }

  /// Adds an operation and runs it, so that the next one finds its results.
  template <class Args>
  void add(const char *name, gdn_status (*function)(const Args *, const gdn_exec *), Args args,
           std::vector<Tensor> used, const std::vector<Tensor> &outputs) {
    args.struct_size = sizeof(args);
    for (const Tensor &t : {cu_, q_, k_, v_, g_, beta_}) used.push_back(t);
    gdn_exec memory = {};
    if constexpr (std::is_same_v<Args, gdn_gated_delta_rule_args>) {
      memory.struct_size = sizeof(memory);
      memory.isa = isa_.c_str();
      if (function == gdn_chunk_gated_delta_rule) used.push_back(workspace_for(args, &memory));
    }
    operations_.emplace_back(
        name,
        [args, function, memory](const gdn_exec *exec) {
          gdn_exec e = *exec;
          e.workspace = memory.workspace;
          e.workspace_size = memory.workspace_size;
          return function(&args, &e);
        },
        std::move(used), outputs);
    EXPECT_EQ(operations_.back().run(isa_), "") << name;
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess) << name;
  }

  void rules() {
    gdn_gated_delta_rule_args args = {};
    args.q = q_->tensor(), args.k = k_->tensor(), args.v = v_->tensor();
    args.g = g_->tensor(), args.beta = beta_->tensor(), args.cu_seqlens = cu_->tensor();
    const auto rule = [&](const char *name, auto function, bool pool) {
      const Tensor initial = states(), o = empty(p_.type, {1, t_, p_.hv, p_.dv});
      std::vector<Tensor> used = {initial}, outputs = {o};
      gdn_gated_delta_rule_args a = args;
      a.o = o->tensor(), a.initial_state = initial->tensor();
      if (pool) {
        const Tensor slots = empty(Element::i64, {sequences()});
        std::vector<int64_t> order;
        for (int64_t n = 0; n < sequences(); ++n) order.push_back(n);
        slots->upload(order.data(), order.size() * sizeof(int64_t));
        a.state_indices = slots->tensor();
        used.push_back(slots);
        outputs.push_back(initial);
      } else {
        const Tensor final = empty(Element::f32, {sequences(), p_.hv, p_.dk, p_.dv});
        a.final_state = final->tensor();
        outputs.push_back(final);
        if (checkpoints_ > 0) {
          const Tensor kept = empty(Element::f32, {checkpoints_, p_.hv, p_.dk, p_.dv});
          a.checkpoint_every = 64;
          a.checkpoints = kept->tensor();
          used.push_back(kept);
          if (p_.lengths.back() >= 64) outputs.push_back(kept);
        }
      }
      add(name, function, a, used, outputs);
    };
    rule("chunk_gated_delta_rule", gdn_chunk_gated_delta_rule, false);
    rule("fused_recurrent_gated_delta_rule", gdn_fused_recurrent_gated_delta_rule, true);
  }

  // The results of a stage are the next one's inputs; an operation owns its outputs alone because
  // the next stage reads a copy.
  Tensor copy_of(const Tensor &t, std::vector<int64_t> shape) const {
    Tensor copy = empty(t->type(), std::move(shape));
    EXPECT_EQ(cudaMemcpy(copy->data(), t->data(), t->bytes(), cudaMemcpyDeviceToDevice),
              cudaSuccess);
    return copy;
  }

  void stages() {
    const std::vector<int64_t> gates = {1, t_, p_.hv}, square = {1, t_, p_.hv, 64},
                               keys = {1, t_, p_.hv, p_.dk}, values = {1, t_, p_.hv, p_.dv},
                               before = {chunks_, p_.hv, p_.dk, p_.dv};
    const Tensor c_out = empty(Element::f32, gates);
    gdn_chunk_local_cumsum_args a1 = {};
    a1.g = g_->tensor(), a1.cu_seqlens = cu_->tensor(), a1.g_cumsum = c_out->tensor();
    add("chunk_local_cumsum", gdn_chunk_local_cumsum, a1, {}, {c_out});
    const Tensor c = copy_of(c_out, gates);

    const Tensor A_out = empty(Element::f32, square);
    gdn_chunk_scaled_dot_kkt_args a2 = {};
    a2.k = k_->tensor(), a2.beta = beta_->tensor(), a2.g_cumsum = c->tensor();
    a2.cu_seqlens = cu_->tensor(), a2.A = A_out->tensor();
    add("chunk_scaled_dot_kkt", gdn_chunk_scaled_dot_kkt, a2, {c}, {A_out});
    const Tensor A = copy_of(A_out, square);

    const Tensor T_out = empty(p_.type, square);
    gdn_solve_tril_args a3 = {};
    a3.A = A->tensor(), a3.cu_seqlens = cu_->tensor(), a3.T = T_out->tensor();
    add("solve_tril", gdn_solve_tril, a3, {A}, {T_out});
    const Tensor T = copy_of(T_out, square);

    const Tensor w_out = empty(p_.type, keys), u_out = empty(p_.type, values);
    gdn_recompute_w_u_args a4 = {};
    a4.k = k_->tensor(), a4.v = v_->tensor(), a4.beta = beta_->tensor();
    a4.g_cumsum = c->tensor(), a4.T = T->tensor(), a4.cu_seqlens = cu_->tensor();
    a4.w = w_out->tensor(), a4.u = u_out->tensor();
    add("recompute_w_u", gdn_recompute_w_u, a4, {c, T}, {w_out, u_out});
    const Tensor w = copy_of(w_out, keys), u = copy_of(u_out, values);

    const Tensor h_out = empty(p_.type, before), v_out = empty(p_.type, values);
    const Tensor initial = states(),
                 final = empty(Element::f32, {sequences(), p_.hv, p_.dk, p_.dv});
    gdn_chunk_fwd_h_args a5 = {};
    a5.k = k_->tensor(), a5.w = w->tensor(), a5.u = u->tensor(), a5.g_cumsum = c->tensor();
    a5.cu_seqlens = cu_->tensor(), a5.initial_state = initial->tensor();
    a5.h = h_out->tensor(), a5.v_new = v_out->tensor(), a5.final_state = final->tensor();
    add("chunk_fwd_h", gdn_chunk_fwd_h, a5, {w, u, c, initial}, {h_out, v_out, final});
    const Tensor h = copy_of(h_out, before), v_new = copy_of(v_out, values);

    const Tensor o = empty(p_.type, values);
    gdn_chunk_fwd_o_args a6 = {};
    a6.q = q_->tensor(), a6.k = k_->tensor(), a6.v_new = v_new->tensor(), a6.h = h->tensor();
    a6.g_cumsum = c->tensor(), a6.cu_seqlens = cu_->tensor(), a6.o = o->tensor();
    add("chunk_fwd_o", gdn_chunk_fwd_o, a6, {v_new, h, c}, {o});
  }

  // x is v as [1, C, T] or [N, C, 1] with the channels contiguous, as a projection leaves it.
  void convolutions() {
    const int64_t channels = p_.hv * p_.dv;
    const Tensor weight =
        filled(Element::f32, {channels, 4}, drawn_rows(channels, 4, false, "weight"));
    std::vector<float> old;
    const auto size = static_cast<size_t>(p_.hv * p_.dk * p_.dv);
    for (size_t n = 0; n < p_.lengths.size(); ++n) {
      const auto first = p_.state.begin() + static_cast<int64_t>(n * size);
      old.insert(old.end(), first, first + channels * 3);
    }
    const auto make = [&](std::vector<int64_t> shape, std::vector<int64_t> strides) {
      return std::pair{filled(p_.type, shape, p_.v, strides), empty(p_.type, shape, strides)};
    };
    const auto state = [&] { return filled(p_.type, {sequences(), channels, 3}, old); };
    {
      const auto [x, y] = make({1, channels, t_}, {t_ * channels, 1, channels});
      const Tensor kept = state();
      gdn_causal_conv1d_fwd_args a = {};
      a.flags = GDN_SILU;
      a.x = x->tensor(), a.weight = weight->tensor(), a.cu_seqlens = cu_->tensor();
      a.conv_state = kept->tensor(), a.y = y->tensor();
      add("causal_conv1d_fwd", gdn_causal_conv1d_fwd, a, {x, weight}, {y, kept});
    }
    {
      const auto [x, y] = make({1, channels, t_}, {t_ * channels, 1, channels});
      const Tensor kept = state();
      gdn_causal_conv1d_update_args a = {};
      a.flags = GDN_SILU;
      a.x = x->tensor(), a.weight = weight->tensor(), a.cu_seqlens = cu_->tensor();
      a.conv_state = kept->tensor(), a.y = y->tensor();
      add("causal_conv1d_update, packed", gdn_causal_conv1d_update, a, {x, weight}, {y, kept});
    }
    if (t_ < sequences()) return;
    const auto [x, y] = make({sequences(), channels, 1}, {channels, 1, 1});
    const Tensor kept = state();
    gdn_causal_conv1d_update_args a = {};
    a.flags = GDN_SILU;
    a.x = x->tensor(), a.weight = weight->tensor(), a.conv_state = kept->tensor();
    a.y = y->tensor();
    add("causal_conv1d_update", gdn_causal_conv1d_update, a, {x, weight}, {y, kept});
  }

  void rows() {
    const Tensor A_log = filled(Element::f32, {p_.hv}, drawn_rows(p_.hv, 1, false, "A_log"));
    const Tensor g = empty(Element::f32, {1, t_, p_.hv}),
                 beta = empty(Element::f32, {1, t_, p_.hv});
    gdn_fused_gdn_gating_args gating = {};
    gating.A_log = A_log->tensor(), gating.a = g_->tensor(), gating.b = beta_->tensor();
    gating.g = g->tensor(), gating.beta = beta->tensor();
    add("fused_gdn_gating", gdn_fused_gdn_gating, gating, {A_log}, {g, beta});

    const Tensor unit = empty(p_.type, {1, t_, p_.hk, p_.dk});
    gdn_l2norm_args l2 = {};
    l2.x = k_->tensor(), l2.y = unit->tensor();
    add("l2norm", gdn_l2norm, l2, {}, {unit});

    const Tensor weight = filled(Element::f32, {p_.dv}, drawn_rows(p_.dv, 1, false, "norm"));
    const Tensor y = empty(p_.type, {1, t_, p_.hv, p_.dv});
    gdn_rms_norm_gated_args rms = {};
    rms.x = v_->tensor(), rms.z = v_->tensor(), rms.weight = weight->tensor();
    rms.y = y->tensor();
    add("rms_norm_gated", gdn_rms_norm_gated, rms, {weight}, {y});
  }

  // A layer's step; its convolution's slots are made of what the states hold.
  void decode() {
    const int64_t keys = p_.hk * p_.dk, values = p_.hv * p_.dv, channels = 2 * keys + values;
    std::vector<float> mixed, old;
    const auto put = [&](const std::vector<float> &from, int64_t row, int64_t count) {
      const auto first = from.begin() + row * count;
      mixed.insert(mixed.end(), first, first + count);
    };
    for (int64_t t = 0; t < t_; ++t) {
      put(p_.q, t, keys);
      put(p_.k, t, keys);
      put(p_.v, t, values);
    }
    const int64_t size = p_.hv * p_.dk * p_.dv;
    for (int64_t n = 0; n < sequences(); ++n) {
      for (int64_t i = 0; i < channels * 3; ++i) {
        old.push_back(p_.state[static_cast<size_t>(n * size + i % size)]);
      }
    }
    const Tensor x = filled(p_.type, {1, t_, channels}, mixed),
                 z = filled(p_.type, {1, t_, p_.hv, p_.dv}, p_.v),
                 o = empty(p_.type, {1, t_, p_.hv, p_.dv}), state = states(),
                 kept = filled(p_.type, {sequences(), channels, 3}, old);
    const Tensor weight =
        filled(Element::f32, {channels, 4}, drawn_rows(channels, 4, false, "weight"));
    const Tensor norm = filled(Element::f32, {p_.dv}, drawn_rows(p_.dv, 1, false, "norm"));
    const Tensor A_log = filled(Element::f32, {p_.hv}, drawn_rows(p_.hv, 1, false, "A_log"));
    gdn_fused_gdn_decode_args a = {};
    a.mixed_qkv = x->tensor(), a.conv_weight = weight->tensor(), a.conv_state = kept->tensor();
    a.a = g_->tensor(), a.b = beta_->tensor(), a.A_log = A_log->tensor();
    a.z = z->tensor(), a.norm_weight = norm->tensor(), a.state = state->tensor();
    a.cu_seqlens = cu_->tensor(), a.o = o->tensor();
    add("fused_gdn_decode", gdn_fused_gdn_decode, a, {x, z, weight, norm, A_log}, {o, state, kept});
  }

  const HostProblem &p_;
  const std::string isa_;
  const size_t shift_;
  const int64_t t_;
  int64_t chunks_ = 0, checkpoints_ = 0;
  Tensor cu_, q_, k_, v_, g_, beta_;
  std::vector<DeviceOperation> operations_;
};

}  // namespace

std::vector<std::string> code_paths() {
  std::vector<std::string> names;
  for (int i = 0; i < gdn_isa_count("cuda"); ++i) {
    if (gdn_isa_supported("cuda", i) != 0) names.emplace_back(gdn_isa_name("cuda", i));
  }
  return names;
}

std::string outcome(gdn_status status) {
  if (status == GDN_OK) return "";
  return std::string(gdn_status_string(status)) + ": " + gdn_last_error();
}

DeviceOperation::DeviceOperation(std::string name, Call call, std::vector<Tensor> used,
                                 std::vector<Tensor> outputs)
    : name_(std::move(name)),
      call_(std::move(call)),
      used_(std::move(used)),
      outputs_(std::move(outputs)),
      before_(results()) {}

std::string DeviceOperation::run(const std::string &isa, cudaStream_t stream,
                                 uint32_t flags) const {
  gdn_exec exec = {};
  exec.struct_size = sizeof(exec);
  exec.stream = stream;
  exec.flags = flags;
  exec.isa = isa.c_str();
  return outcome(call_(&exec));
}

void DeviceOperation::reset() {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    outputs_[i]->upload(before_[i].data(), before_[i].size());
  }
}

std::vector<Bytes> DeviceOperation::results() const {
  std::vector<Bytes> all;
  for (const Tensor &t : outputs_) all.push_back(t->download());
  return all;
}

std::vector<DeviceOperation> all_operations(const HostProblem &p, const std::string &isa,
                                            size_t shift,
                                            std::shared_ptr<DeviceTensor> *cu_seqlens) {
  Builder builder(p, isa, shift);
  if (cu_seqlens != nullptr) *cu_seqlens = builder.cu_seqlens();
  return builder.build();
}

}  // namespace gdn::testing
