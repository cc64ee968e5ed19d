// The C++ layer: every function through it, conversions, errors, the workspace.

#include <gtest/gtest.h>
#include <gdn/gdn.hpp>

#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "cases/element.h"

namespace {

constexpr int64_t kT = 150, kHK = 1, kHV = 2, kDK = 32, kDV = 16, kC = 64, kChunks = 3;
constexpr double kScale = 0.25;

size_t count(const std::vector<int64_t> &shape) {
  size_t n = 1;
  for (const int64_t s : shape) n *= static_cast<size_t>(s);
  return n;
}

/// A tensor with memory of its own.
struct Data {
  explicit Data(std::vector<int64_t> extents) : shape(std::move(extents)), values(count(shape)) {}

  gdn::Input in() const { return {values.data(), std::span<const int64_t>(shape)}; }
  gdn::Output out() { return {values.data(), std::span<const int64_t>(shape)}; }

  std::vector<int64_t> shape;
  std::vector<float> values;
};

Data random(std::vector<int64_t> shape, float low, float high) {
  static uint32_t state = 7;
  Data out(std::move(shape));
  for (float &x : out.values) {
    state = state * 1664525U + 1013904223U;
    x = low + (high - low) * static_cast<float>(state >> 8) / 16777216.0F;
  }
  return out;
}

double relative_error(const Data &a, const Data &b) {
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < a.values.size(); ++i) {
    const double d = a.values[i] - b.values[i];
    difference += d * d;
    norm += double{b.values[i]} * b.values[i];
  }
  return std::sqrt(difference / norm);
}

/// Inputs of one delta rule.
struct Problem {
  Data q = random({1, kT, kHK, kDK}, -0.3F, 0.3F);
  Data k = random({1, kT, kHK, kDK}, -0.3F, 0.3F);
  Data v = random({1, kT, kHV, kDV}, -1, 1);
  Data g = random({1, kT, kHV}, -1, 0);
  Data beta = random({1, kT, kHV}, 0, 1);

  gdn::GatedDeltaRuleArgs args(Data *o, Data *state) const {
    return {.q = q.in(),
            .k = k.in(),
            .v = v.in(),
            .g = g.in(),
            .beta = beta.in(),
            .final_state = state->out(),
            .o = o->out(),
            .scale = kScale};
  }
};

TEST(Hpp, ThreadsOfTheCallers) {
  const Problem p;
  Data o({1, kT, kHV, kDV}), state({1, kHV, kDK, kDV}), o_pool = o, state_pool = state;
  gdn::chunk_gated_delta_rule(p.args(&o_pool, &state_pool),
                              {.threads = 3, .backend = "cpu", .threads_from = "pool"});
  int calls = 0;
  const auto run = [](void *context, int32_t threads, gdn_task task, void *argument) {
    ++*static_cast<int *>(context);
    std::vector<std::thread> others;
    for (int32_t i = 0; i < threads; ++i) others.emplace_back(task, argument, i);
    for (std::thread &t : others) t.join();
  };
  const gdn::ExecOptions options = {
      .threads = 3, .backend = "cpu", .parallel_for = run, .parallel_for_context = &calls};
  gdn::chunk_gated_delta_rule(p.args(&o, &state), options);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(o.values, o_pool.values);
  EXPECT_EQ(state.values, state_pool.values);
  EXPECT_STREQ(gdn::select(options).threads_from, "host");
}

