// A backend with two of the operations, called by name through the C interface: it is listed and
// chosen, its workspace is queried, and what it lacks is refused in a sentence. The reference
// beside it serves the calls that name no backend, unless GDN_BACKEND=toy.

#include <gdn/gdn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

/// A compact float32 tensor on the host.
class Floats {
 public:
  explicit Floats(std::vector<int64_t> shape) : shape_(std::move(shape)) {
    const int64_t size =
        std::accumulate(shape_.begin(), shape_.end(), int64_t{1}, std::multiplies<>());
    values.resize(static_cast<size_t>(size));
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = 0.3F * std::sin(static_cast<float>(1 + i) * 1.7F);
    }
    tensor.data = values.data();
    tensor.device = {kDLCPU, 0};
    tensor.ndim = static_cast<int32_t>(shape_.size());
    tensor.dtype = {kDLFloat, 32, 1};
    tensor.shape = shape_.data();
  }
  Floats(const Floats &) = delete;
  Floats &operator=(const Floats &) = delete;

  std::vector<float> values;
  DLTensor tensor = {};

 private:
  std::vector<int64_t> shape_;
};

bool toy_by_environment() {
  const char *backend = std::getenv("GDN_BACKEND");
  return backend != nullptr && std::string_view(backend) == "toy";
}

gdn_exec exec_of(const char *backend) {
  gdn_exec exec = {};
  exec.struct_size = sizeof exec;
  exec.backend = backend;
  return exec;
}

/// Two value heads on one key head, 5 tokens, DK 8, DV 4.
struct ChunkCall {
  Floats q{{1, 5, 1, 8}};
  Floats k{{1, 5, 1, 8}};
  Floats v{{1, 5, 2, 4}};
  Floats g{{1, 5, 2}};
  Floats o{{1, 5, 2, 4}};
  gdn_gated_delta_rule_args args = {};

  ChunkCall() {
    for (float &x : g.values) x = -std::abs(x);
    args.struct_size = sizeof args;
    args.q = &q.tensor;
    args.k = &k.tensor;
    args.v = &v.tensor;
    args.g = &g.tensor;
    args.o = &o.tensor;
  }
};

void expect_message(const char *part) {
  const std::string message = gdn_last_error();
  EXPECT_NE(message.find(part), std::string::npos) << message;
  EXPECT_EQ(message.back(), '.') << message;
}

TEST(ToyBackend, IsListed) {
  ASSERT_EQ(gdn_backend_count(), 2);
  EXPECT_STREQ(gdn_backend_name(0), "toy");
  EXPECT_STREQ(gdn_backend_name(1), "reference");
  ASSERT_EQ(gdn_isa_count("toy"), 2);
  EXPECT_STREQ(gdn_isa_name("toy", 0), "plain");
  EXPECT_NE(gdn_isa_supported("toy", 0), 0);
  EXPECT_EQ(gdn_isa_supported("toy", 1), 0);
}

TEST(ToyBackend, IsChosen) {
  gdn_selection selection;
  const gdn_exec exec = exec_of("toy");
  ASSERT_EQ(gdn_select(&exec, &selection), GDN_OK) << gdn_last_error();
  EXPECT_STREQ(selection.backend, "toy");
  EXPECT_STREQ(selection.isa, "plain");
  EXPECT_STREQ(selection.reason, "There is one code path.");
  ASSERT_EQ(gdn_select(nullptr, &selection), GDN_OK) << gdn_last_error();
  EXPECT_STREQ(selection.backend, toy_by_environment() ? "toy" : "reference");
}

// No backend words it for itself.
TEST(ToyBackend, IsChosenWithOneSentenceForACodePathThatIsNamed) {
  for (const auto &[backend, isa] : {std::pair("toy", "plain"), std::pair("reference", "f64")}) {
    gdn_selection selection;
    gdn_exec exec = exec_of(backend);
    exec.isa = isa;
    ASSERT_EQ(gdn_select(&exec, &selection), GDN_OK) << gdn_last_error();
    EXPECT_STREQ(selection.isa, isa);
    EXPECT_STREQ(selection.reason, "The instruction set was asked for by name.");
  }
}

TEST(ToyBackend, ServesAnOperation) {
  Floats x({3, 8});
  Floats right({3, 8});
  Floats found({3, 8});
  gdn_l2norm_args args = {};
  args.struct_size = sizeof args;
  args.x = &x.tensor;
  args.y = &right.tensor;
  gdn_exec exec = exec_of("reference");
  ASSERT_EQ(gdn_l2norm(&args, &exec), GDN_OK) << gdn_last_error();
  args.y = &found.tensor;
  exec = exec_of("toy");
  exec.isa = "plain";
  ASSERT_EQ(gdn_l2norm(&args, &exec), GDN_OK) << gdn_last_error();
  for (size_t i = 0; i < found.values.size(); ++i) {
    EXPECT_NEAR(found.values[i], right.values[i], 1e-6);
  }
  exec.isa = "fancy";
  EXPECT_EQ(gdn_l2norm(&args, &exec), GDN_UNSUPPORTED);
  expect_message("exec->isa is \"fancy\"");
}

