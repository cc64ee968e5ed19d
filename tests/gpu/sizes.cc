// Tensors of more than 2^31 elements and grids of more than 65535 blocks: the far end is what it is
// alone. A card without the memory fails; the largest test needs 20 GB.

#include "operations.h"

namespace gdn::testing {
namespace {

class Sizes : public GpuTest {
 protected:
  /// Zeros but for the last bytes, which are another tensor's.
  static void place(DeviceTensor &whole, const DeviceTensor &part) {
    ASSERT_CUDA(cudaMemset(whole.data(), 0, whole.bytes()));
    ASSERT_CUDA(cudaMemcpy(static_cast<char *>(whole.data()) + whole.bytes() - part.bytes(),
                           part.data(), part.bytes(), cudaMemcpyDeviceToDevice));
  }
  /// The last bytes of a tensor, as many as another has.
  static Bytes tail(const DeviceTensor &whole, const DeviceTensor &part) {
    Bytes bytes(part.bytes());
    EXPECT_EQ(
        cudaMemcpy(bytes.data(), static_cast<char *>(whole.data()) + whole.bytes() - bytes.size(),
                   bytes.size(), cudaMemcpyDeviceToHost),
        cudaSuccess);
    return bytes;
  }
  std::string run(auto function, auto args) {
    args.struct_size = sizeof(args);
    gdn_exec exec = {};
    exec.struct_size = sizeof(exec);
    exec.flags = GDN_EXEC_NO_SPLIT;
    const std::string isa = GetParam();
    exec.isa = isa.c_str();
    const std::string text = outcome(function(&args, &exec));
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    return text;
  }
};
GDN_GPU_SUITE(Sizes);

// v and o of more than 2^31 elements: the last sequence.
TEST_P(Sizes, FusedOver2To31) {
  constexpr int64_t kTokens = 140000, kHeads = 128, kLast = 200;
  const HostProblem last(Element::bf16, {kLast}, 1, kHeads);
  DeviceCall alone(last);
  ASSERT_EQ(alone.run(GetParam(), nullptr, false, GDN_EXEC_NO_SPLIT), "");
  DeviceTensor q(Element::bf16, {1, kTokens, 1, 128}), k(Element::bf16, {1, kTokens, 1, 128});
  DeviceTensor v(Element::bf16, {1, kTokens, kHeads, 128}),
      o(Element::bf16, {1, kTokens, kHeads, 128});
  DeviceTensor g(Element::f32, {1, kTokens, kHeads}), beta(Element::f32, {1, kTokens, kHeads});
  DeviceTensor cu(Element::i64, {3});
  DeviceTensor initial(Element::f32, {2, kHeads, 128, 128}),
      final(Element::f32, {2, kHeads, 128, 128});
  place(q, alone.q);
  place(k, alone.k);
  place(v, alone.v);
  place(g, alone.g);
  place(beta, alone.beta);
  place(initial, alone.initial_state);
  const int64_t cu_values[] = {0, kTokens - kLast, kTokens};
  cu.upload(cu_values, sizeof(cu_values));
  gdn_gated_delta_rule_args args = alone.args;
  args.q = q.tensor(), args.k = k.tensor(), args.v = v.tensor(), args.o = o.tensor();
  args.g = g.tensor(), args.beta = beta.tensor(), args.cu_seqlens = cu.tensor();
  args.initial_state = initial.tensor(), args.final_state = final.tensor();
  ASSERT_EQ(run(gdn_chunk_gated_delta_rule, args), "");
  EXPECT_EQ(tail(o, alone.o), alone.o.download());
  EXPECT_EQ(tail(final, alone.final_state), alone.final_state.download());
}

// A pool of more than 2^31 elements: its last slot.
TEST_P(Sizes, PoolOver2To31) {
  constexpr int64_t kSlots = 4200, kHeads = 32;
  for (const Element type : {Element::f32, Element::bf16}) {
    DeviceTensor pool(type, {kSlots, kHeads, 128, 128}), one(type, {1, kHeads, 128, 128});
    DeviceTensor slot(Element::i32, {1}), first(Element::i32, {1});
    const int32_t last = kSlots - 1, zero = 0;
    slot.upload(&last, 4);
    first.upload(&zero, 4);
    const HostProblem p(Element::bf16, {1}, 16, kHeads);
    const Bytes state = encoded(type, p.state);
    one.upload(state.data(), state.size());
    place(pool, one);
    DeviceCall in_pool(p), alone(p);
    in_pool.args.initial_state = pool.tensor(), in_pool.args.state_indices = slot.tensor();
    alone.args.initial_state = one.tensor(), alone.args.state_indices = first.tensor();
    for (DeviceCall *call : {&in_pool, &alone}) {
      call->args.final_state = nullptr;
      ASSERT_EQ(call->run(GetParam(), nullptr, true), "");
    }
    EXPECT_EQ(in_pool.o.download(), alone.o.download());
    EXPECT_EQ(tail(pool, one), one.download());
    EXPECT_NE(one.download(), state);
  }
}

// The stages that write [T, HV, D]: w, u, v_new, o.
TEST_P(Sizes, StageOver2To31) {
  constexpr int64_t kTokens = 140032, kHeads = 128, kLast = 200;
  const HostProblem last(Element::bf16, {kLast}, 1, kHeads);
  DeviceCall alone(last);
  DeviceTensor w1(Element::bf16, {1, kLast, kHeads, 128}),
      u1(Element::bf16, {1, kLast, kHeads, 128});
  DeviceTensor T1(Element::bf16, {1, kLast, kHeads, 64});
  const Bytes values = encoded(Element::bf16, drawn_rows(kLast * kHeads, 64, true, "T"));
  T1.upload(values.data(), values.size());
  gdn_recompute_w_u_args args = {};
  args.k = alone.k.tensor(), args.v = alone.v.tensor(), args.beta = alone.beta.tensor();
  args.T = T1.tensor(), args.w = w1.tensor(), args.u = u1.tensor();
  ASSERT_EQ(run(gdn_recompute_w_u, args), "");
  DeviceTensor k(Element::bf16, {1, kTokens, 1, 128}), v(Element::bf16, {1, kTokens, kHeads, 128}),
      beta(Element::f32, {1, kTokens, kHeads}), T(Element::bf16, {1, kTokens, kHeads, 64}),
      w(Element::bf16, {1, kTokens, kHeads, 128}), u(Element::bf16, {1, kTokens, kHeads, 128}),
      cu(Element::i64, {3});
  place(k, alone.k);
  place(v, alone.v);
  place(beta, alone.beta);
  place(T, T1);
  const int64_t offsets[] = {0, kTokens - kLast, kTokens};
  cu.upload(offsets, sizeof(offsets));
  args.k = k.tensor(), args.v = v.tensor(), args.beta = beta.tensor(), args.T = T.tensor();
  args.w = w.tensor(), args.u = u.tensor(), args.cu_seqlens = cu.tensor();
  ASSERT_EQ(run(gdn_recompute_w_u, args), "");
  EXPECT_EQ(tail(w, w1), w1.download());
  EXPECT_EQ(tail(u, u1), u1.download());
}

TEST_P(Sizes, LayerOver2To31) {
  constexpr int64_t kTokens = 270000, kChannels = 8192, kLast = 100;
  const Bytes values = encoded(Element::bf16, drawn_rows(kLast, kChannels, false, "x"));
  const auto make = [&](int64_t tokens) {
    return std::make_unique<DeviceTensor>(Element::bf16, std::vector<int64_t>{1, kChannels, tokens},
                                          0,
                                          std::vector<int64_t>{tokens * kChannels, 1, kChannels});
  };
  const auto x1 = make(kLast), y1 = make(kLast), x = make(kTokens), y = make(kTokens);
  x1->upload(values.data(), values.size());
  place(*x, *x1);
  DeviceTensor weight(Element::f32, {kChannels, 4}), cu(Element::i32, {3});
  const Bytes taps = encoded(Element::f32, drawn_rows(kChannels, 4, false, "weight"));
  weight.upload(taps.data(), taps.size());
  const int32_t offsets[] = {0, kTokens - kLast, kTokens};
  cu.upload(offsets, sizeof(offsets));
  gdn_causal_conv1d_fwd_args conv = {};
  conv.flags = GDN_SILU;
  conv.x = x1->tensor(), conv.weight = weight.tensor(), conv.y = y1->tensor();
  ASSERT_EQ(run(gdn_causal_conv1d_fwd, conv), "");
  conv.x = x->tensor(), conv.y = y->tensor(), conv.cu_seqlens = cu.tensor();
  ASSERT_EQ(run(gdn_causal_conv1d_fwd, conv), "");
  EXPECT_EQ(tail(*y, *y1), y1->download());

  // The same memory as rows of 128.
  const auto as_rows = [](const DeviceTensor &t, int64_t tokens, std::vector<int64_t> &shape) {
    shape = {tokens * kChannels / 128, 128};
    DLTensor rows = *t.tensor();
    rows.ndim = 2, rows.shape = shape.data(), rows.strides = nullptr;
    return rows;
  };
  std::vector<int64_t> few, all;
  const DLTensor rx1 = as_rows(*x1, kLast, few), ry1 = as_rows(*y1, kLast, few),
                 rx = as_rows(*x, kTokens, all), ry = as_rows(*y, kTokens, all);
  gdn_rms_norm_gated_args norm = {};
  norm.x = &rx1, norm.z = &rx1, norm.y = &ry1;
  ASSERT_EQ(run(gdn_rms_norm_gated, norm), "");
  norm.x = &rx, norm.z = &rx, norm.y = &ry;
  ASSERT_EQ(run(gdn_rms_norm_gated, norm), "");
  EXPECT_EQ(tail(*y, *y1), y1->download());
}

/// The last sequence of a problem is what it is alone, through every operation.
void expect_last_as_alone(const HostProblem &p, const std::string &isa) {
  const int64_t length = p.lengths.back(), n = static_cast<int64_t>(p.lengths.size()) - 1;
  int64_t begin = -length;
  for (const int64_t tokens : p.lengths) begin += tokens;
  const std::vector<DeviceOperation> many = all_operations(p, isa);
  const std::vector<DeviceOperation> alone =
      all_operations(p.part(begin, length, static_cast<size_t>(n)), isa);
  ASSERT_EQ(many.size(), alone.size());
  for (size_t i = 0; i < many.size(); ++i) {
    // A sequence of it is one token, whatever the lengths: the last is another row.
    if (many[i].name() == "causal_conv1d_update" && length != 1) continue;
    const std::vector<Bytes> all = many[i].results(), one = alone[i].results();
    ASSERT_EQ(all.size(), one.size()) << many[i].name();
    for (size_t j = 0; j < one.size(); ++j) {
      EXPECT_EQ(Bytes(all[j].end() - static_cast<int64_t>(one[j].size()), all[j].end()), one[j])
          << many[i].name() << " output " << j;
    }
  }
}

// More sequences than a grid's second dimension could count.
TEST_P(Sizes, ManySequences) {
  expect_last_as_alone(HostProblem(Element::bf16, std::vector<int64_t>(70000, 1), 1, 1, 16),
                       GetParam());
}

// Chunks enough for a block to take several value heads of a group: all three, or two and one.
TEST_P(Sizes, GroupsOfHeads) {
  for (const size_t sequences : {2000, 500}) {
    expect_last_as_alone(HostProblem(Element::bf16, std::vector<int64_t>(sequences, 65), 1, 3, 32),
                         GetParam());
  }
}

// More heads than that: the last one is what it is alone.
TEST_P(Sizes, ManyHeads) {
  constexpr int64_t kHeads = 70000, kTokens = 3;
  const HostProblem p(Element::bf16, {kTokens}, 1, kHeads, 16);
  HostProblem last(Element::bf16, {kTokens}, 1, 1, 16);
  last.q = p.q, last.k = p.k;
  for (int64_t t = 0; t < kTokens; ++t) {
    const auto at = (t + 1) * kHeads - 1;
    last.g[static_cast<size_t>(t)] = p.g[static_cast<size_t>(at)];
    last.beta[static_cast<size_t>(t)] = p.beta[static_cast<size_t>(at)];
    std::copy_n(p.v.begin() + at * 16, 16, last.v.begin() + t * 16);
  }
  std::copy_n(p.state.end() - 256, 256, last.state.begin());
  const std::vector<DeviceOperation> many = all_operations(p, GetParam());
  const std::vector<DeviceOperation> alone = all_operations(last, GetParam());
  ASSERT_EQ(many.size(), alone.size());
  for (size_t i = 0; i < many.size(); ++i) {
    // Convolution, gating and the step of both draw coefficients a head; norms know no heads.
    if (many[i].name().find("conv1d") != std::string::npos || many[i].name() == "l2norm" ||
        many[i].name() == "fused_gdn_gating" || many[i].name() == "fused_gdn_decode") {
      continue;
    }
    const std::vector<Bytes> all = many[i].results(), one = alone[i].results();
    for (size_t j = 0; j < one.size(); ++j) {
      // The last head of the last token (or of the only state) closes both.
      const size_t size = all[j].size() == one[j].size() * kHeads && one[j].size() % kTokens == 0
                              ? one[j].size() / kTokens
                              : one[j].size();
      const auto bytes = static_cast<int64_t>(size);
      EXPECT_EQ(Bytes(all[j].end() - bytes, all[j].end()),
                Bytes(one[j].end() - bytes, one[j].end()))
          << many[i].name() << " output " << j;
    }
  }
}

}  // namespace
}  // namespace gdn::testing
