// Index arrays lie on the device and are read there: a captured call follows what they hold when it
// is replayed, and whatever they hold, nothing outside the pool is touched.

#include <cstdlib>

#include "operations.h"

namespace gdn::testing {
namespace {

class Slots : public GpuTest {};
GDN_GPU_SUITE(Slots);

constexpr int64_t kSequences = 4, kSlots = 12, kHeads = 4, kWidth = 128;
constexpr int64_t kNull = 0;

/// What the index arrays of a call hold.
struct Contents {
  std::vector<int32_t> cu, read, write;
  std::vector<unsigned char> has;
  std::vector<int32_t> checkpoints;  ///< Two a sequence; chunk operation.
  std::vector<int32_t> positions;    ///< Chunk operation.
};

/// A call of either operation on a pool, with every index array there is.
struct SlotCall {
  DeviceCall call;
  DeviceTensor pool, read, write, has, checkpoints, positions;
  bool recurrent;

  SlotCall(const HostProblem &p, Element state, bool is_recurrent)
      : call(p),
        pool(state, {kSlots, kHeads, kWidth, kWidth}),
        read(Element::i32, {kSequences}),
        write(Element::i32, {kSequences}),
        has(Element::u8, {kSequences}),
        checkpoints(Element::i32, {kSequences, 2}),
        positions(Element::i32, {kSequences}),
        recurrent(is_recurrent) {
    gdn_gated_delta_rule_args &a = call.args;
    a.flags = GDN_HAS_NULL_SLOT | GDN_PADDED;
    a.null_slot = kNull;
    a.initial_state = pool.tensor(), a.final_state = nullptr;
    a.state_indices = read.tensor(), a.output_state_indices = write.tensor();
    a.has_initial_state = has.tensor();
    if (recurrent) return;
    a.checkpoint_every = 64;
    a.checkpoint_indices = checkpoints.tensor();
    a.positions = positions.tensor();
  }
  void set(const Contents &c) {
    const auto put = [](DeviceTensor &to, const auto &from) {
      to.upload(from.data(), from.size() * sizeof(from[0]));
    };
    put(call.cu_seqlens, c.cu);
    put(read, c.read);
    put(write, c.write);
    put(has, c.has);
    put(checkpoints, c.checkpoints);
    put(positions, c.positions);
  }
  /// The pool is as at first, outputs are poisoned.
  void reset() {
    const Bytes state =
        encoded(pool.type(), drawn_rows(kSlots * kHeads * kWidth, kWidth, false, "pool"));
    pool.upload(state.data(), state.size());
    ASSERT_CUDA(cudaMemset(call.o.data(), 0xff, call.o.bytes()));
  }
  std::pair<Bytes, Bytes> results() const { return {call.o.download(), pool.download()}; }
};

const Contents kFirst = {{0, 70, 100, 101, 200}, {3, 3, kNull, 5},           {4, 6, 7, 5},
                         {1, 0, 1, 1},           {8, 9, 1, 2, 1, 2, -1, 11}, {0, 10, 5, 40}};
const Contents kSecond = {{0, 1, 65, 65, 150}, {kNull, 2, 2, 1},           {4, -1, 3, kNull},
                          {1, 1, 0, 0},        {1, 1, 10, 11, 1, 1, 9, 8}, {7, 64, 3, 100}};

TEST_P(Slots, ReplaysFollowTheArrays) {
  cudaStream_t stream;
  ASSERT_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  const HostProblem p(Element::bf16, {50, 50, 50, 50}, 2, kHeads);
  for (const Element state : {Element::f32, Element::bf16, Element::f16}) {
    for (const bool recurrent : {false, true}) {
      SCOPED_TRACE(::testing::Message() << name_of(state) << (recurrent ? " recurrent" : " chunk"));
      SlotCall direct(p, state, recurrent), replayed(p, state, recurrent);
      replayed.set(kFirst);
      ASSERT_CUDA(cudaDeviceSynchronize());
      ASSERT_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
      EXPECT_EQ(replayed.call.run(GetParam(), stream, recurrent), "");
      cudaGraph_t graph;
      ASSERT_CUDA(cudaStreamEndCapture(stream, &graph));
      cudaGraphExec_t exec;
      ASSERT_CUDA(cudaGraphInstantiate(&exec, graph, 0));
      std::vector<Bytes> outputs;
      for (const Contents &contents : {kFirst, kSecond, kFirst}) {
        direct.set(contents), replayed.set(contents);
        direct.reset(), replayed.reset();
        ASSERT_EQ(direct.call.run(GetParam(), nullptr, recurrent), "");
        ASSERT_CUDA(cudaDeviceSynchronize());
        ASSERT_CUDA(cudaGraphLaunch(exec, stream));
        ASSERT_CUDA(cudaStreamSynchronize(stream));
        EXPECT_EQ(replayed.results(), direct.results());
        outputs.push_back(direct.call.o.download());
      }
      EXPECT_NE(outputs[0], outputs[1]);
      EXPECT_EQ(outputs[0], outputs[2]);
      cudaGraphExecDestroy(exec);
      cudaGraphDestroy(graph);
    }
  }
  cudaStreamDestroy(stream);
}

// Slots that no index names keep their bytes, tokens that no sequence has keep theirs.
TEST_P(Slots, NothingElseIsTouched) {
  const HostProblem p(Element::bf16, {50, 50, 50, 50}, 2, kHeads);
  for (const bool recurrent : {false, true}) {
    SlotCall call(p, Element::f16, recurrent);
    call.set(kSecond);
    call.reset();
    const Bytes before = call.pool.download();
    ASSERT_EQ(call.call.run(GetParam(), nullptr, recurrent), "");
    ASSERT_CUDA(cudaDeviceSynchronize());
    const auto [o, after] = call.results();
    const auto slot = before.size() / kSlots;
    for (size_t i = 0; i < kSlots; ++i) {
      // Written: the third sequence's, which is empty and so gets zeros, and checkpoints: the
      // second sequence passes 128 tokens at its end, the fourth 128 within.
      const bool written = i == 3 || (!recurrent && (i == 10 || i == 9));
      const auto at = static_cast<int64_t>(i * slot), end = static_cast<int64_t>((i + 1) * slot);
      EXPECT_EQ(Bytes(before.begin() + at, before.begin() + end) !=
                    Bytes(after.begin() + at, after.begin() + end),
                written)
          << i << (recurrent ? " recurrent" : " chunk");
    }
    const auto row = static_cast<int64_t>(kHeads * kWidth * 2);
    EXPECT_EQ(Bytes(o.begin(), o.begin() + row), Bytes(static_cast<size_t>(row), 0));  // Skipped.
    EXPECT_EQ(Bytes(o.begin() + 150 * row, o.end()), Bytes(static_cast<size_t>(50 * row), 0xff));
  }
}

// Contents that mean nothing: no error, and where none names a slot, the pool is as it was.
TEST_P(Slots, WildContents) {
  if (std::getenv("GDN_CHECK") != nullptr) GTEST_SKIP() << "GDN_CHECK refuses these contents";
  constexpr int32_t kMost = 2147483647, kLeast = -2147483647;
  const HostProblem p(Element::bf16, {50, 50, 50, 50}, 2, kHeads);
  for (const bool recurrent : {false, true}) {
    SlotCall call(p, Element::f32, recurrent);
    Contents wild = {{0, kMost, -5, 100, kMost},
                     {3, 4, 5, 6},
                     {kMost, kLeast, 12, -1},
                     {255, 2, 0, 7},
                     {kMost, 12, kLeast, -1, kMost, 13, 99, -8},
                     {kLeast, -1, kMost, -64}};
    call.set(wild);
    call.reset();
    const Bytes before = call.pool.download();
    EXPECT_EQ(call.call.run(GetParam(), nullptr, recurrent), "");
    ASSERT_CUDA(cudaDeviceSynchronize());
    EXPECT_EQ(call.pool.download(), before);
    wild.read = {kMost, kLeast, 12, kNull};
    wild.write = {1, 2, 3, 4};
    call.set(wild);
    EXPECT_EQ(call.call.run(GetParam(), nullptr, recurrent), "");
    ASSERT_CUDA(cudaDeviceSynchronize());
    EXPECT_EQ(call.pool.download(), before);  // All are skipped.
  }
}

}  // namespace
}  // namespace gdn::testing
