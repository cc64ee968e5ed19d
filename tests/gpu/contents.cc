// What cu_seqlens and index arrays hold, which the host sees only under GDN_EXEC_CHECK (or with
// GDN_CHECK=1 in the environment; then the flag is left out here): the CPU's messages, and outputs
// untouched. Without the check nothing may be accessed out of bounds.

#include <cstdlib>

#include "operations.h"

namespace gdn::testing {
namespace {

void upload(DeviceTensor &t, const std::vector<int32_t> &values) {
  t.upload(values.data(), values.size() * sizeof(int32_t));
}

class Contents : public GpuTest {};
GDN_GPU_SUITE(Contents);

// Contents that no host has seen: whatever they are, nothing is accessed out of bounds (run this
// under compute-sanitizer) and the call ends.
TEST_P(Contents, WildIndices) {
  if (std::getenv("GDN_CHECK") != nullptr) GTEST_SKIP() << "GDN_CHECK refuses these contents";
  const HostProblem p(Element::bf16, {40, 50, 60}, 2, 4);
  for (const bool recurrent : {false, true}) {
    for (const std::vector<int32_t> &cu : {std::vector<int32_t>{0, 1 << 30, -5, 150},
                                           {7, 3, 200, 90},
                                           {-2147483647, 1 << 30, 1 << 30, 2147483647}}) {
      DeviceCall call(p);
      call.cu_seqlens.upload(cu.data(), cu.size() * sizeof(int32_t));
      EXPECT_EQ(call.run(GetParam(), nullptr, recurrent), "");
      ASSERT_CUDA(cudaDeviceSynchronize());
    }
    DeviceCall call(p);
    DeviceTensor indices(Element::i32, {3});
    const std::vector<int32_t> wild = {1 << 30, -7, 3};
    indices.upload(wild.data(), 12);
    call.args.state_indices = indices.tensor();
    call.args.final_state = nullptr;
    const Bytes before = call.initial_state.download();
    EXPECT_EQ(call.run(GetParam(), nullptr, recurrent), "");
    ASSERT_CUDA(cudaDeviceSynchronize());
    EXPECT_EQ(call.initial_state.download(), before);
    const Bytes o = call.o.download();
    EXPECT_EQ(o, Bytes(o.size(), 0));
  }
}

// The same for every operation that reads cu_seqlens, stages among them. What the offsets then name
// is written, and nothing else: with the right ones back, all is as it was.
TEST_P(Contents, WildIndicesOfEveryOperation) {
  if (std::getenv("GDN_CHECK") != nullptr) GTEST_SKIP() << "GDN_CHECK refuses these contents";
  const std::vector<int32_t> right = {0, 40, 90, 150};
  for (const Element type : {Element::bf16, Element::f32}) {
    const HostProblem p(type, {40, 50, 60}, 2, 4);
    std::shared_ptr<DeviceTensor> cu_seqlens;
    std::vector<DeviceOperation> operations = all_operations(p, GetParam(), 0, &cu_seqlens);
    std::vector<std::vector<Bytes>> expected;
    for (const DeviceOperation &op : operations) expected.push_back(op.results());
    for (const std::vector<int32_t> &wild : {std::vector<int32_t>{0, 1 << 30, -5, 150},
                                             {7, 3, 200, 90},
                                             {150, 100, 50, 0},
                                             {-1, 149, 150, 151},
                                             {-2147483647, 1 << 30, 1 << 30, 2147483647}}) {
      upload(*cu_seqlens, wild);
      for (const DeviceOperation &op : operations) {
        SCOPED_TRACE(op.name());
        EXPECT_EQ(op.run(GetParam()), "");
        ASSERT_CUDA(cudaDeviceSynchronize());
      }
    }
    upload(*cu_seqlens, right);
    for (size_t i = 0; i < operations.size(); ++i) {
      SCOPED_TRACE(operations[i].name());
      operations[i].reset();
      EXPECT_EQ(operations[i].run(GetParam()), "");
      ASSERT_CUDA(cudaDeviceSynchronize());
      EXPECT_EQ(operations[i].results(), expected[i]);
    }
  }
}

/// The tensors of a call, to be judged once on the device and once on the host.
template <class Args>
struct Judged {
  using Function = gdn_status (*)(const Args *, const gdn_exec *);
  Function function;
  Args args;
  std::vector<const DLTensor * Args::*> fields;
  std::vector<DeviceTensor *> outputs;

