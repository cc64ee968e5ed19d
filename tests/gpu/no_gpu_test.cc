// The CUDA backend on a machine without a GPU or driver (ctest hides those of a machine that has
// them): the library loads, lists the backend, answers what follows from shapes, refuses calls with
// a sentence, and the CPU serves as ever.

#include <gdn/gdn.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace {

/// A compact tensor whose memory nobody will touch.
struct FakeTensor {
  std::vector<int64_t> shape;
  DLTensor tensor = {};

  explicit FakeTensor(std::vector<int64_t> s, uint8_t code = kDLBfloat, uint8_t bits = 16)
      : shape(std::move(s)) {
    static uintptr_t next = uintptr_t{1} << 40;
    tensor.data = reinterpret_cast<void *>(next);  // NOLINT(*-no-int-to-ptr)
    next += uintptr_t{1} << 36;
    tensor.device = {kDLCUDA, 0};
    tensor.ndim = static_cast<int32_t>(shape.size());
    tensor.dtype = {code, bits, 1};
    tensor.shape = shape.data();
  }
  FakeTensor(const FakeTensor &) = delete;
  FakeTensor &operator=(const FakeTensor &) = delete;
};

std::string outcome(gdn_status status) {
  return status == GDN_OK ? "" : std::string(gdn_status_string(status)) + ": " + gdn_last_error();
}

void expect_no_gpu(gdn_status status) {
  EXPECT_EQ(status, GDN_UNSUPPORTED);
  EXPECT_NE(outcome(status).find("no CUDA driver or GPU was found"), std::string::npos)
      << outcome(status);
}

/// A packed call of the gated delta rule.
struct Rule {
  FakeTensor q, k, v, o, g, beta, cu_seqlens, state;
  gdn_gated_delta_rule_args args = {};

  explicit Rule(int64_t tokens, int64_t sequences = 2, int64_t width = 128)
      : q({1, tokens, 2, width}),
        k({1, tokens, 2, width}),
        v({1, tokens, 4, width}),
        o({1, tokens, 4, width}),
        g({1, tokens, 4}, kDLFloat, 32),
        beta({1, tokens, 4}, kDLFloat, 32),
        cu_seqlens({sequences + 1}, kDLInt, 32),
        state({sequences, 4, width, width}, kDLFloat, 32) {
    args.struct_size = sizeof(args);
    args.q = &q.tensor, args.k = &k.tensor, args.v = &v.tensor, args.o = &o.tensor;
    args.g = &g.tensor, args.beta = &beta.tensor, args.cu_seqlens = &cu_seqlens.tensor;
    args.final_state = &state.tensor;
  }
};

TEST(NoGpu, TheBackendIsListedAndNothingOfItRuns) {
  bool listed = false;
  for (int i = 0; i < gdn_backend_count(); ++i) {
    listed = listed || std::strcmp(gdn_backend_name(i), "cuda") == 0;
  }
  ASSERT_TRUE(listed);
  ASSERT_GE(gdn_isa_count("cuda"), 1);
  for (int i = 0; i < gdn_isa_count("cuda"); ++i) {
    EXPECT_EQ(gdn_isa_supported("cuda", i), 0) << gdn_isa_name("cuda", i);
  }
}

TEST(NoGpu, CallsAreRefusedWithASentence) {
  Rule rule(100);
  for (const uint32_t flags : {0U, static_cast<uint32_t>(GDN_EXEC_CHECK)}) {
    gdn_exec exec = {};
    exec.struct_size = sizeof(exec);
    exec.flags = flags;
    size_t bytes = 0;
    ASSERT_EQ(gdn_chunk_gated_delta_rule_workspace_size(&rule.args, &exec, &bytes), GDN_OK);
    exec.workspace = reinterpret_cast<void *>(uintptr_t{1} << 50);  // NOLINT(*-no-int-to-ptr)
    exec.workspace_size = bytes;
    expect_no_gpu(gdn_chunk_gated_delta_rule(&rule.args, &exec));
    expect_no_gpu(gdn_fused_recurrent_gated_delta_rule(&rule.args, &exec));
  }
  gdn_chunk_local_cumsum_args sum = {};
  sum.struct_size = sizeof(sum);
  sum.g = &rule.g.tensor, sum.g_cumsum = &rule.beta.tensor;
  expect_no_gpu(gdn_chunk_local_cumsum(&sum, nullptr));
  gdn_l2norm_args norm = {};
  norm.struct_size = sizeof(norm);
  norm.x = &rule.q.tensor, norm.y = &rule.k.tensor;
  expect_no_gpu(gdn_l2norm(&norm, nullptr));
}

TEST(NoGpu, BadArgumentsAreNamedAllTheSame) {
  Rule rule(100);
  rule.k.shape[1] = 99;
  const std::string text = outcome(gdn_chunk_gated_delta_rule(&rule.args, nullptr));
  EXPECT_NE(text.find("GDN_INVALID_ARGUMENT"), std::string::npos) << text;
  EXPECT_NE(text.find("k has shape"), std::string::npos) << text;
}

TEST(NoGpu, AForcedCodePathIsRefused) {
  Rule rule(100);
  for (int i = 0; i < gdn_isa_count("cuda"); ++i) {
    gdn_exec exec = {};
    exec.struct_size = sizeof(exec);
    exec.isa = gdn_isa_name("cuda", i);
    EXPECT_EQ(gdn_chunk_gated_delta_rule(&rule.args, &exec), GDN_UNSUPPORTED);
    EXPECT_NE(std::string(gdn_last_error()).find(exec.isa), std::string::npos) << gdn_last_error();
  }
}

// From shapes alone: no GPU is asked, and neither contents nor pointers matter.
TEST(NoGpu, WorkspaceSizes) {
  size_t before = 0;
  for (const int64_t tokens : {1, 64, 1000, 100000, 1000000}) {
    Rule a(tokens), b(tokens);
    size_t bytes = 0, again = 0;
    ASSERT_EQ(gdn_chunk_gated_delta_rule_workspace_size(&a.args, nullptr, &bytes), GDN_OK)
        << gdn_last_error();
    ASSERT_EQ(gdn_chunk_gated_delta_rule_workspace_size(&b.args, nullptr, &again), GDN_OK);
    EXPECT_EQ(bytes, again) << tokens;
    EXPECT_GE(bytes, before) << tokens;
    before = bytes;
  }
}

TEST(NoGpu, TheCpuServes) {
  std::vector<float> x = {3, 4, 0, 0}, y(4, -1);
  int64_t shape[] = {1, 4};
  DLTensor in = {}, out = {};
  for (DLTensor *t : {&in, &out}) {
    t->device = {kDLCPU, 0};
    t->ndim = 2;
    t->dtype = {kDLFloat, 32, 1};
    t->shape = shape;
  }
  in.data = x.data(), out.data = y.data();
  gdn_l2norm_args args = {};
  args.struct_size = sizeof(args);
  args.x = &in, args.y = &out;
  ASSERT_EQ(gdn_l2norm(&args, nullptr), GDN_OK) << gdn_last_error();
  EXPECT_NEAR(y[0], 0.6F, 1e-6F);
  EXPECT_NEAR(y[1], 0.8F, 1e-6F);
}

}  // namespace
