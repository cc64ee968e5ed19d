// Random problems, other ones in every run, against the float64 reference on every instruction set.
// GDN_TEST_SEED=N repeats a run; GDN_TEST_ROUNDS=N sets how many problems are drawn.

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "case_test.h"
#include "cases/random.h"

namespace gdn::testing {
namespace {

uint64_t number_from(const char *variable, uint64_t otherwise) {
  const char *text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

// A case with the memory that its views refer to.
struct RandomCase {
  std::vector<int64_t> lengths;
  Case c = {};
  Element type = Element::f32;
  Operation operation = Operation::chunk;
};

void draw_shape(Random &random, RandomCase *r) {
  Case &c = r->c;
  c.packed = random.below(3) > 0;
  c.batch = c.packed ? 1 : random.below(4);
  const int64_t count = c.packed ? random.below(7) : c.batch;
  const int64_t longest = 1 + random.below(r->operation == Operation::chunk ? 200 : 6);
  const int64_t fixed = random.below(longest + 1);
  for (int64_t n = 0; n < count; ++n) {
    r->lengths.push_back(c.packed ? random.below(longest + 1) : fixed);
  }
  c.tokens = fixed;
  if (c.packed) {
    c.tokens = 0;
    for (const int64_t length : r->lengths) c.tokens += length;
    if (random.below(4) == 0) {
      c.options |= kPadded;
      c.tokens += 1 + random.below(70);
    }
  }
  c.lengths = r->lengths;
  c.hk = 1 + random.below(3);
  c.hv = c.hk * (1 + random.below(3));
  // Half of the widths are such as models have.
  c.dk = random.below(2) == 0 ? 8 * (1 + random.below(32)) : 1 + random.below(256);
  c.dv = random.below(2) == 0 ? 8 * (1 + random.below(32)) : 1 + random.below(400);
}

void draw_options(Random &random, RandomCase *r) {
  Case &c = r->c;
  const auto maybe = [&](uint64_t options, int64_t one_in) {
    if (random.below(one_in) == 0) c.options |= options;
  };
  maybe(kInterleaved, 2);
  maybe(kVFirst, 2);
  maybe(kIndex64, 2);
  const uint64_t state_types[] = {0, 0, kStateBf16, kStateF16};
  c.options |= state_types[random.below(4)];
  const uint64_t gate_types[] = {0, kGatesSameType, kGatesMixed};
  c.options |= gate_types[random.below(3)];
  maybe(kStridedState, 3);
  const uint64_t layouts[] = {0, kStrided, kHeadFirst, kBroadcast, kReversed};
  c.options |= layouts[random.below(5)];
  const uint64_t states[] = {0,     kInitialState,          kInitialState | kInPlace,
                             kPool, kPool | kNegativeIndex, kInitialState | kNoFinalState};
  c.options |= states[random.below(6)];
  if (c.has(kPool)) {
    maybe(kNullSlot, 3);
    maybe(kOutputIndices, 3);
  } else {
    maybe(kFinalStateF16, 4);
  }
  if (r->operation == Operation::recurrent && random.below(3) == 0) {
    c.options &= ~static_cast<uint64_t>(kInitialState | kInPlace | kNoFinalState | kPool |
                                        kOutputIndices | kFinalStateF16);
    c.options |= random.below(4) == 0 ? kOutputPerToken : kSlotPerToken;
    if (c.has(kSlotPerToken)) maybe(kNumAccepted, 2);
    maybe(kNegativeIndex, 2);
    maybe(kNullSlot, 3);
  }
  const bool has_states = c.has(kInitialState) || c.has(kPool) || c.recurrent_only();
  if (has_states) maybe(kHasInitialState, 4);
  const Recipe recipes[] = {Recipe::ladder, Recipe::strong_decay, Recipe::decay_spikes,
                            Recipe::beta_levels, Recipe::raw};
  c.recipe = recipes[random.below(5)];
  if (c.recipe == Recipe::raw) {
    c.options |= kQkL2Norm;
    maybe(kGate, 2);
    if (c.has(kGate)) maybe(kNoDtBias, 3);
    maybe(kBetaSigmoid, 2);
    if (c.has(kBetaSigmoid)) maybe(kNegEigval, 2);
  } else {
    maybe(kNoG, 6);
    maybe(kNoBeta, 6);
  }
  if (r->operation == Operation::chunk) {
    c.checkpoint_every = 64 * random.below(3);
    if (c.checkpoint_every > 0) {
      const uint64_t types[] = {0, kCheckpointsBf16, kCheckpointsF16};
      c.options |=
          c.has(kPool) && random.below(2) == 0 ? kCheckpointIndices : types[random.below(3)];
    }
    maybe(kPositions, 3);
    const int32_t sizes[] = {0, 16, 32, 64, 128};
    c.chunk_size = sizes[random.below(5)];
  }
  c.has_scale = random.below(3) == 0;
  c.scale = c.has_scale ? 2.0 * random.uniform() - 1.0 : 0.0;
}

RandomCase draw(Random &random) {
  RandomCase r;
  r.c.name = "random";
  // Bounds of the hard cases: the shapes may be tiny and the recipes are mixed.
  r.c.tags = kHard;
  r.operation = random.below(3) == 0 ? Operation::recurrent : Operation::chunk;
  const Element types[] = {Element::f32, Element::bf16, Element::f16};
  r.type = types[random.below(3)];
  draw_shape(random, &r);
  draw_options(random, &r);
  return r;
}

std::string describe_case(const RandomCase &r) {
  const Case &c = r.c;
  std::string lengths;
  for (const int64_t length : r.lengths) lengths.append(1, ' ').append(std::to_string(length));
  char text[256];
  std::snprintf(text, sizeof(text),
                "%s %s, %s, HK %lld HV %lld DK %lld DV %lld, recipe %d, options %#llx, checkpoints "
                "%lld, chunk %d, scale %g, lengths",
                r.operation == Operation::chunk ? "chunk" : "recurrent", name_of(r.type),
                c.packed ? "packed" : "batch", static_cast<long long>(c.hk),
                static_cast<long long>(c.hv), static_cast<long long>(c.dk),
                static_cast<long long>(c.dv), static_cast<int>(c.recipe),
                static_cast<unsigned long long>(c.options),
                static_cast<long long>(c.checkpoint_every), c.chunk_size, c.scale);
  return text + lengths;
}

TEST(Random, AgreesWithTheReference) {
  const uint64_t seed = number_from("GDN_TEST_SEED", std::random_device{}());
  const uint64_t rounds = number_from("GDN_TEST_ROUNDS", 60);
  std::printf("GDN_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  Random random(seed, "cases");
  const std::vector<Target> targets = tested_targets();
  ASSERT_FALSE(targets.empty());
  for (uint64_t round = 0; round < rounds && !HasFailure(); ++round) {
    const RandomCase r = draw(random);
    SCOPED_TRACE("GDN_TEST_SEED=" + std::to_string(seed) + " round " + std::to_string(round) +
                 ": " + describe_case(r));
    for (const Target &target : targets) {
      if (!target.supported) continue;
      SCOPED_TRACE(target.name());
      EXPECT_EQ(run_case(r.operation, r.c, r.type, target, seed + round).failure, "");
    }
  }
}

}  // namespace
}  // namespace gdn::testing
