// Few sequences and heads: the forms of the chunked call that a code path chooses by shapes. Those
// that promise the same bits have them; segments of sequences have the errors of whole ones,
// whether decays wipe out what comes into a segment, or do not, or some do. The ladder and the hard
// cases run over all forms through the mirror.

#include <algorithm>
#include <cstdlib>

#include "operations.h"

namespace gdn::testing {
namespace {

bool has_path(const char *name) {
  const std::vector<std::string> paths = code_paths();
  return std::find(paths.begin(), paths.end(), name) != paths.end();
}

#define SKIP_WITHOUT_HOPPER() \
  if (!has_path("sm90a")) GTEST_SKIP() << "no Hopper GPU"

/// How the keys and decays of a problem are: what a segment does to its state is forgotten soon, or
/// never; of every other head never; soon in the middle third of the tokens alone.
enum class Memory { short_lived, long_lived, one_key, of_heads, of_tokens };

bool lives_long(Memory memory, int64_t token, int64_t tokens, int64_t head) {
  switch (memory) {
    case Memory::short_lived:
      return false;
    case Memory::of_heads:
      return head % 2 == 0;
    case Memory::of_tokens:
      return token < tokens / 3 || token >= 2 * tokens / 3;
    default:
      return true;
  }
}

HostProblem problem(std::vector<int64_t> lengths, int64_t hk, int64_t hv, Memory memory) {
  HostProblem p(Element::bf16, std::move(lengths), hk, hv);
  for (int64_t t = 0; t < p.tokens(); ++t) {
    for (int64_t h = 0; h < hv; ++h) {
      float &g = p.g[t * hv + h];
      if (lives_long(memory, t, p.tokens(), h)) g = memory == Memory::one_key ? -1e-6F : g * 1e-3F;
    }
  }
  if (memory != Memory::one_key) return p;
  for (float &b : p.beta) b = 1.0F - 0.01F * b;
  const int64_t row = p.hk * p.dk;
  for (int64_t t = 1; t < p.tokens(); ++t) {
    std::copy_n(p.k.begin(), row, p.k.begin() + t * row);
  }
  return p;
}

double distance(const std::vector<float> &a, const std::vector<float> &b) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = double{a[i]} - b[i];
    error += d * d;
    norm += double{b[i]} * b[i];
  }
  return std::sqrt(error / norm);
}

std::vector<float> values(const DeviceTensor &t) {
  const Bytes bytes = t.download();
  std::vector<float> x(bytes.size() / size_of(t.type()));
  for (size_t i = 0; i < x.size(); ++i) {
    if (t.type() == Element::f32) {
      std::memcpy(&x[i], &bytes[4 * i], 4);
    } else {
      const uint32_t bits = uint32_t{bytes[2 * i]} << 16 | uint32_t{bytes[2 * i + 1]} << 24;
      std::memcpy(&x[i], &bits, 4);
    }
  }
  return x;
}

size_t workspace_size(const HostProblem &p, const char *isa, uint32_t flags) {
  const DeviceCall call(p);
  gdn_exec exec = {};
  exec.struct_size = sizeof(exec);
  exec.isa = isa;
  exec.flags = flags;
  size_t bytes = 0;
  EXPECT_EQ(outcome(gdn_chunk_gated_delta_rule_workspace_size(&call.args, &exec, &bytes)), "");
  return bytes;
}

// What is left of a call that is not cut does not depend on how many blocks a head has.
TEST(Split, HalfHeadsAndNoSplitHaveTheBitsOfWholeHeads) {
  SKIP_WITHOUT_HOPPER();
  for (const int64_t hv : {2, 6}) {
    const HostProblem p = problem({1, 300, 0, 33, 1000}, 2, hv, Memory::long_lived);
    DeviceCall whole(p);
    ASSERT_EQ(whole.run("sm90a_whole"), "");
    for (const auto &[isa, flags] :
         {std::pair("sm90a_half", 0U),
          std::pair<const char *, uint32_t>("sm90a", GDN_EXEC_NO_SPLIT),
          std::pair<const char *, uint32_t>("sm90a_split", GDN_EXEC_NO_SPLIT),
          std::pair<const char *, uint32_t>("sm90a_forget", GDN_EXEC_NO_SPLIT)}) {
      DeviceCall call(p);
      ASSERT_EQ(call.run(isa, nullptr, false, flags), "");
      EXPECT_EQ(call.o.download(), whole.o.download()) << isa;
      EXPECT_EQ(call.final_state.download(), whole.final_state.download()) << isa;
    }
  }
}