TEST(Hpp, ChunkRecurrentAndStagesAgree) {
  const Problem p;
  Data o(p.v.shape), state({1, kHV, kDK, kDV});
  Data wanted_o(p.v.shape), wanted_state(state.shape);
  gdn::chunk_gated_delta_rule(p.args(&wanted_o, &wanted_state), {.backend = "reference"});

  gdn::Workspace workspace;
  const gdn::ExecOptions options = {.threads = 2, .workspace = &workspace};
  gdn::chunk_gated_delta_rule(p.args(&o, &state), options);
  EXPECT_GE(workspace.size(),
            gdn::chunk_gated_delta_rule_workspace_size(p.args(&o, &state), options));
  EXPECT_LT(relative_error(o, wanted_o), 2e-6);
  EXPECT_LT(relative_error(state, wanted_state), 2e-6);

  gdn::fused_recurrent_gated_delta_rule(p.args(&o, &state));
  EXPECT_LT(relative_error(o, wanted_o), 2e-6);
  EXPECT_LT(relative_error(state, wanted_state), 2e-6);

  Data c(p.g.shape), A({1, kT, kHV, kC}), T(A.shape), w({1, kT, kHV, kDK}), u(p.v.shape);
  Data h({kChunks, kHV, kDK, kDV}), v_new(p.v.shape);
  gdn::chunk_local_cumsum({.g = p.g.in(), .g_cumsum = c.out()});
  gdn::chunk_scaled_dot_kkt({.k = p.k.in(), .beta = p.beta.in(), .g_cumsum = c.in(), .A = A.out()});
  gdn::solve_tril({.A = A.in(), .T = T.out()});
  gdn::recompute_w_u({.k = p.k.in(),
                      .v = p.v.in(),
                      .beta = p.beta.in(),
                      .g_cumsum = c.in(),
                      .T = T.in(),
                      .w = w.out(),
                      .u = u.out()});
  gdn::chunk_fwd_h({.k = p.k.in(),
                    .w = w.in(),
                    .u = u.in(),
                    .g_cumsum = c.in(),
                    .h = h.out(),
                    .v_new = v_new.out(),
                    .final_state = state.out()});
  gdn::chunk_fwd_o({.q = p.q.in(),
                    .k = p.k.in(),
                    .v_new = v_new.in(),
                    .h = h.in(),
                    .g_cumsum = c.in(),
                    .o = o.out(),
                    .scale = kScale});
  EXPECT_LT(relative_error(o, wanted_o), 5e-6);
  EXPECT_LT(relative_error(state, wanted_state), 5e-6);
}

TEST(Hpp, FlagsReachTheCall) {
  Problem p;
  Data A_log = random({kHV}, -1, 1), dt_bias = random({kHV}, -1, 1);
  Data o(p.v.shape), state({1, kHV, kDV, kDK});
  gdn::GatedDeltaRuleArgs args = p.args(&o, &state);
  args.A_log = A_log.in();
  args.dt_bias = dt_bias.in();
  args.use_gate = args.use_beta_sigmoid = args.allow_neg_eigval = true;
  args.use_qk_l2norm = args.state_v_first = true;
  args.head_map = GDN_HEAD_MAP_INTERLEAVED;
  gdn::chunk_gated_delta_rule(args);

  // The same in steps.
  Data q(p.q.shape), k(p.k.shape), g(p.g.shape), beta(p.g.shape);
  gdn::l2norm({.x = p.q.in(), .y = q.out()});
  gdn::l2norm({.x = p.k.in(), .y = k.out(), .eps = 1e-6});
  gdn::fused_gdn_gating({.A_log = A_log.in(),
                         .a = p.g.in(),
                         .b = p.beta.in(),
                         .dt_bias = dt_bias.in(),
                         .g = g.out(),
                         .beta = beta.out(),
                         .allow_neg_eigval = true});
  p.q = q;
  p.k = k;
  p.g = g;
  p.beta = beta;
  Data wanted_o(p.v.shape), wanted_state({1, kHV, kDK, kDV});
  gdn::chunk_gated_delta_rule(p.args(&wanted_o, &wanted_state), {.backend = "reference"});
  EXPECT_LT(relative_error(o, wanted_o), 1e-5);
  Data transposed(wanted_state.shape);
  for (int64_t head = 0; head < kHV; ++head) {
    for (int64_t i = 0; i < kDK; ++i) {
      for (int64_t j = 0; j < kDV; ++j) {
        transposed.values[static_cast<size_t>((head * kDK + i) * kDV + j)] =
            state.values[static_cast<size_t>((head * kDV + j) * kDK + i)];
      }
    }
  }
  EXPECT_LT(relative_error(transposed, wanted_state), 1e-5);
}

