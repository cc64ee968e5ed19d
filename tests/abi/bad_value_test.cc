// Scalars and contents of index arrays that a call must refuse, and the edges that it must take.

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "abi/refusal.h"

namespace gdn::testing {
namespace {

using Contents = std::vector<int64_t>;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

TEST(BadValue, CuSeqlens) {
  for (const char *name : {"chunk", "chunk_pool", "recurrent", "cumsum", "kkt", "solve", "w_u",
                           "fwd_h", "fwd_o", "conv_fwd"}) {
    SCOPED_TRACE(name);
    std::unique_ptr<Scenario> s;
    for (const ScenarioMaker &m : scenario_makers()) {
      if (m.name == std::string(name)) s = m.make();
    }
    Refusals refusals(s.get());
    Array &cu = (*s)["cu_seqlens"].array;
    const auto refused = [&](Contents values, std::vector<std::string> parts) {
      refusals.expect(parts, [&] { cu.assign(values); });
    };
    refused({1, 1, 70, 130}, {"cu_seqlens[0] is 1, expected 0"});
    refused({-1, 0, 70, 130}, {"cu_seqlens[0] is -1"});
    refused({0, 80, 70, 130}, {"cu_seqlens[2] is 70", "80 before it", "do not decrease"});
    refused({0, 0, 131, 130}, {"cu_seqlens[3] is 130", "do not decrease"});
    refused({0, 0, 70, 129}, {"cu_seqlens ends at 129, expected T = 130"});
    refused({0, 0, 70, 131}, {"cu_seqlens ends at 131, expected T = 130"});
    refused({0, 0, 70, 2147483647}, {"cu_seqlens ends at 2147483647"});
    refused({0, -5, 70, 130}, {"cu_seqlens[1] is -5"});
    refusals.expect({"cu_seqlens has shape [0]", "N + 1 >= 1"},
                    [&] { (*s)["cu_seqlens"].shape[0] = 0; });
  }
}

TEST(BadValue, PackedBatch) {
  auto s = chunk_scenario();
  Refusals refusals(s.get());
  refusals.expect({"q has batch B = 2, expected B = 1 with cu_seqlens"}, [&] {
    for (const char *name : {"q", "k", "v", "g", "beta", "o"}) {
      (*s)[name].shape[0] = 2;
      (*s)[name].shape[1] /= 2;
    }
  });
}

TEST(BadValue, Slots) {
  const auto check = [](Scenario *s, Contents out_of_pool, Contents twice, const char *slot,
                        const char *slots) {
    SCOPED_TRACE(s->name());
    Refusals refusals(s);
    Array &indices = (*s)["state_indices"].array;
    refusals.expect({"state_indices[", "is ", slots}, [&] { indices.assign(out_of_pool); });
    refusals.expect({std::string("state_indices names slot ") + slot},
                    [&] { indices.assign(twice); });
    refusals.expect_valid([&] { indices.assign(Contents(out_of_pool.size(), -1)); });
  };
  check(chunk_pool_scenario().get(), {1, 8, 2}, {5, 1, 5}, "5 twice", "below 8");
  check(recurrent_pool_scenario().get(), {0, 1, 2147483647}, {3, 3, -1}, "3 twice", "below 8");
  check(conv_fwd_scenario().get(), {0, 1, 8}, {7, 7, 7}, "7 twice", "below 8");
  check(conv_update_scenario().get(), {8, 1, 0}, {0, -1, 0}, "0 twice", "below 8");
  // Entries of tokens that sequence 2 does not have are not looked at.
  check(verify_scenario().get(), {1, -1, 4, 0, 6, 8, 7, 3, 99}, {1, -1, 4, 0, 6, 1, 7, 3, 99},
        "1 twice", "below 8");
  check(verify_scenario().get(), {1, -1, 4, 0, 6, 8, 7, 3, 99}, {1, -1, 4, 0, 4, 2, 7, 3, 99},
        "4 for sequence 0 to start from, but sequence 1 writes it", "below 8");
}

TEST(BadValue, ManySlots) {
  // More sequences than fit on the stack, slots in falling order.
  const int64_t count = 3000;
  std::vector<float> x(static_cast<size_t>(count) * 2, 1.0F), weight(4, 0.5F);
  std::vector<float> state(x.size(), 0.0F), y(x.size());
  Contents slots(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) slots[static_cast<size_t>(i)] = count - 1 - i;
  Shape x_shape = {count, 2, 1}, weight_shape = {2, 2}, slots_shape = {count};
  const auto tensor = [](void *data, Shape *shape, DLDataType type) {
    DLTensor t{};
    t.data = data;
    t.device.device_type = kDLCPU;
    t.ndim = static_cast<int>(shape->size());
    t.dtype = type;
    t.shape = shape->data();
    return t;
  };
  const DLDataType f32 = {kDLFloat, 32, 1};
  const DLTensor tx = tensor(x.data(), &x_shape, f32), ty = tensor(y.data(), &x_shape, f32);
  const DLTensor tw = tensor(weight.data(), &weight_shape, f32);
  const DLTensor ts = tensor(state.data(), &x_shape, f32);
  const DLTensor ti = tensor(slots.data(), &slots_shape, {kDLInt, 64, 1});
  gdn_causal_conv1d_update_args args{};
  args.struct_size = sizeof args;
  args.x = &tx;
  args.weight = &tw;
  args.conv_state = &ts;
  args.state_indices = &ti;
  args.y = &ty;
  EXPECT_EQ(gdn_causal_conv1d_update(&args, nullptr), GDN_OK) << gdn_last_error();
  slots[17] = slots[2900];
  EXPECT_EQ(gdn_causal_conv1d_update(&args, nullptr), GDN_INVALID_ARGUMENT);
  EXPECT_NE(std::string(gdn_last_error()).find("names slot 99 twice"), std::string::npos)
      << gdn_last_error();
}

TEST(BadValue, AcceptedTokens) {
  const auto check = [](Scenario *s, std::vector<Contents> wrong, const char *range) {
    SCOPED_TRACE(s->name());
    Refusals refusals(s);
    for (const Contents &values : wrong) {
      refusals.expect({"num_accepted_tokens[", "is ", range},
                      [&] { (*s)["num_accepted_tokens"].array.assign(values); });
    }
  };
  check(verify_scenario().get(), {{0, 1, 1}, {1, 4, 1}, {1, 1, -1}}, "expected 1 to 3");
  check(conv_update_scenario().get(), {{0, 1, 1}, {1, 1, 4}, {-7, 1, 1}}, "expected 1 to 3");
}

TEST(BadValue, AcceptedTokensOfOneColumn) {
  // [N, 1] means [N], where one token is all that can have been accepted.
  auto s = verify_scenario();
  Refusals refusals(s.get());
  const auto one_column = [&](Contents accepted) {
    (*s)["state_indices"].shape[1] = 1;
    (*s)["state_indices"].array.assign(Contents{1, 9, 9, 0, 9, 9, -1, 9, 9});
    (*s)["num_accepted_tokens"].array.assign(accepted);
  };
  refusals.expect_valid([&] { one_column({1, 1, 1}); });
  // Sequence 2 is skipped: what it accepted does not count.
  refusals.expect_valid([&] { one_column({1, 1, -1}); });
  for (const Contents &wrong : {Contents{0, 1, 1}, {1, 2, 1}}) {
    refusals.expect({"num_accepted_tokens[", "expected 1 to 1"}, [&] { one_column(wrong); });
  }
}

TEST(BadValue, VerifyNeedsASlotForEachToken) {
  auto s = verify_scenario();
  Refusals refusals(s.get());
  refusals.expect({"state_indices has M = 2 columns", "sequence 1 has 3 tokens"}, [&] {
    (*s)["state_indices"].shape[1] = 2;
    (*s)["num_accepted_tokens"].array.assign(Contents{1, 1, 1});
  });
}

TEST(BadValue, States) {
  auto s = chunk_scenario();
  Refusals refusals(s.get());
  for (const char *name : {"initial_state", "final_state", "checkpoints"}) {
    refusals.expect(
        {std::string(name) + " has type int32, expected float32 or bfloat16 or float16"}, [&] {
          (*s)[name].header.dtype = {kDLInt, 32, 1};
        });
  }
  refusals.expect({"initial_state has shape [2, 4, 16, 8], expected [3, 4, 16, 8]", "cu_seqlens"},
                  [&] { (*s)["initial_state"].shape[0] = 2; });
  refusals.expect({"initial_state has shape [3, 4, 16, 8], expected [3, 4, 8, 16]"},
                  [&] { s->args.flags = GDN_STATE_V_FIRST; });
  refusals.expect({"final_state is not the same tensor as initial_state", "in place"}, [&] {
    (*s)["final_state"].header.data = (*s)["initial_state"].header.data;
    (*s)["final_state"].header.byte_offset = (*s)["initial_state"].header.byte_offset;
  });

  auto pool = recurrent_pool_scenario();
  Refusals pool_refusals(pool.get());
  pool_refusals.expect({"initial_state is NULL", "pool"},
                       [&] { pool->args.initial_state = nullptr; });
  Operand other("final_state", (*pool)["initial_state"].array, kInOut, &pool->args.final_state);
  pool_refusals.expect_valid([&] { other.reset(); });
  pool_refusals.expect({"final_state is not the same tensor as initial_state", "NULL"}, [&] {
    other.reset();
    other.strides[0] += 8;
  });
  pool_refusals.expect({"final_state is on cuda:0"}, [&] {
    other.reset();
    other.header.device.device_type = kDLCUDA;
  });
}

TEST(BadValue, Checkpoints) {
  auto s = chunk_scenario();
  Refusals refusals(s.get());
  for (const int64_t wrong : {-64, 1, 32, 65, 96}) {
    refusals.expect({"checkpoint_every is " + std::to_string(wrong), "multiple of 64"},
                    [&] { s->args.checkpoint_every = wrong; });
  }
  refusals.expect(
      {"checkpoint_every is missing, expected a positive multiple of 64 with checkpoints."},
      [&] { s->args.checkpoint_every = 0; });
  refusals.expect({"checkpoint_every is 64, expected 0", "NULL"},
                  [&] { s->args.checkpoints = nullptr; });
  refusals.expect({"checkpoints has 1 rows, expected 0"}, [&] { s->args.checkpoint_every = 128; });
}

TEST(BadValue, SlotsToReadAndToWrite) {
  auto s = chunk_cache_scenario();
  Refusals refusals(s.get());
  const auto with = [&](const char *name, Contents values) {
    return [&s, name, values] { (*s)[name].array.assign(values); };
  };
  const char *out = "output_state_indices";
  refusals.expect({"state_indices[1] is 8, expected a slot below 8"},
                  with("state_indices", {6, 8, 2}));
  refusals.expect({"output_state_indices[2] is 99, expected a slot below 8"},
                  with(out, {1, 1, 99}));
  refusals.expect({"output_state_indices names slot 3 twice"}, with(out, {99, 3, 3}));
  refusals.expect({"checkpoint_indices and output_state_indices name slot 0 twice"},
                  with(out, {99, 3, 0}));
  refusals.expect({"state_indices names slot 2 for sequence 2", "sequence 1 writes it", out},
                  with(out, {99, 2, 3}));
  refusals.expect({"state_indices names slot 2 for sequence 2", "writes it", "checkpoint_indices"},
                  [&] {
                    (*s)[out].array.assign(Contents{99, 4, 5});
                    (*s)["checkpoint_indices"].array.assign(Contents{99, 99, 0, 2, 99, 99});
                  });
  refusals.expect({"checkpoint_indices[1, 1] is 8, expected a slot below 8"},
                  with("checkpoint_indices", {99, 99, 0, 8, 99, 99}));
  // Sequence 1 starts from zeros: what it would read may be written by another.
  refusals.expect_valid(with(out, {99, 4, 5}));
  // Slots that are only read may be shared; states may go nowhere; a skipped row holds anything.
  refusals.expect_valid([&] {
    (*s)["state_indices"].array.assign(Contents{-9, 2, 2});
    (*s)["has_initial_state"].array.assign(Contents{0, 1, 1});
    (*s)[out].array.assign(Contents{7, 6, -1});
    (*s)["checkpoint_indices"].array.assign(Contents{0, 0, 6, 0, 2, 99});
    (*s)["positions"].array.assign(Contents{-77, 60, 0});
  });
  // The checkpoint at the end of a sequence is its last state.
  refusals.expect_valid([&] {
    (*s)["positions"].array.assign(Contents{0, 58, 0});
    (*s)["checkpoint_indices"].array.assign(Contents{0, 0, 6, 4, 0, 0});
  });
  refusals.expect({"output_state_indices and checkpoint_indices name slot 4 twice"}, [&] {
    (*s)["positions"].array.assign(Contents{0, 59, 0});
    (*s)["checkpoint_indices"].array.assign(Contents{0, 0, 6, 4, 0, 0});
  });
  refusals.expect({"output_state_indices is given, expected NULL without state_indices"}, [&] {
    s->args.state_indices = nullptr;
    s->args.checkpoint_indices = nullptr;
    s->args.checkpoint_every = 0;
  });
}

TEST(BadValue, PositionsAndCheckpointSlots) {
  auto s = chunk_cache_scenario();
  Refusals refusals(s.get());
  refusals.expect({"positions[2] is -64, expected 0 or more"}, [&] {
    (*s)["positions"].array.assign(Contents{-1, 0, -64});
  });
  refusals.expect({"checkpoint_indices has K = 1 columns", "sequence 1 has 2 checkpoints"},
                  [&] { (*s)["checkpoint_indices"].shape[1] = 1; });
  refusals.expect({"checkpoints is given, expected NULL with checkpoint_indices"},
                  [&] { s->args.checkpoints = s->args.initial_state; });
  refusals.expect(
      {"checkpoint_every is missing, expected a positive multiple of 64 with checkpoint_indices."},
      [&] { s->args.checkpoint_every = 0; });
  refusals.expect({"checkpoint_every is 65, expected a positive multiple of 64"},
                  [&] { s->args.checkpoint_every = 65; });
  refusals.expect({"checkpoint_every is 64, expected 0 when checkpoints and checkpoint_indices"},
                  [&] { s->args.checkpoint_indices = nullptr; });
  refusals.expect({"cu_seqlens ends at 131, expected at most T = 130"}, [&] {
    (*s)["cu_seqlens"].array.assign(Contents{0, 0, 70, 131});
  });
  refusals.expect({"cu_seqlens ends at 120, expected T = 130"},
                  [&] { s->args.flags &= ~static_cast<uint32_t>(GDN_PADDED); });
  // Without its flag the null slot is a slot like others, and sequence 0 is not skipped.
  refusals.expect({"positions[0] is -1"},
                  [&] { s->args.flags &= ~static_cast<uint32_t>(GDN_HAS_NULL_SLOT); });

  auto plain = chunk_scenario();
  Refusals plain_refusals(plain.get());
  plain_refusals.expect({"checkpoint_indices is given, expected NULL without state_indices"}, [&] {
    plain->args.checkpoint_indices = plain->args.cu_seqlens;
    plain->args.checkpoints = nullptr;
  });
  plain_refusals.expect({"has_initial_state is given, expected NULL without initial_state"}, [&] {
    plain->args.has_initial_state = plain->args.cu_seqlens;
    plain->args.initial_state = nullptr;
  });
  auto recurrent = recurrent_pool_scenario();
  Refusals recurrent_refusals(recurrent.get());
  recurrent_refusals.expect({"positions is given, expected NULL for the recurrent operation"},
                            [&] { recurrent->args.positions = recurrent->args.state_indices; });
  recurrent_refusals.expect({"checkpoint_indices is given"}, [&] {
    recurrent->args.checkpoint_indices = recurrent->args.state_indices;
  });
}

TEST(BadValue, Heads) {
  auto s = chunk_scenario();
  Refusals refusals(s.get());
  refusals.expect({"v has HV = 3 heads, expected a multiple of HK = 2 (as in q)"},
                  [&] { (*s)["v"].shape[2] = 3; });
  refusals.expect({"q has shape [1, 130, 0, 16]", "HK >= 1"}, [&] { (*s)["q"].shape[2] = 0; });
  refusals.expect({"q has shape [1, 130, 2, 0]", "DK >= 1"}, [&] { (*s)["q"].shape[3] = 0; });
  refusals.expect({"v has type float16, expected bfloat16 (the type of q)"}, [&] {
    (*s)["v"].header.dtype = {kDLFloat, 16, 1};
  });
  for (const int wrong : {-1, 2, 1000}) {
    refusals.expect({"head_map is " + std::to_string(wrong), "GDN_HEAD_MAP_INTERLEAVED (1)"},
                    [&] { s->args.head_map = wrong; });
  }
}

TEST(BadValue, ScalarsOfTheDeltaRule) {
  auto s = chunk_scenario();
  Refusals refusals(s.get());
  for (const double wrong : {kNan, kInf, -kInf, 1e300}) {
    refusals.expect({"scale is ", "finite"}, [&] {
      s->args.scale = wrong;
      s->args.flags = GDN_HAS_SCALE;
    });
    refusals.expect_valid([&] { s->args.scale = wrong; });  // Without its flag it does not count.
  }
  for (const int wrong : {-64, 1, 48, 63, 256}) {
    refusals.expect({"chunk_size is " + std::to_string(wrong), "16, 32, 64 or 128"},
                    [&] { s->args.chunk_size = wrong; });
  }
  for (const int right : {16, 32, 64, 128}) {
    refusals.expect_valid([&] { s->args.chunk_size = right; });
  }
  refusals.expect({"flags is 1073741824"}, [&] { s->args.flags = 1U << 30; });
  refusals.expect({"flags is ", "64"}, [&] { s->args.flags = GDN_HAS_EPS; });
  refusals.expect({"reserved is 1, expected 0"}, [&] { s->args.reserved = 1; });
  refusals.expect({"GDN_ALLOW_NEG_EIGVAL", "GDN_USE_BETA_SIGMOID"},
                  [&] { s->args.flags = GDN_ALLOW_NEG_EIGVAL; });
  refusals.expect({"A_log is NULL", "GDN_USE_GATE"}, [&] { s->args.flags = GDN_USE_GATE; });
  refusals.expect({"beta is NULL", "GDN_USE_BETA_SIGMOID"}, [&] {
    s->args.flags = GDN_USE_BETA_SIGMOID;
    s->args.beta = nullptr;
  });

  auto gated = chunk_pool_scenario();
  Refusals gated_refusals(gated.get());
  gated_refusals.expect({"g is NULL", "GDN_USE_GATE"}, [&] { gated->args.g = nullptr; });
  gated_refusals.expect({"A_log is given, expected NULL without GDN_USE_GATE"},
                        [&] { gated->args.flags = 0; });

  auto recurrent = recurrent_pool_scenario();
  Refusals recurrent_refusals(recurrent.get());
  recurrent_refusals.expect({"chunk_size is 64, expected 0"},
                            [&] { recurrent->args.chunk_size = 64; });
  recurrent_refusals.expect({"checkpoint_every is 64, expected 0"},
                            [&] { recurrent->args.checkpoint_every = 64; });
  recurrent_refusals.expect({"checkpoints is given"},
                            [&] { recurrent->args.checkpoints = recurrent->args.initial_state; });
  recurrent_refusals.expect({"num_accepted_tokens is given", "[N, M]"}, [&] {
    recurrent->args.num_accepted_tokens = recurrent->args.state_indices;
  });
}

TEST(BadValue, Convolution) {
  auto s = conv_fwd_scenario();
  Refusals refusals(s.get());
  refusals.expect({"weight has shape [12, 1]", "2, 3 or 4"}, [&] { (*s)["weight"].shape[1] = 1; });
  refusals.expect({"weight has shape [12, 5]", "2, 3 or 4"}, [&] { (*s)["weight"].shape[1] = 5; });
  refusals.expect({"conv_state has shape [8, 12, 2]", "at least 3", "W - 1"},
                  [&] { (*s)["conv_state"].shape[2] = 2; });
  refusals.expect({"conv_state has 2 slots, expected at least N = 3"}, [&] {
    (*s)["conv_state"].shape[0] = 2;
    s->args.state_indices = nullptr;
  });
  refusals.expect({"state_indices is given, expected NULL without conv_state"},
                  [&] { s->args.conv_state = nullptr; });
  refusals.expect({"has_initial_state is given, expected NULL without conv_state"}, [&] {
    s->args.conv_state = nullptr;
    s->args.state_indices = nullptr;
  });
  auto update = conv_update_scenario();
  Refusals update_refusals(update.get());
  update_refusals.expect({"conv_state has shape [8, 12, 3]", "at least 4", "num_accepted_tokens"},
                         [&] { (*update)["conv_state"].shape[2] = 3; });
}

TEST(BadValue, PackedConvolutionUpdate) {
  auto s = conv_verify_scenario();
  Refusals refusals(s.get());
  Array &cu = (*s)["cu_seqlens"].array;
  Array &slots = (*s)["state_indices"].array;
  Array &accepted = (*s)["num_accepted_tokens"].array;
  const auto with = [](Array *array, Contents values) { return [=] { array->assign(values); }; };
  refusals.expect({"cu_seqlens[0] is 1, expected 0"}, with(&cu, {1, 3, 3, 5}));
  refusals.expect({"cu_seqlens[2] is 2", "3 before it"}, with(&cu, {0, 3, 2, 5}));
  refusals.expect({"cu_seqlens ends at 9, expected at most T = 8"}, with(&cu, {0, 3, 3, 9}));
  refusals.expect({"cu_seqlens gives sequence 0 4 tokens, expected at most 3"},
                  with(&cu, {0, 4, 4, 5}));
  refusals.expect({"cu_seqlens ends at 5, expected T = 8"},
                  [&] { s->args.flags &= ~static_cast<uint32_t>(GDN_PADDED); });
  refusals.expect({"num_accepted_tokens[0] is 0, expected 1 to 3"}, with(&accepted, {0, 1, 1}));
  refusals.expect({"num_accepted_tokens[0] is 4, expected 1 to 3"}, with(&accepted, {4, 1, 1}));
  refusals.expect({"state_indices[1] is 8, expected a slot below 8"}, with(&slots, {3, 8, 99}));
  refusals.expect({"state_indices names slot 3 twice"}, with(&slots, {3, 99, 3}));
  refusals.expect({"state_indices[2] is 99"},
                  [&] { s->args.flags &= ~static_cast<uint32_t>(GDN_HAS_NULL_SLOT); });
  refusals.expect({"x has batch B = 2, expected B = 1 with cu_seqlens"}, [&] {
    for (const char *name : {"x", "y"}) {
      (*s)[name].shape[0] = 2;
      (*s)[name].shape[2] = 4;
    }
  });
  refusals.expect({"conv_state has shape [8, 12, 2]", "at least 3", "W - 1"},
                  [&] { (*s)["conv_state"].shape[2] = 2; });
  refusals.expect({"conv_state has 2 slots, expected at least N = 3", "cu_seqlens"}, [&] {
    (*s)["conv_state"].shape[0] = 2;
    s->args.state_indices = nullptr;
  });
  // What is said of skipped rows and of those without tokens is not looked at.
  refusals.expect_valid(with(&accepted, {3, -1, 77}));
  refusals.expect_valid(with(&slots, {99, -3, 99}));
  refusals.expect_valid([&] {
    slots.assign(Contents{-1, 4, 2});
    cu.assign(Contents{0, 4, 4, 7});
    accepted.assign(Contents{0, 9, 1});
  });
  refusals.expect_valid(with(&cu, {0, 0, 0, 0}));
}

TEST(BadValue, PaddedWithoutCuSeqlens) {
  const auto check = [](Scenario *s, auto *flags) {
    Refusals refusals(s);
    refusals.expect({"cu_seqlens is NULL", "GDN_PADDED"}, [&] {
      *flags |= GDN_PADDED;
      if (s->has("cu_seqlens")) *(*s)["cu_seqlens"].slot = nullptr;
    });
  };
  auto fwd = conv_fwd_scenario();
  check(fwd.get(), &fwd->args.flags);
  auto update = conv_update_scenario();
  check(update.get(), &update->args.flags);
}

TEST(BadValue, Eps) {
  const auto check = [](auto *s) {
    SCOPED_TRACE(s->name());
    Refusals refusals(s);
    for (const double wrong : {kNan, kInf, -kInf, -1e-6}) {
      refusals.expect({"eps is ", "expected "}, [&] {
        s->args.eps = wrong;
        s->args.flags = GDN_HAS_EPS;
      });
      refusals.expect_valid([&] { s->args.eps = wrong; });
    }
  };
  for (const ScenarioMaker &m : scenario_makers()) {
    auto s = m.make();
    if (auto *l2 = dynamic_cast<TypedScenario<gdn_l2norm_args> *>(s.get())) check(l2);
    if (auto *rms = dynamic_cast<TypedScenario<gdn_rms_norm_gated_args> *>(s.get())) check(rms);
  }
}

}  // namespace
}  // namespace gdn::testing