  /// The call's outcome on the device; its outputs must not change.
  std::string on_device(const std::string &isa) const {
    std::vector<Bytes> before;
    for (const DeviceTensor *t : outputs) before.push_back(t->download());
    gdn_exec exec = {};
    exec.struct_size = sizeof(exec);
    exec.isa = isa.c_str();
    exec.flags = GDN_EXEC_NO_SPLIT;  // Without a workspace.
    if (std::getenv("GDN_CHECK") == nullptr) exec.flags |= GDN_EXEC_CHECK;
    const std::string text = outcome(function(&args, &exec));
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
    for (size_t i = 0; i < outputs.size(); ++i) EXPECT_EQ(outputs[i]->download(), before[i]) << i;
    return text;
  }

  /// The same call on copies in host memory.
  std::string on_host() const {
    std::vector<Bytes> memory;
    std::vector<DLTensor> tensors(fields.size());
    Args host = args;
    memory.reserve(fields.size());
    for (size_t i = 0; i < fields.size(); ++i) {
      const DLTensor *const t = args.*fields[i];
      if (t == nullptr) continue;
      int64_t last = 0;
      for (int d = 0; d < t->ndim; ++d) last += (t->shape[d] - 1) * t->strides[d];
      // Operands share memory on the device where they are the same tensor.
      memory.emplace_back(static_cast<size_t>((last + 1) * t->dtype.bits / 8));
      EXPECT_EQ(
          cudaMemcpy(memory.back().data(), t->data, memory.back().size(), cudaMemcpyDeviceToHost),
          cudaSuccess);
      tensors[i] = *t;
      tensors[i].device = {kDLCPU, 0};
      tensors[i].data = memory.back().data();
      host.*fields[i] = &tensors[i];
    }
    // What the CPU would work in; the check comes after that of the workspace.
    constexpr size_t kBytes = size_t{64} << 20;
    const std::unique_ptr<void, void (*)(void *)> workspace(
        std::aligned_alloc(GDN_WORKSPACE_ALIGNMENT, kBytes), std::free);
    gdn_exec exec = {};
    exec.struct_size = sizeof(exec);
    exec.workspace = workspace.get();
    exec.workspace_size = kBytes;
    return outcome(function(&host, &exec));
  }