TEST(Hpp, ConvolutionInPieces) {
  constexpr int64_t kChannels = 6, kWidth = 4;
  const Data x = random({1, kChannels, kT}, -1, 1), weight = random({kChannels, kWidth}, -1, 1);
  Data y(x.shape), state({1, kChannels, kWidth}), pieces(x.shape);
  gdn::causal_conv1d_fwd({.x = x.in(), .weight = weight.in(), .y = y.out(), .silu = true});
  // A prefill of all but the last token, strided out of the whole, then one token.
  const gdn::Extents strides = {kChannels * kT, kT, 1};
  gdn::causal_conv1d_fwd({.x = {x.values.data(), {1, kChannels, kT - 1}, strides},
                          .weight = weight.in(),
                          .conv_state = state.out(),
                          .y = {pieces.values.data(), {1, kChannels, kT - 1}, strides},
                          .silu = true});
  gdn::causal_conv1d_update({.x = {x.values.data() + kT - 1, {1, kChannels, 1}, strides},
                             .weight = weight.in(),
                             .conv_state = state.out(),
                             .y = {pieces.values.data() + kT - 1, {1, kChannels, 1}, strides},
                             .silu = true});
  EXPECT_LT(relative_error(pieces, y), 1e-6);
}

// Three rows of a padded verify step: two sequences, and one that the null slot skips.
TEST(Hpp, ConvolutionOfPackedSteps) {
  constexpr int64_t kChannels = 6, kWidth = 4;
  const Data x = random({1, kChannels, 8}, -1, 1), weight = random({kChannels, kWidth}, -1, 1);
  Data y({1, kChannels, 8}), pool = random({4, kChannels, 5}, -1, 1);
  const std::vector<float> before = pool.values;
  const std::vector<int32_t> cu = {0, 2, 3, 6}, slots = {3, 2, 1};
  const std::vector<int64_t> accepted = {2, 1, 0};
  gdn::causal_conv1d_update({.x = x.in(),
                             .weight = weight.in(),
                             .conv_state = pool.out(),
                             .state_indices = {slots.data(), {3}},
                             .num_accepted_tokens = {accepted.data(), {3}},
                             .y = y.out(),
                             .cu_seqlens = {cu.data(), {4}},
                             .padded = true,
                             .null_slot = 1});
  Data wanted({1, kChannels, 8});
  for (int64_t c = 0; c < kChannels; ++c) {
    const auto output = [&](int64_t slot, int64_t first, int64_t begin, int64_t t) {
      double sum = 0;
      for (int64_t w = 0; w < kWidth; ++w) {
        const int64_t i = t + w - (kWidth - 1);
        const double in =
            i < 0 ? before[static_cast<size_t>((slot * kChannels + c) * 5 + first + i + 3)]
                  : x.values[static_cast<size_t>(c * 8 + begin + i)];
        sum += weight.values[static_cast<size_t>(c * kWidth + w)] * in;
      }
      wanted.values[static_cast<size_t>(c * 8 + begin + t)] = static_cast<float>(sum);
    };
    output(3, 1, 0, 0);
    output(3, 1, 0, 1);
    output(2, 0, 2, 0);
  }
  EXPECT_LT(relative_error(y, wanted), 1e-6);
  // Slot 3: the two inputs before x, which follow its accepted token, and x.
  for (int64_t c = 0; c < kChannels; ++c) {
    const auto row = static_cast<size_t>((3 * kChannels + c) * 5);
    const auto at = static_cast<size_t>(c * 8);
    EXPECT_EQ(std::vector<float>(&pool.values[row], &pool.values[row] + 5),
              (std::vector<float>{before[row + 2], before[row + 3], x.values[at], x.values[at + 1],
                                  before[row + 4]}));
  }
  const auto size = static_cast<std::ptrdiff_t>(2 * kChannels * 5);
  EXPECT_EQ(std::vector<float>(pool.values.begin(), pool.values.begin() + size),
            std::vector<float>(before.begin(), before.begin() + size));
}

