// Bits that may depend on nothing but the data: run to run, packed or alone, at any alignment, cut
// and resumed, on several streams at once.

#include <algorithm>

#include "operations.h"

namespace gdn::testing {
namespace {

class Invariance : public GpuTest {
 protected:
  /// Runs a problem; returns the bytes of o and final_state.
  std::pair<Bytes, Bytes> result_of(const HostProblem &p, size_t shift = 0, uint32_t flags = 0) {
    DeviceCall call(p, shift);
    EXPECT_EQ(call.run(GetParam(), nullptr, false, flags), "");
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
    return {call.o.download(), call.final_state.download()};
  }

  /// The same with no sequence cut for parallelism.
  std::pair<Bytes, Bytes> whole_result_of(const HostProblem &p) {
    return result_of(p, 0, GDN_EXEC_NO_SPLIT);
  }

  /// Every sequence of a problem has the same bits alone.
  void expect_packed_as_alone(const HostProblem &p) {
    const auto [o, state] = whole_result_of(p);
    int64_t from = 0;
    for (size_t n = 0; n < p.lengths.size(); ++n) {
      const auto [o_alone, state_alone] = whole_result_of(p.part(from, p.lengths[n], n));
      const auto row = static_cast<int64_t>(p.hv * p.dv) * static_cast<int64_t>(size_of(p.type));
      const Bytes o_part(o.begin() + from * row, o.begin() + (from + p.lengths[n]) * row);
      const auto size = static_cast<int64_t>(state_alone.size());
      const auto at = static_cast<int64_t>(n) * size;
      const Bytes state_part(state.begin() + at, state.begin() + at + size);
      if (p.lengths[n] > 0) {
        EXPECT_TRUE(o_part == o_alone) << name_of(p.type) << " " << n;
      }
      EXPECT_TRUE(state_part == state_alone) << name_of(p.type) << " " << n;
      from += p.lengths[n];
    }
  }
};
GDN_GPU_SUITE(Invariance);

// A machine without a GPU has no code paths; then this program must fail, not pass empty.
TEST(Presence, FindsAGpu) { EXPECT_FALSE(code_paths().empty()); }

constexpr Element kTypes[] = {Element::bf16, Element::f16, Element::f32};

TEST_P(Invariance, RunToRun) {
  for (const Element type : kTypes) {
    const HostProblem p(type, {1, 63, 64, 65, 0, 127, 128, 129, 447}, 2, 4);
    EXPECT_EQ(result_of(p), result_of(p)) << name_of(type);
  }
}

TEST_P(Invariance, PackedOrAlone) {
  for (const Element type : kTypes) {
    for (const int64_t hv : {4, 6}) {  // Four heads' gates come at once, or not.
      expect_packed_as_alone(
          HostProblem(type, {1, 63, 0, 64, 65, 127, 128, 129, 447, 31, 33}, 2, hv));
    }
  }
}

// The first tokens of a step of 32 have no key, or no beta, and sequences and steps differ in how
// many. There are more sequences and heads than multiprocessors, so that blocks that take several
// of them go from one to the next.
TEST_P(Invariance, PackedOrAloneWithoutFirstKeys) {
  constexpr int64_t kStep = 32, kHeads = 8;
  std::vector<int64_t> lengths;
  for (int64_t n = 0; n < 48; ++n) lengths.push_back(1 + n * 37 % 150);
  for (const Element type : kTypes) {
    HostProblem p(type, lengths, 2, kHeads);
    int64_t begin = 0;
    for (size_t n = 0; n < lengths.size(); begin += lengths[n++]) {
      for (int64_t t = 0; t < lengths[n]; ++t) {
        const int64_t of_step = static_cast<int64_t>(n) * 5 + t / kStep * 13;
        for (int64_t h = 0; h < p.hk; ++h) {
          if (t % kStep >= (of_step + 17 * h) % (kStep + 1)) continue;
          const auto key = p.k.begin() + ((begin + t) * p.hk + h) * p.dk;
          std::fill(key, key + p.dk, 0.0F);
        }
        for (int64_t h = 0; h < kHeads; ++h) {
          // In every other sequence betas too.
          if (n % 2 == 0 || t % kStep >= (of_step * 3 + 7 * h) % (kStep + 1)) continue;
          p.beta[static_cast<size_t>((begin + t) * kHeads + h)] = 0.0F;
        }
      }
    }
    expect_packed_as_alone(p);
  }
}

TEST_P(Invariance, AlignmentDoesNotMatter) {
  for (const Element type : kTypes) {
    const HostProblem p(type, {100, 64, 33}, 2, 4);
    EXPECT_EQ(result_of(p), result_of(p, size_of(type))) << name_of(type);
  }
}

TEST_P(Invariance, ResumedPrefill) {
  for (const Element type : kTypes) {
    const HostProblem p(type, {300}, 2, 4);
    const auto [o, state] = whole_result_of(p);
    HostProblem first = p.part(0, 192, 0), second = p.part(192, 108, 0);
    const auto [o_first, state_first] = whole_result_of(first);
    std::memcpy(second.state.data(), state_first.data(), state_first.size());
    auto [o_whole, state_second] = whole_result_of(second);
    o_whole.insert(o_whole.begin(), o_first.begin(), o_first.end());
    EXPECT_EQ(o, o_whole) << name_of(type);
    EXPECT_EQ(state, state_second) << name_of(type);
  }
}

TEST_P(Invariance, EveryOperationRunToRun) {
  for (const Element type : kTypes) {
    const HostProblem p(type, {1, 63, 0, 64, 65, 200}, 2, 4);
    for (DeviceOperation &op : all_operations(p, GetParam())) {
      const std::vector<Bytes> first = op.results();
      for (int i = 0; i < 3; ++i) {
        op.reset();
        ASSERT_EQ(op.run(GetParam()), "") << op.name();
        ASSERT_CUDA(cudaDeviceSynchronize());
        EXPECT_EQ(op.results(), first) << op.name() << " " << name_of(type);
      }
    }
  }
}

TEST_P(Invariance, EveryOperationAtAnyAlignment) {
  for (const Element type : kTypes) {
    for (const int64_t hv : {4, 6}) {
      const HostProblem p(type, {1, 63, 0, 64, 65, 200}, 2, hv);
      const std::vector<DeviceOperation> aligned = all_operations(p, GetParam());
      const std::vector<DeviceOperation> shifted = all_operations(p, GetParam(), 1);
      ASSERT_EQ(aligned.size(), shifted.size());
      for (size_t i = 0; i < aligned.size(); ++i) {
        EXPECT_EQ(aligned[i].results(), shifted[i].results())
            << aligned[i].name() << " " << name_of(type);
      }
    }
  }
}

// The last sequence's part of every output, beside what it is alone.
TEST_P(Invariance, EveryOperationPackedOrAlone) {
  for (const Element type : kTypes) {
    for (const int64_t length : {1, 31, 64, 129}) {
      const HostProblem p(type, {70, 1, 0, 64, 33, length}, 2, 4);
      std::vector<DeviceOperation> packed = all_operations(p, GetParam());
      const HostProblem last = p.part(p.tokens() - length, length, p.lengths.size() - 1);
      std::vector<DeviceOperation> alone = all_operations(last, GetParam());
      ASSERT_EQ(packed.size(), alone.size());
      for (size_t i = 0; i < packed.size(); ++i) {
        if (packed[i].name() == "causal_conv1d_update") continue;  // Knows no packing.
        for (DeviceOperation *op : {&packed[i], &alone[i]}) {
          op->reset();
          ASSERT_EQ(op->run(GetParam(), nullptr, GDN_EXEC_NO_SPLIT), "") << op->name();
        }
        ASSERT_CUDA(cudaDeviceSynchronize());
        const std::vector<Bytes> all = packed[i].results(), one = alone[i].results();
        ASSERT_EQ(all.size(), one.size()) << packed[i].name();
        for (size_t j = 0; j < one.size(); ++j) {
          const auto size = static_cast<int64_t>(one[j].size());
          EXPECT_EQ(Bytes(all[j].end() - size, all[j].end()), one[j])
              << packed[i].name() << " output " << j << " " << name_of(type) << " " << length;
        }
      }
    }
  }
}

// One token a sequence, in rows of their own or packed, with the state in either layout and type:
// the same bits. (The kernel knows from the shapes of rows that there is but one token.)
TEST_P(Invariance, DecodeRowsOrPackedInEitherLayout) {
  constexpr int64_t kBatch = 5, kHeads = 4, kWidth = 128, kSize = kWidth * kWidth;
  const HostProblem p(Element::bf16, std::vector<int64_t>(kBatch, 1), 2, kHeads);
  const auto transposed = [](const Bytes &x, size_t item) {
    Bytes y(x.size());
    for (size_t at = 0; at < x.size(); at += item) {
      const size_t i = at / item, matrix = i / kSize, row = i % kSize / kWidth, column = i % kWidth;
      std::memcpy(&y[(matrix * kSize + column * kWidth + row) * item], &x[at], item);
    }
    return y;
  };
  for (const Element type : {Element::f32, Element::bf16}) {
    const Bytes state = encoded(type, p.state);
    DeviceTensor slots(Element::i32, {kBatch});
    const std::vector<int32_t> order = {3, 0, 4, 1, 2};
    slots.upload(order.data(), order.size() * sizeof(int32_t));
    std::vector<Bytes> outputs, states;
    for (const bool packed : {false, true}) {
      for (const bool v_first : {false, true}) {
        DeviceCall call(p);
        DeviceTensor pool(type, {kBatch, kHeads, kWidth, kWidth});
        const Bytes laid_out = v_first ? transposed(state, size_of(type)) : state;
        pool.upload(laid_out.data(), laid_out.size());
        call.args.flags = v_first ? GDN_STATE_V_FIRST : 0;
        call.args.initial_state = pool.tensor(), call.args.final_state = nullptr;
        call.args.state_indices = slots.tensor();
        std::vector<int64_t> keys = {kBatch, 1, 2, kWidth}, values = {kBatch, 1, kHeads, kWidth},
                             gates = {kBatch, 1, kHeads};
        std::vector<DLTensor> rows;
        rows.reserve(6);
        const auto as_rows = [&](const DLTensor *&t, std::vector<int64_t> &shape) {
          rows.push_back(*t);
          rows.back().shape = shape.data(), rows.back().strides = nullptr;
          t = &rows.back();
        };
        if (!packed) {
          as_rows(call.args.q, keys);
          as_rows(call.args.k, keys);
          as_rows(call.args.v, values);
          as_rows(call.args.o, values);
          as_rows(call.args.g, gates);
          as_rows(call.args.beta, gates);
          call.args.cu_seqlens = nullptr;
        }
        ASSERT_EQ(call.run(GetParam(), nullptr, true), "");
        ASSERT_CUDA(cudaDeviceSynchronize());
        outputs.push_back(call.o.download());
        const Bytes after = pool.download();
        states.push_back(v_first ? transposed(after, size_of(type)) : after);
      }
    }
    EXPECT_NE(states[0], state);
    for (size_t i = 1; i < outputs.size(); ++i) {
      EXPECT_EQ(outputs[i], outputs[0]) << name_of(type) << " " << i;
      EXPECT_EQ(states[i], states[0]) << name_of(type) << " " << i;
    }
  }
}

TEST_P(Invariance, SeveralStreamsAtOnce) {
  constexpr int kStreams = 4, kRounds = 5;
  const HostProblem p(Element::bf16, {1, 63, 0, 64, 65, 400}, 2, 4);
  std::vector<cudaStream_t> streams(kStreams);
  std::vector<std::vector<DeviceOperation>> copies;
  for (cudaStream_t &stream : streams) {
    ASSERT_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    copies.push_back(all_operations(p, GetParam()));
  }
  std::vector<std::vector<Bytes>> expected;
  for (const DeviceOperation &op : copies[0]) expected.push_back(op.results());
  for (int round = 0; round < kRounds; ++round) {
    for (auto &copy : copies) {
      for (DeviceOperation &op : copy) op.reset();
    }
    ASSERT_CUDA(cudaDeviceSynchronize());
    for (size_t i = 0; i < expected.size(); ++i) {
      for (size_t s = 0; s < streams.size(); ++s) {
        // Different operations meet on the device: each stream starts elsewhere in the list.
        const DeviceOperation &op = copies[s][(i + 3 * s) % expected.size()];
        ASSERT_EQ(op.run(GetParam(), streams[s]), "") << op.name();
      }
    }
    ASSERT_CUDA(cudaDeviceSynchronize());
    for (const auto &copy : copies) {
      for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(copy[i].results(), expected[i]) << copy[i].name() << " round " << round;
      }
    }
  }
  for (const cudaStream_t stream : streams) cudaStreamDestroy(stream);
}

}  // namespace
}  // namespace gdn::testing