  void expect_same_refusal(const std::string &isa, const std::string &part) const {
    const std::string device = on_device(isa), host = on_host();
    EXPECT_EQ(device, host);
    EXPECT_NE(device.find("GDN_INVALID_ARGUMENT"), std::string::npos) << device;
    EXPECT_NE(device.find(part), std::string::npos) << device;
  }
};

using Rule = gdn_gated_delta_rule_args;
const std::vector<const DLTensor *Rule::*> kRuleFields = {&Rule::q,
                                                          &Rule::k,
                                                          &Rule::v,
                                                          &Rule::g,
                                                          &Rule::beta,
                                                          &Rule::cu_seqlens,
                                                          &Rule::o,
                                                          &Rule::final_state,
                                                          &Rule::initial_state,
                                                          &Rule::checkpoints,
                                                          &Rule::state_indices,
                                                          &Rule::num_accepted_tokens,
                                                          &Rule::output_state_indices,
                                                          &Rule::has_initial_state,
                                                          &Rule::checkpoint_indices,
                                                          &Rule::positions};

const std::vector<std::pair<std::vector<int32_t>, std::string>> kBadOffsets = {
    {{1, 40, 90, 150}, "cu_seqlens[0] is 1"},
    {{0, 90, 40, 150}, "cu_seqlens[2] is 40, less than the 90"},
    {{0, 40, 90, 149}, "cu_seqlens ends at 149"},
    {{0, 40, 90, 1 << 30}, "cu_seqlens ends at 1073741824"}};

TEST_P(Contents, RuleOffsets) {
  const HostProblem p(Element::bf16, {40, 50, 60}, 2, 4);
  for (const auto function : {gdn_chunk_gated_delta_rule, gdn_fused_recurrent_gated_delta_rule}) {
    DeviceCall call(p);
    const Judged<Rule> judged{function, call.args, kRuleFields, {&call.o, &call.final_state}};
    for (const auto &[cu, part] : kBadOffsets) {
      upload(call.cu_seqlens, cu);
      judged.expect_same_refusal(GetParam(), part);
    }
  }
}

TEST_P(Contents, RuleSlots) {
  const HostProblem p(Element::bf16, {40, 50, 60}, 2, 4);
  for (const auto function : {gdn_chunk_gated_delta_rule, gdn_fused_recurrent_gated_delta_rule}) {
    DeviceCall call(p);
    DeviceTensor slots(Element::i32, {3});
    call.args.state_indices = slots.tensor();
    call.args.final_state = nullptr;
    const Judged<Rule> judged{function, call.args, kRuleFields, {&call.o, &call.initial_state}};
    upload(slots, {0, 3, 1});
    judged.expect_same_refusal(GetParam(), "state_indices[1] is 3");
    upload(slots, {2, -1, 2});
    judged.expect_same_refusal(GetParam(), "state_indices names slot 2 twice");
  }
}

TEST_P(Contents, RuleCheckpoints) {
  const HostProblem p(Element::bf16, {64, 50, 128}, 2, 4);
  DeviceCall call(p);
  DeviceTensor checkpoints(Element::f32, {2, 4, 128, 128});  // Three are due.
  call.args.checkpoint_every = 64;
  call.args.checkpoints = checkpoints.tensor();
  const Judged<Rule> judged{gdn_chunk_gated_delta_rule,
                            call.args,
                            kRuleFields,
                            {&call.o, &call.final_state, &checkpoints}};
  judged.expect_same_refusal(GetParam(), "checkpoints has 2 rows, expected 3");
}

TEST_P(Contents, SpeculativeSlots) {
  const HostProblem p(Element::bf16, {2, 2, 2}, 2, 4);
  DeviceCall call(p);
  DeviceTensor slots(Element::i32, {3, 2}), accepted(Element::i32, {3});
  DeviceTensor pool(Element::f32, {6, 4, 128, 128});
  call.args.state_indices = slots.tensor(), call.args.num_accepted_tokens = accepted.tensor();
  call.args.initial_state = pool.tensor(), call.args.final_state = nullptr;
  const Judged<Rule> judged{
      gdn_fused_recurrent_gated_delta_rule, call.args, kRuleFields, {&call.o, &pool}};
  upload(slots, {0, 1, 2, 3, 4, 5});
  upload(accepted, {1, 3, 1});
  judged.expect_same_refusal(GetParam(), "num_accepted_tokens[1] is 3");
  upload(accepted, {1, 2, 1});
  upload(slots, {0, 1, 2, 6, 4, 5});
  judged.expect_same_refusal(GetParam(), "state_indices[1, 1] is 6");
  upload(slots, {0, 1, 2, 1, 4, 5});
  judged.expect_same_refusal(GetParam(), "state_indices names slot 1 twice");
}

TEST_P(Contents, StageOffsets) {
  const HostProblem p(Element::bf16, {40, 50, 60}, 2, 4);
  DeviceCall call(p);
  DeviceTensor c(Element::f32, {1, 150, 4}), square(Element::f32, {1, 150, 4, 64}),
      w(Element::bf16, {1, 150, 4, 128}), u(Element::bf16, {1, 150, 4, 128}),
      h(Element::bf16, {3, 4, 128, 128}), T(Element::f32, {1, 150, 4, 64});
  for (const auto &[cu, part] : kBadOffsets) {
    upload(call.cu_seqlens, cu);
    const auto judge = [&, &expected = part](auto function, auto args, auto fields,
                                             std::vector<DeviceTensor *> outputs) {
      using Args = decltype(args);
      args.struct_size = sizeof(args);
      args.cu_seqlens = call.cu_seqlens.tensor();
      fields.push_back(&Args::cu_seqlens);
      Judged<Args>{function, args, fields, outputs}.expect_same_refusal(GetParam(), expected);
    };
    {
      using A = gdn_chunk_local_cumsum_args;
      A a = {};
      a.g = call.g.tensor(), a.g_cumsum = c.tensor();
      judge(gdn_chunk_local_cumsum, a, std::vector{&A::g, &A::g_cumsum}, {&c});
    }
    {
      using A = gdn_chunk_scaled_dot_kkt_args;
      A a = {};
      a.k = call.k.tensor(), a.beta = call.beta.tensor(), a.A = square.tensor();
      judge(gdn_chunk_scaled_dot_kkt, a, std::vector{&A::k, &A::beta, &A::A}, {&square});
    }
    {
      using A = gdn_solve_tril_args;
      A a = {};
      a.A = square.tensor(), a.T = T.tensor();
      judge(gdn_solve_tril, a, std::vector{&A::A, &A::T}, {&T});
    }
    {
      using A = gdn_recompute_w_u_args;
      A a = {};
      a.k = call.k.tensor(), a.v = call.v.tensor(), a.beta = call.beta.tensor();
      a.T = square.tensor(), a.w = w.tensor(), a.u = u.tensor();
      judge(gdn_recompute_w_u, a, std::vector{&A::k, &A::v, &A::beta, &A::T, &A::w, &A::u},
            {&w, &u});
    }
    {
      using A = gdn_chunk_fwd_h_args;
      A a = {};
      a.k = call.k.tensor(), a.w = w.tensor(), a.u = u.tensor(), a.h = h.tensor();
      a.v_new = call.v.tensor();
      judge(gdn_chunk_fwd_h, a, std::vector{&A::k, &A::w, &A::u, &A::h, &A::v_new}, {&h, &call.v});
    }
    {
      using A = gdn_chunk_fwd_o_args;
      A a = {};
      a.q = call.q.tensor(), a.k = call.k.tensor(), a.v_new = call.v.tensor();
      a.h = h.tensor(), a.o = call.o.tensor();
      judge(gdn_chunk_fwd_o, a, std::vector{&A::q, &A::k, &A::v_new, &A::h, &A::o}, {&call.o});
    }
  }
}

TEST_P(Contents, Convolution) {
  const int64_t channels = 96;
  DeviceTensor x(Element::bf16, {1, channels, 150}), y(Element::bf16, {1, channels, 150}),
      weight(Element::f32, {channels, 4}), state(Element::bf16, {3, channels, 3}),
      cu(Element::i32, {4}), slots(Element::i32, {3}), accepted(Element::i32, {3});
  using Forward = gdn_causal_conv1d_fwd_args;
  Forward f = {};
  f.struct_size = sizeof(f);
  f.x = x.tensor(), f.weight = weight.tensor(), f.y = y.tensor(), f.conv_state = state.tensor();
  f.cu_seqlens = cu.tensor(), f.state_indices = slots.tensor();
  const Judged<Forward> forward{gdn_causal_conv1d_fwd,
                                f,
                                {&Forward::x, &Forward::weight, &Forward::y, &Forward::conv_state,
                                 &Forward::cu_seqlens, &Forward::state_indices},
                                {&y, &state}};
  upload(slots, {0, 1, 2});
  for (const auto &[offsets, part] : kBadOffsets) {
    upload(cu, offsets);
    forward.expect_same_refusal(GetParam(), part);
  }
  upload(cu, {0, 40, 90, 150});
  upload(slots, {0, 1, 3});
  forward.expect_same_refusal(GetParam(), "state_indices[2] is 3");
  upload(slots, {1, 0, 1});
  forward.expect_same_refusal(GetParam(), "state_indices names slot 1 twice");

  DeviceTensor x1(Element::bf16, {3, channels, 2}), y1(Element::bf16, {3, channels, 2}),
      longer(Element::bf16, {3, channels, 4});
  using Update = gdn_causal_conv1d_update_args;
  Update a = {};
  a.struct_size = sizeof(a);
  a.x = x1.tensor(), a.weight = weight.tensor(), a.y = y1.tensor(), a.conv_state = longer.tensor();
  a.state_indices = slots.tensor(), a.num_accepted_tokens = accepted.tensor();
  const Judged<Update> update{gdn_causal_conv1d_update,
                              a,
                              {&Update::x, &Update::weight, &Update::y, &Update::conv_state,
                               &Update::state_indices, &Update::num_accepted_tokens},
                              {&y1, &longer}};
  upload(accepted, {1, 1, 2});
  update.expect_same_refusal(GetParam(), "state_indices names slot 1 twice");
  upload(slots, {0, 5, 1});
  update.expect_same_refusal(GetParam(), "state_indices[1] is 5");
  upload(slots, {0, 2, 1});
  upload(accepted, {1, 1, 3});
  update.expect_same_refusal(GetParam(), "num_accepted_tokens[2] is 3");
}

// Good contents pass the check and give what the unchecked call gives.
TEST_P(Contents, GoodContentsPass) {
  const HostProblem p(Element::bf16, {40, 0, 50, 60}, 2, 4);
  DeviceCall plain(p), checked(p);
  ASSERT_EQ(plain.run(GetParam(), nullptr, false, GDN_EXEC_NO_SPLIT), "");
  cudaStream_t stream;
  ASSERT_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  gdn_exec exec = {};
  exec.struct_size = sizeof(exec);
  const std::string isa = GetParam();
  exec.isa = isa.c_str();
  exec.stream = stream;
  exec.flags = GDN_EXEC_CHECK | GDN_EXEC_NO_SPLIT;
  ASSERT_CUDA(cudaDeviceSynchronize());
  EXPECT_EQ(outcome(gdn_chunk_gated_delta_rule(&checked.args, &exec)), "");
  ASSERT_CUDA(cudaStreamSynchronize(stream));
  EXPECT_EQ(checked.o.download(), plain.o.download());
  EXPECT_EQ(checked.final_state.download(), plain.final_state.download());
  cudaStreamDestroy(stream);
}

}  // namespace
}  // namespace gdn::testing
