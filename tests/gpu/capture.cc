// Every operation inside a CUDA graph: captured on a stream of its own, replayed with outputs
// poisoned in between. What capture refuses (allocation, synchronisation) would fail here.

#include "operations.h"

namespace gdn::testing {
namespace {

class Capture : public GpuTest {};
GDN_GPU_SUITE(Capture);

TEST_P(Capture, EveryOperationReplays) {
  cudaStream_t stream;
  ASSERT_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  for (const Element type : {Element::bf16, Element::f32}) {
    const HostProblem p(type, {70, 1, 0, 200}, 2, 4);
    for (DeviceOperation &op : all_operations(p, GetParam())) {
      SCOPED_TRACE(op.name());
      const std::vector<Bytes> expected = op.results();
      ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
      EXPECT_EQ(op.run(GetParam(), stream), "");
      cudaGraph_t graph;
      ASSERT_CUDA(cudaStreamEndCapture(stream, &graph));
      size_t nodes = 0;
      ASSERT_CUDA(cudaGraphGetNodes(graph, nullptr, &nodes));
      EXPECT_GT(nodes, 0U);
      cudaGraphExec_t exec;
      ASSERT_CUDA(cudaGraphInstantiate(&exec, graph, 0));
      op.reset();
      EXPECT_NE(op.results(), expected) << "capture must not run the call";
      for (int i = 0; i < 3; ++i) {
        op.reset();
        ASSERT_CUDA(cudaDeviceSynchronize());
        ASSERT_CUDA(cudaGraphLaunch(exec, stream));
        ASSERT_CUDA(cudaStreamSynchronize(stream));
        EXPECT_EQ(op.results(), expected) << name_of(type) << " replay " << i;
      }
      cudaGraphExecDestroy(exec);
      cudaGraphDestroy(graph);
    }
  }
  cudaStreamDestroy(stream);
}

// One graph of the whole layer's operations, so that replays overlap with nothing and nothing is
// left over between them.
TEST_P(Capture, OneGraphOfAll) {
  const HostProblem p(Element::bf16, {70, 1, 0, 200}, 2, 4);
  std::vector<DeviceOperation> all = all_operations(p, GetParam());
  std::vector<std::vector<Bytes>> expected;
  for (const DeviceOperation &op : all) expected.push_back(op.results());
  cudaStream_t stream;
  ASSERT_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (const DeviceOperation &op : all) EXPECT_EQ(op.run(GetParam(), stream), "") << op.name();
  cudaGraph_t graph;
  ASSERT_CUDA(cudaStreamEndCapture(stream, &graph));
  cudaGraphExec_t exec;
  ASSERT_CUDA(cudaGraphInstantiate(&exec, graph, 0));
  for (int i = 0; i < 3; ++i) {
    for (DeviceOperation &op : all) op.reset();
    ASSERT_CUDA(cudaDeviceSynchronize());
    ASSERT_CUDA(cudaGraphLaunch(exec, stream));
    ASSERT_CUDA(cudaStreamSynchronize(stream));
    for (size_t j = 0; j < all.size(); ++j)
      EXPECT_EQ(all[j].results(), expected[j]) << all[j].name();
  }
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

}  // namespace
}  // namespace gdn::testing
