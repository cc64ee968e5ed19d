// What only a GPU can show: operands in device memory, streams, graphs, contents that the host
// cannot check, sizes over 2^31. Results themselves are judged by the other test programs through
// mirror.cc; here they are compared bit by bit with one another.

#include <cmath>
#include <cstdlib>

#include "device_call.h"

namespace gdn::testing {
namespace {

using Bytes = std::vector<unsigned char>;

class GpuTest : public ::testing::TestWithParam<std::string> {
 protected:
  void TearDown() override {
    ASSERT_CUDA(cudaDeviceSynchronize());
    ASSERT_CUDA(cudaGetLastError());
  }

  /// Runs a problem; returns the bytes of o and final_state.
  std::pair<Bytes, Bytes> result_of(const HostProblem &p, size_t shift = 0) {
    DeviceCall call(p, shift);
    EXPECT_EQ(call.run(GetParam()), "");
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    return {call.o.download(), call.final_state.download()};
  }
};

std::vector<std::string> code_paths() {
  std::vector<std::string> names;
  for (int i = 0; i < gdn_isa_count("cuda"); ++i) {
    if (gdn_isa_supported("cuda", i) != 0) names.push_back(gdn_isa_name("cuda", i));
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Cuda, GpuTest, ::testing::ValuesIn(code_paths()),
                         [](const auto &param_info) { return param_info.param; });
// A machine without a GPU has no code paths; then these programs must fail, not pass empty.
TEST(GpuTestPresence, FindsAGpu) { EXPECT_FALSE(code_paths().empty()); }

constexpr Element kTypes[] = {Element::bf16, Element::f16, Element::f32};

TEST_P(GpuTest, RunToRun) {
  for (const Element type : kTypes) {
    const HostProblem p(type, {1, 63, 64, 65, 0, 127, 128, 129, 447}, 2, 4);
    EXPECT_EQ(result_of(p), result_of(p)) << name_of(type);
  }
}

TEST_P(GpuTest, PackedOrAlone) {
  for (const Element type : kTypes) {
    for (const int64_t hv : {4, 6}) {  // Four heads' gates come at once, or not.
      const HostProblem p(type, {1, 63, 0, 64, 65, 127, 128, 129, 447, 31, 33}, 2, hv);
      const auto [o, state] = result_of(p);
      int64_t from = 0;
      for (size_t n = 0; n < p.lengths.size(); ++n) {
        const auto [o_alone, state_alone] = result_of(p.part(from, p.lengths[n], n));
        const auto row = static_cast<int64_t>(hv * p.dv) * static_cast<int64_t>(size_of(type));
        const Bytes o_part(o.begin() + from * row, o.begin() + (from + p.lengths[n]) * row);
        const auto size = static_cast<int64_t>(state_alone.size());
        const auto at = static_cast<int64_t>(n) * size;
        const Bytes state_part(state.begin() + at, state.begin() + at + size);
        if (p.lengths[n] > 0) {
          EXPECT_EQ(o_part, o_alone) << n;
        }
        EXPECT_EQ(state_part, state_alone) << n;
        from += p.lengths[n];
      }
    }
  }
}

TEST_P(GpuTest, AlignmentDoesNotMatter) {
  for (const Element type : kTypes) {
    const HostProblem p(type, {100, 64, 33}, 2, 4);
    EXPECT_EQ(result_of(p), result_of(p, size_of(type))) << name_of(type);
  }
}

TEST_P(GpuTest, ResumedPrefill) {
  for (const Element type : kTypes) {
    const HostProblem p(type, {300}, 2, 4);
    const auto [o, state] = result_of(p);
    HostProblem first = p.part(0, 192, 0), second = p.part(192, 108, 0);
    const auto [o_first, state_first] = result_of(first);
    std::memcpy(second.state.data(), state_first.data(), state_first.size());
    auto [o_whole, state_second] = result_of(second);
    o_whole.insert(o_whole.begin(), o_first.begin(), o_first.end());
    EXPECT_EQ(o, o_whole) << name_of(type);
    EXPECT_EQ(state, state_second) << name_of(type);
  }
}

TEST_P(GpuTest, StreamsAndGraphs) {
  for (const bool recurrent : {false, true}) {
    const HostProblem p(Element::bf16, {70, 1, 200}, 2, 4);
    DeviceCall call(p);
    ASSERT_EQ(call.run(GetParam(), nullptr, recurrent), "");
    ASSERT_CUDA(cudaDeviceSynchronize());
    const Bytes o = call.o.download(), state = call.final_state.download();
    cudaStream_t stream;
    ASSERT_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    ASSERT_EQ(call.run(GetParam(), stream, recurrent), "");
    cudaGraph_t graph;
    ASSERT_CUDA(cudaStreamEndCapture(stream, &graph));
    cudaGraphExec_t exec;
    ASSERT_CUDA(cudaGraphInstantiate(&exec, graph, 0));
    for (int i = 0; i < 3; ++i) {
      ASSERT_CUDA(cudaMemset(call.o.data(), 0xff, call.o.bytes()));
      ASSERT_CUDA(cudaMemset(call.final_state.data(), 0xff, call.final_state.bytes()));
      ASSERT_CUDA(cudaDeviceSynchronize());
      ASSERT_CUDA(cudaGraphLaunch(exec, stream));
      ASSERT_CUDA(cudaStreamSynchronize(stream));
      EXPECT_EQ(call.o.download(), o);
      EXPECT_EQ(call.final_state.download(), state);
    }
    cudaGraphExecDestroy(exec);
    cudaGraphDestroy(graph);
    cudaStreamDestroy(stream);
  }
}

// Contents that no host has seen: whatever they are, nothing is accessed out of bounds (run this
// under compute-sanitizer) and the call ends.
TEST_P(GpuTest, WildIndices) {
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

TEST_P(GpuTest, UnsupportedWidthsAreRefused) {
  DeviceCall call(HostProblem(Element::bf16, {10}, 1, 1, 24));
  const Bytes before = call.o.download();
  EXPECT_NE(call.run(GetParam()).find("GDN_UNSUPPORTED"), std::string::npos);
  ASSERT_CUDA(cudaGetLastError());
  EXPECT_EQ(call.o.download(), before);
}

TEST_P(GpuTest, ManySequences) {
  // More sequences than a grid's second dimension could count.
  const HostProblem p(Element::bf16, std::vector<int64_t>(70000, 1), 1, 1, 16);
  for (const bool recurrent : {false, true}) {
    DeviceCall call(p);
    ASSERT_EQ(call.run(GetParam(), nullptr, recurrent), "");
    ASSERT_CUDA(cudaDeviceSynchronize());
    DeviceCall last(p.part(69999, 1, 69999));
    ASSERT_EQ(last.run(GetParam(), nullptr, recurrent), "");
    const Bytes all = call.final_state.download(), one = last.final_state.download();
    EXPECT_EQ(Bytes(all.end() - 1024, all.end()), one);
  }
}

// v and o of more than 2^31 elements: the last sequence is as it is alone.
TEST_P(GpuTest, HugeTensors) {
  constexpr int64_t kTokens = 140000, kHeads = 128, kLast = 200;
  size_t free = 0, whole = 0;
  ASSERT_CUDA(cudaMemGetInfo(&free, &whole));
  if (free < (size_t{14} << 30)) GTEST_SKIP() << "needs 14 GB of device memory";
  const HostProblem last(Element::bf16, {kLast}, 1, kHeads);
  DeviceCall alone(last);
  ASSERT_EQ(alone.run(GetParam()), "");
  DeviceTensor q(Element::bf16, {1, kTokens, 1, 128}), k(Element::bf16, {1, kTokens, 1, 128});
  DeviceTensor v(Element::bf16, {1, kTokens, kHeads, 128}),
      o(Element::bf16, {1, kTokens, kHeads, 128});
  DeviceTensor g(Element::f32, {1, kTokens, kHeads}), beta(Element::f32, {1, kTokens, kHeads});
  DeviceTensor cu(Element::i64, {3});
  DeviceTensor initial(Element::f32, {2, kHeads, 128, 128}),
      final(Element::f32, {2, kHeads, 128, 128});
  const auto place = [](DeviceTensor &whole_tensor, const DeviceTensor &part) {
    ASSERT_CUDA(cudaMemset(whole_tensor.data(), 0, whole_tensor.bytes()));
    ASSERT_CUDA(
        cudaMemcpy(static_cast<char *>(whole_tensor.data()) + whole_tensor.bytes() - part.bytes(),
                   part.data(), part.bytes(), cudaMemcpyDeviceToDevice));
  };
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
  gdn_exec exec = {};
  exec.struct_size = sizeof(exec);
  const std::string isa = GetParam();
  exec.isa = isa.c_str();
  ASSERT_EQ(gdn_chunk_gated_delta_rule(&args, &exec), GDN_OK) << gdn_last_error();
  ASSERT_CUDA(cudaDeviceSynchronize());
  Bytes tail(alone.o.bytes());
  ASSERT_CUDA(cudaMemcpy(tail.data(), static_cast<char *>(o.data()) + o.bytes() - tail.size(),
                         tail.size(), cudaMemcpyDeviceToHost));
  EXPECT_EQ(tail, alone.o.download());
}

}  // namespace
}  // namespace gdn::testing