TEST(Hpp, RmsNormGated) {
  const Data x = random({3, 64}, -1, 1), z = random({3, 64}, -1, 1), weight = random({64}, 0, 2);
  Data y(x.shape), wanted(x.shape);
  gdn::rms_norm_gated({.x = x.in(), .z = z.in(), .weight = weight.in(), .y = y.out(), .eps = 1e-3});
  for (size_t r = 0; r < 3; ++r) {
    double mean = 0;
    for (size_t i = 0; i < 64; ++i) mean += std::pow(x.values[r * 64 + i], 2) / 64;
    for (size_t i = 0; i < 64; ++i) {
      const double gate = z.values[r * 64 + i];
      wanted.values[r * 64 + i] =
          static_cast<float>(x.values[r * 64 + i] / std::sqrt(mean + 1e-3) * weight.values[i] *
                             gate / (1 + std::exp(-gate)));
    }
  }
  EXPECT_LT(relative_error(y, wanted), 1e-6);
}

TEST(Hpp, FusedGdnDecode) {
  constexpr int64_t n = 2, heads = 2, dk = 8, dv = 16, channels = 2 * dk + heads * dv;
  const Data mixed = random({n, 1, channels}, -1, 1), weight = random({channels, 3}, -1, 1);
  const Data a = random({n, 1, heads}, -1, 1), b = random({n, 1, heads}, -1, 1);
  const Data A_log = random({heads}, -1, 1), z = random({n, 1, heads, dv}, -1, 1);
  const Data norm = random({dv}, 0, 2);
  Data conv_state = random({n, channels, 2}, -1, 1), state = random({n, heads, dk, dv}, -1, 1);
  Data same_conv = conv_state, same_state = state;
  Data o(z.shape), y({n, channels, 1}), g(a.shape), beta(a.shape), v(z.shape), wanted(z.shape);
  const gdn::FusedGdnDecodeArgs args = {.mixed_qkv = mixed.in(),
                                        .conv_weight = weight.in(),
                                        .conv_state = conv_state.out(),
                                        .a = a.in(),
                                        .b = b.in(),
                                        .A_log = A_log.in(),
                                        .z = z.in(),
                                        .norm_weight = norm.in(),
                                        .state = state.out(),
                                        .o = o.out(),
                                        .scale = 0.5,
                                        .eps = 1e-3,
                                        .sigmoid_gate = true,
                                        .allow_neg_eigval = true};
  EXPECT_EQ(gdn::fused_gdn_decode_workspace_size(args), 0U);
  gdn::fused_gdn_decode(args);
  gdn::causal_conv1d_update({.x = {mixed.values.data(), {n, channels, 1}},
                             .weight = weight.in(),
                             .conv_state = same_conv.out(),
                             .y = y.out(),
                             .silu = true});
  gdn::fused_gdn_gating({.A_log = A_log.in(),
                         .a = a.in(),
                         .b = b.in(),
                         .g = g.out(),
                         .beta = beta.out(),
                         .allow_neg_eigval = true});
  const float *q = y.values.data();
  gdn::fused_recurrent_gated_delta_rule(
      {.q = {q, {n, 1, 1, dk}, {channels, channels, dk, 1}},
       .k = {q + dk, {n, 1, 1, dk}, {channels, channels, dk, 1}},
       .v = {q + 2 * dk, {n, 1, heads, dv}, {channels, channels, dv, 1}},
       .g = g.in(),
       .beta = beta.in(),
       .initial_state = same_state.out(),
       .final_state = same_state.out(),
       .o = v.out(),
       .scale = 0.5,
       .use_qk_l2norm = true});
  gdn::rms_norm_gated({.x = v.in(),
                       .z = z.in(),
                       .weight = norm.in(),
                       .y = wanted.out(),
                       .eps = 1e-3,
                       .sigmoid_gate = true});
  EXPECT_EQ(o.values, wanted.values);
  EXPECT_EQ(state.values, same_state.values);
  EXPECT_EQ(conv_state.values, same_conv.values);
}