TEST(ToyBackend, ServesAnOperationWithAWorkspace) {
  ChunkCall right;
  gdn_exec exec = exec_of("reference");
  ASSERT_EQ(gdn_chunk_gated_delta_rule(&right.args, &exec), GDN_OK) << gdn_last_error();

  ChunkCall call;
  exec = exec_of("toy");
  size_t bytes = 0;
  ASSERT_EQ(gdn_chunk_gated_delta_rule_workspace_size(&call.args, &exec, &bytes), GDN_OK)
      << gdn_last_error();
  EXPECT_EQ(bytes, 8 * 4 * sizeof(float));
  EXPECT_EQ(gdn_chunk_gated_delta_rule(&call.args, &exec), GDN_WORKSPACE_TOO_SMALL);
  expect_message("exec->workspace is NULL");
  alignas(GDN_WORKSPACE_ALIGNMENT) unsigned char workspace[8 * 4 * sizeof(float)];
  exec.workspace = workspace;
  exec.workspace_size = bytes;
  ASSERT_EQ(gdn_chunk_gated_delta_rule(&call.args, &exec), GDN_OK) << gdn_last_error();
  for (size_t i = 0; i < call.o.values.size(); ++i) {
    EXPECT_NEAR(call.o.values[i], right.o.values[i], 1e-6);
  }
}

TEST(ToyBackend, IsNeverRunWithoutTheWorkspaceThatItNeeds) {
  Floats x({3, 20});
  Floats y({3, 20});
  gdn_l2norm_args args = {};
  args.struct_size = sizeof args;
  args.x = &x.tensor;
  args.y = &y.tensor;
  gdn_exec exec = exec_of("toy");
  EXPECT_EQ(gdn_l2norm(&args, &exec), GDN_WORKSPACE_TOO_SMALL);
  expect_message("exec->workspace is NULL, expected 64 bytes");
  alignas(GDN_WORKSPACE_ALIGNMENT) unsigned char workspace[64];
  exec.workspace = workspace;
  exec.workspace_size = sizeof workspace;
  EXPECT_EQ(gdn_l2norm(&args, &exec), GDN_OK) << gdn_last_error();
}

TEST(ToyBackend, RefusesWidthsThatItDoesNotServe) {
  Floats wide({1, 5, 1, 36});
  ChunkCall call;
  call.args.q = call.args.k = &wide.tensor;
  const gdn_exec exec = exec_of("toy");
  size_t bytes = 0;
  EXPECT_EQ(gdn_chunk_gated_delta_rule(&call.args, &exec), GDN_UNSUPPORTED);
  expect_message("the toy backend serves multiples of 4 up to 32");
  EXPECT_EQ(gdn_chunk_gated_delta_rule_workspace_size(&call.args, &exec, &bytes), GDN_UNSUPPORTED);
  expect_message("DK = 36");
}

TEST(ToyBackend, RefusesForItself) {
  ChunkCall call;
  call.args.flags = GDN_USE_QK_L2NORM;
  gdn_exec exec = exec_of("toy");
  alignas(GDN_WORKSPACE_ALIGNMENT) unsigned char workspace[8 * 4 * sizeof(float)];
  exec.workspace = workspace;
  exec.workspace_size = sizeof workspace;
  EXPECT_EQ(gdn_chunk_gated_delta_rule(&call.args, &exec), GDN_UNSUPPORTED);
  expect_message("gdn_chunk_gated_delta_rule: the toy backend has neither pools nor activations");
}

TEST(ToyBackend, LacksTheOthers) {
  ChunkCall call;
  const gdn_exec exec = exec_of("toy");
  EXPECT_EQ(gdn_fused_recurrent_gated_delta_rule(&call.args, &exec), GDN_UNSUPPORTED);
  expect_message("the toy backend does not have this operation");
  Floats g({1, 5, 2});
  gdn_chunk_local_cumsum_args args = {};
  args.struct_size = sizeof args;
  args.g = &call.g.tensor;
  args.g_cumsum = &g.tensor;
  EXPECT_EQ(gdn_chunk_local_cumsum(&args, &exec), GDN_UNSUPPORTED);
  expect_message("gdn_chunk_local_cumsum: the toy backend does not have this operation");
  // No other backend steps in for one that was asked for by name.
  EXPECT_EQ(gdn_chunk_local_cumsum(&args, nullptr),
            toy_by_environment() ? GDN_UNSUPPORTED : GDN_OK);
  // What is wrong with the call itself is said first.
  args.g = nullptr;
  EXPECT_EQ(gdn_chunk_local_cumsum(&args, &exec), GDN_INVALID_ARGUMENT);
  expect_message("g is NULL");
}

}  // namespace