// The variable is read once, so that this is a run of its own (run.sh).
TEST(Split, EnvironmentTurnsItOff) {
  SKIP_WITHOUT_HOPPER();
  if (std::getenv("GDN_NO_SPLIT") == nullptr) GTEST_SKIP() << "GDN_NO_SPLIT is not set";
  EXPECT_EQ(workspace_size(problem({8192}, 1, 2, Memory::short_lived), "sm90a", 0), 0U);
}

TEST(Split, RuleFollowsShapes) {
  SKIP_WITHOUT_HOPPER();
  const HostProblem few = problem({8192}, 1, 2, Memory::short_lived);
  EXPECT_GT(workspace_size(few, "sm90a", 0), 0U);
  EXPECT_EQ(workspace_size(few, "sm90a", GDN_EXEC_NO_SPLIT), 0U);
  EXPECT_EQ(workspace_size(few, "sm90a_whole", 0), 0U);
  EXPECT_EQ(workspace_size(few, "sm80", 0), 0U);
  EXPECT_EQ(workspace_size(problem({512}, 1, 2, Memory::short_lived), "sm90a", 0), 0U);
  EXPECT_GT(workspace_size(problem({8192}, 1, 64, Memory::short_lived), "sm90a", 0), 0U);
  EXPECT_EQ(workspace_size(problem({8192}, 1, 65, Memory::short_lived), "sm90a", 0), 0U);
  EXPECT_EQ(
      workspace_size(problem(std::vector<int64_t>(65, 512), 1, 1, Memory::short_lived), "sm90a", 0),
      0U);
}

TEST(Split, SegmentsHaveTheErrorsOfWholeSequences) {
  SKIP_WITHOUT_HOPPER();
  const std::vector<int64_t> one = {8192}, several = {700, 0, 64, 1, 3000};
  for (const Memory memory : {Memory::short_lived, Memory::long_lived, Memory::one_key,
                              Memory::of_heads, Memory::of_tokens}) {
    for (const auto &[lengths, isa] :
         {std::pair(one, "sm90a"), std::pair(several, "sm90a_split"),
          std::pair(one, "sm90a_forget"), std::pair(several, "sm90a_forget")}) {
      const HostProblem p = problem(lengths, 2, 4, memory);
      DeviceCall cut(p), whole(p);
      ASSERT_EQ(cut.run(isa), "");
      ASSERT_NE(cut.workspace, nullptr);
      ASSERT_EQ(whole.run(isa, nullptr, false, GDN_EXEC_NO_SPLIT), "");
      // Both are within this of the reference.
      EXPECT_LE(distance(values(cut.o), values(whole.o)), 6e-3);
      EXPECT_LE(distance(values(cut.final_state), values(whole.final_state)), 6e-3);
      // Where nothing is forgotten only one of the two cuts.
      if (memory == Memory::long_lived || memory == Memory::one_key) {
        EXPECT_EQ(cut.o.download() == whole.o.download(), std::string(isa) == "sm90a_forget");
      }
    }
  }
}

// One key of length sqrt 3 under beta = 1: a token doubles what lies along it and turns its sign,
// so that decays of 0.69 keep it, and heads whose decays alone would be taken for forgetting would
// lose it. That is a state that rounding errors spoil, but heads that remember are not cut.
TEST(Split, KeysThatGrowTheStateAreRemembered) {
  SKIP_WITHOUT_HOPPER();
  HostProblem p = problem({8192}, 1, 2, Memory::short_lived);
  for (size_t i = 0; i < p.k.size(); ++i) p.k[i] = i % 2 == 0 ? 0.15309F : -0.15309F;
  std::fill(p.g.begin(), p.g.end(), -0.69F);
  std::fill(p.beta.begin(), p.beta.end(), 1.0F);
  DeviceCall cut(p), whole(p);
  ASSERT_EQ(cut.run("sm90a_forget"), "");
  ASSERT_NE(cut.workspace, nullptr);
  ASSERT_EQ(whole.run("sm90a_forget", nullptr, false, GDN_EXEC_NO_SPLIT), "");
  EXPECT_EQ(cut.o.download(), whole.o.download());
  EXPECT_EQ(cut.final_state.download(), whole.final_state.download());
}