TEST(Hpp, Errors) {
  Data x({2, 8}), y({2, 9});
  try {
    gdn::l2norm({.x = x.in(), .y = y.out()});
    FAIL() << "no exception";
  } catch (const gdn::Error &e) {
    EXPECT_EQ(e.status(), GDN_INVALID_ARGUMENT);
    EXPECT_NE(std::string(e.what()).find("y has shape [2, 9], expected [2, 8]"), std::string::npos)
        << e.what();
  }
  EXPECT_THROW(gdn::select({.backend = "none"}), gdn::Error);
  EXPECT_THROW(gdn::Extents({1, 1, 1, 1, 1, 1}), std::invalid_argument);
  EXPECT_THROW(gdn::Input(x.values.data(), {2, 8}, {8}), std::invalid_argument);
  EXPECT_STREQ(gdn::select({.backend = "reference"}).backend, "reference");
}

TEST(Hpp, ErrorsBelongToTheirThread) {
  const std::string before = gdn_last_error();
  std::thread other([] {
    EXPECT_STREQ(gdn_last_error(), "");
    EXPECT_THROW(gdn::l2norm({}), gdn::Error);
    EXPECT_NE(std::string(gdn_last_error()).find("x is NULL"), std::string::npos);
  });
  other.join();
  EXPECT_EQ(gdn_last_error(), before);
}

TEST(Hpp, BorrowedWorkspace) {
  const Problem p;
  Data o(p.v.shape), state({1, kHV, kDK, kDV});
  alignas(GDN_WORKSPACE_ALIGNMENT) char little[256];
  gdn::Workspace workspace(little, sizeof little);
  try {
    gdn::chunk_gated_delta_rule(p.args(&o, &state), {.workspace = &workspace});
    FAIL() << "no exception";
  } catch (const gdn::Error &e) {
    EXPECT_EQ(e.status(), GDN_WORKSPACE_TOO_SMALL) << e.what();
  }
  gdn::Workspace grown;
  grown.reserve(1000);
  gdn::Workspace moved = std::move(grown);
  EXPECT_EQ(moved.size(), 1000U);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(moved.data()) % GDN_WORKSPACE_ALIGNMENT, 0U);
}

TEST(Hpp, HalfTypes) {
  // Every 16-bit number survives the way to float and back.
  for (uint32_t i = 0; i < 0x10000; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    gdn::bfloat16 b;
    b.bits = bits;
    gdn::float16 f;
    f.bits = bits;
    const auto wide_b = static_cast<float>(b);
    const auto wide_f = static_cast<float>(f);
    if (std::isnan(wide_b)) {
      EXPECT_TRUE(std::isnan(gdn::testing::from_bf16(bits)));
      EXPECT_TRUE(std::isnan(static_cast<float>(gdn::bfloat16(wide_b))));
    } else {
      ASSERT_EQ(wide_b, gdn::testing::from_bf16(bits));
      ASSERT_EQ(gdn::bfloat16(wide_b).bits, bits);
    }
    if (std::isnan(wide_f)) {
      EXPECT_TRUE(std::isnan(gdn::testing::from_f16(bits)));
      EXPECT_TRUE(std::isnan(static_cast<float>(gdn::float16(wide_f))));
    } else {
      ASSERT_EQ(wide_f, gdn::testing::from_f16(bits));
      ASSERT_EQ(gdn::float16(wide_f).bits, bits);
    }
  }
  // Rounding, over all exponents.
  uint32_t state = 99;
  for (int i = 0; i < 1000000; ++i) {
    state = state * 1664525U + 1013904223U;
    float x;
    std::memcpy(&x, &state, sizeof x);
    if (std::isnan(x)) continue;
    ASSERT_EQ(gdn::bfloat16(x).bits, gdn::testing::to_bf16(x)) << x;
    ASSERT_EQ(gdn::float16(x).bits, gdn::testing::to_f16(x)) << x;
    const float small = x * 0x1p-20F;  // More of float16's subnormal range.
    ASSERT_EQ(gdn::float16(small).bits, gdn::testing::to_f16(small)) << small;
  }
  EXPECT_EQ(gdn::float16(65520.0F).bits, 0x7c00);
  EXPECT_EQ(gdn::bfloat16(std::numeric_limits<float>::max()).bits, 0x7f80);
}

}  // namespace