// The last segment writes the state that the first one reads.
TEST(Split, PoolInPlaceOfHeadsThatForget) {
  SKIP_WITHOUT_HOPPER();
  const HostProblem p = problem({1000, 200, 640}, 2, 4, Memory::of_heads);
  for (const Element type : {Element::f32, Element::bf16}) {
    std::vector<std::vector<float>> pools, outputs;
    for (const char *isa : {"sm90a_forget", "sm90a_split", "sm90a_whole"}) {
      DeviceCall call(p);
      DeviceTensor pool(type, {4, p.hv, 128, 128}), slots(Element::i32, {3});
      const Bytes start = encoded(type, drawn_rows(4 * p.hv * 128, 128, false, "pool"));
      pool.upload(start.data(), start.size());
      const int32_t order[] = {3, -1, 0};
      slots.upload(order, sizeof(order));
      call.args.initial_state = pool.tensor(), call.args.final_state = nullptr;
      call.args.state_indices = slots.tensor();
      ASSERT_EQ(call.run(isa), "");
      ASSERT_CUDA(cudaDeviceSynchronize());
      pools.push_back(values(pool));
      outputs.push_back(values(call.o));
    }
    for (const size_t i : {0, 1}) {
      EXPECT_LE(distance(pools[i], pools[2]), 6e-3);
      EXPECT_LE(distance(outputs[i], outputs[2]), 6e-3);
    }
  }
}

// A skipped sequence is left alone.
TEST(Split, PoolInPlaceWithCheckpoints) {
  SKIP_WITHOUT_HOPPER();
  constexpr int64_t kEvery = 192, kSlots = 4, kSize = 128 * 128;
  const HostProblem p = problem({1000, 200, 640}, 2, 4, Memory::long_lived);
  const int64_t rows = 1000 / kEvery + 200 / kEvery + 640 / kEvery;
  std::vector<std::vector<float>> pools, kept, outputs;
  for (const uint32_t flags : {uint32_t{0}, static_cast<uint32_t>(GDN_EXEC_NO_SPLIT)}) {
    DeviceCall call(p);
    DeviceTensor pool(Element::f32, {kSlots, p.hv, 128, 128}), slots(Element::i32, {3}),
        checkpoints(Element::f32, {rows, p.hv, 128, 128});
    const std::vector<float> start = drawn_rows(kSlots * p.hv * 128, 128, false, "pool");
    pool.upload(start.data(), start.size() * sizeof(float));
    checkpoints.upload(start.data(), std::min(start.size() * 4, checkpoints.bytes()));
    const int32_t order[] = {3, -1, 0};
    slots.upload(order, sizeof(order));
    call.args.initial_state = pool.tensor(), call.args.final_state = nullptr;
    call.args.state_indices = slots.tensor();
    call.args.checkpoint_every = kEvery, call.args.checkpoints = checkpoints.tensor();
    ASSERT_EQ(call.run("sm90a_split", nullptr, false, flags), "");
    ASSERT_CUDA(cudaDeviceSynchronize());
    pools.push_back(values(pool));
    outputs.push_back(values(call.o));
    std::vector<float> states = values(checkpoints);
    // Those of the skipped sequence mean nothing.
    const auto skipped = states.begin() + 1000 / kEvery * p.hv * kSize;
    states.erase(skipped, skipped + 200 / kEvery * p.hv * kSize);
    kept.push_back(std::move(states));
    for (const int64_t slot : {1, 2}) {
      const int64_t at = slot * p.hv * kSize;
      EXPECT_TRUE(std::equal(start.begin() + at, start.begin() + at + p.hv * kSize,
                             pools.back().begin() + at));
    }
  }
  EXPECT_LE(distance(pools[0], pools[1]), 6e-3);
  EXPECT_LE(distance(outputs[0], outputs[1]), 6e-3);
  EXPECT_LE(distance(kept[0], kept[1]), 6e-3);
}

}  // namespace
}  // namespace gdn::testing
