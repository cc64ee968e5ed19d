// What the fused decode step refuses beyond what bad_operand_test.cc breaks in every operand, and
// the edges that it takes; with the flags that came with it.

#include <gtest/gtest.h>

#include <limits>

#include "abi/refusal.h"

namespace gdn::testing {
namespace {

using Contents = std::vector<int64_t>;

std::function<void()> with(Array *array, Contents values) {
  return [array, values = std::move(values)] { array->assign(values); };
}

TEST(BadDecode, Shapes) {
  auto s = fused_decode_scenario();
  Refusals refusals(s.get());
  Scenario &call = *s;
  // 2 HK DK + HV DV = 2 * 2 * 16 + 4 * 8.
  refusals.expect({"mixed_qkv has C = 95 channels", "2 HK DK + HV DV = HK * 32 + 32"},
                  [&] { call["mixed_qkv"].shape[2] = 95; });
  refusals.expect({"mixed_qkv has C = 32 channels", "whole number of key heads"},
                  [&] { call["mixed_qkv"].shape[2] = 32; });
  refusals.expect({"z has HV = 4 heads", "multiple of HK = 3 (as in mixed_qkv)"}, [&] {
    // The heads of state and gates stay 4; three key heads of width 8 and DV = 8 fit 2 * 3 * 8
    // + 32.
    call["state"].shape[2] = 8;
    call["mixed_qkv"].shape[2] = 80;
  });
  refusals.expect({"conv_weight has shape [96, 5]", "width W of 2, 3 or 4"},
                  [&] { call["conv_weight"].shape[1] = 5; });
  refusals.expect({"conv_weight has shape [96, 1]"}, [&] { call["conv_weight"].shape[1] = 1; });
  refusals.expect({"conv_state has shape [8, 96, 2]", "at least 3", "W - 1"},
                  [&] { call["conv_state"].shape[2] = 2; });
  refusals.expect({"conv_state has 2 slots, expected at least N = 3", "state_indices"}, [&] {
    call["conv_state"].shape[0] = 2;
    s->args.state_indices = nullptr;
  });
  refusals.expect({"state has 2 slots, expected at least N = 3", "state_indices"}, [&] {
    call["state"].shape[0] = 2;
    s->args.state_indices = nullptr;
  });
  refusals.expect({"norm_weight has type float16", "bfloat16", "mixed_qkv"}, [&] {
    call["norm_weight"].header.dtype = {kDLFloat, 16, 1};
  });
  refusals.expect_valid([&] { s->args.state_indices = nullptr; });
}

TEST(BadDecode, HeadWidths) {
  auto s = fused_decode_scenario();
  Refusals refusals(s.get());
  refusals.expect(GDN_UNSUPPORTED, {"state has head width DK = 264", "cpu", "up to 256"}, [&] {
    (*s)["state"].shape[2] = 264;
    (*s)["mixed_qkv"].shape[2] = 2 * 264 + 32;
    for (const char *name : {"conv_weight", "conv_bias"}) (*s)[name].shape[0] = 2 * 264 + 32;
    (*s)["conv_state"].shape[1] = 2 * 264 + 32;
  });
}

TEST(BadDecode, Options) {
  auto s = fused_decode_scenario();
  Refusals refusals(s.get());
  for (const auto flag : {GDN_USE_QK_L2NORM, GDN_USE_GATE, GDN_USE_BETA_SIGMOID, GDN_SILU}) {
    refusals.expect({"flags is ", std::to_string(flag)}, [&] { s->args.flags = flag; });
  }
  refusals.expect({"head_map is 2"}, [&] { s->args.head_map = 2; });
  for (const double wrong :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    refusals.expect({"scale is "}, [&] {
      s->args.flags = GDN_HAS_SCALE;
      s->args.scale = wrong;
    });
    refusals.expect({"eps is "}, [&] {
      s->args.flags = GDN_HAS_EPS;
      s->args.eps = wrong;
    });
    refusals.expect_valid([&] { s->args.scale = s->args.eps = wrong; });
  }
  refusals.expect({"eps is -1", "0 or more"}, [&] {
    s->args.flags = GDN_HAS_EPS;
    s->args.eps = -1;
  });
  refusals.expect({"cu_seqlens is NULL", "GDN_PADDED"}, [&] { s->args.flags = GDN_PADDED; });
  refusals.expect_valid(
      [&] { s->args.flags = GDN_SIGMOID_GATE | GDN_ROUND_STATES | GDN_ALLOW_NEG_EIGVAL; });
}

TEST(BadDecode, Slots) {
  auto s = fused_decode_scenario();
  Refusals refusals(s.get());
  Array &slots = (*s)["state_indices"].array;
  refusals.expect({"state_indices[2] is 8, expected a slot below 8"}, with(&slots, {3, -1, 8}));
  refusals.expect({"state_indices names slot 3 twice"}, with(&slots, {3, -1, 3}));
  refusals.expect_valid(with(&slots, {-1, -1, -1}));
  // A pool of the convolution's that is smaller than that of the states.
  refusals.expect({"state_indices[0] is 7, expected a slot below 7"}, [&] {
    (*s)["conv_state"].shape[0] = 7;
    slots.assign(Contents{7, -1, 0});
  });
  refusals.expect({"num_accepted_tokens is given, expected NULL without a state_indices"},
                  [&] { s->args.num_accepted_tokens = s->args.state_indices; });
  for (const DLTensor *gdn_fused_gdn_decode_args::*field :
       {&gdn_fused_gdn_decode_args::output_state_indices,
        &gdn_fused_gdn_decode_args::conv_state_indices}) {
    refusals.expect({"is given, expected NULL without state_indices"}, [&] {
      s->args.*field = s->args.state_indices;
      s->args.state_indices = nullptr;
    });
  }
}

TEST(BadDecode, VerifySlots) {
  auto s = fused_verify_scenario();
  Refusals refusals(s.get());
  Array &slots = (*s)["state_indices"].array;
  Array &conv = (*s)["conv_state_indices"].array;
  Array &accepted = (*s)["num_accepted_tokens"].array;
  Array &cu = (*s)["cu_seqlens"].array;
  refusals.expect({"conv_state_indices[0] is 8, expected a slot below 8"}, with(&conv, {8, 0, 7}));
  refusals.expect({"conv_state_indices names slot 0 twice"}, with(&conv, {0, 0, 7}));
  refusals.expect({"state_indices names slot 2 twice"},
                  with(&slots, {2, 2, 4, 88, 0, 88, 88, 88, 99, 88, 88, 88}));
  refusals.expect({"state_indices[0, 1] is 8"},
                  with(&slots, {1, 8, 4, 88, 0, 88, 88, 88, 99, 88, 88, 88}));
  refusals.expect({"num_accepted_tokens[0] is 5, expected 1 to 4"}, with(&accepted, {5, 1, 77}));
  refusals.expect({"num_accepted_tokens[0] is 0"}, with(&accepted, {0, 1, 77}));
  refusals.expect({"state_indices has M = 4 columns, but sequence 0 has 5 tokens"},
                  with(&cu, {0, 5, 5, 5}));
  refusals.expect({"cu_seqlens ends at 9, expected at most T = 8"}, with(&cu, {0, 3, 3, 9}));
  // The convolution's slot has room for W - 2 inputs and 3 tokens.
  refusals.expect({"cu_seqlens gives sequence 0 4 tokens, expected at most 3", "conv_state"}, [&] {
    (*s)["conv_state"].shape[2] = 5;
    slots.assign(Contents{1, 2, 4, 5, 0, 88, 88, 88, 99, 88, 88, 88});
    cu.assign(Contents{0, 4, 4, 5});
  });
  // What lacks a slot on either side is skipped: nothing else that is said of it is looked at.
  refusals.expect_valid([&] {
    conv.assign(Contents{-1, 0, 3});
    accepted.assign(Contents{-4, 1, 77});
    slots.assign(Contents{7, 7, 7, 7, 0, 88, 88, 88, 99, 88, 88, 88});
  });
  refusals.expect_valid([&] {
    slots.assign(Contents{-1, 7, 7, 7, 0, 88, 88, 88, 99, 88, 88, 88});
    accepted.assign(Contents{1, 1, 0});
    conv.assign(Contents{0, 3, 99});
  });
  refusals.expect_valid(with(&cu, {0, 0, 0, 0}));
}

TEST(BadDecode, RoundedStatesAreStored) {
  auto s = recurrent_pool_scenario();
  Refusals refusals(s.get());
  refusals.expect({"flags has GDN_ROUND_STATES, expected final_state or state_indices with it"},
                  [&] {
                    s->args.flags |= GDN_ROUND_STATES;
                    s->args.initial_state = s->args.state_indices = nullptr;
                  });
  refusals.expect_valid([&] { s->args.flags |= GDN_ROUND_STATES; });
  auto chunk = chunk_scenario();
  Refusals of_chunk(chunk.get());
  of_chunk.expect({"flags is ", std::to_string(GDN_ROUND_STATES)},
                  [&] { chunk->args.flags |= GDN_ROUND_STATES; });
}

TEST(BadDecode, SigmoidGateNeedsAGate) {
  for (const ScenarioMaker &m : scenario_makers()) {
    auto s = m.make();
    auto *rms = dynamic_cast<TypedScenario<gdn_rms_norm_gated_args> *>(s.get());
    if (rms == nullptr) continue;
    Refusals refusals(rms);
    refusals.expect({"z is NULL", "with GDN_SIGMOID_GATE"}, [&] {
      rms->args.flags = GDN_SIGMOID_GATE;
      rms->args.z = nullptr;
    });
    refusals.expect_valid([&] { rms->args.flags = GDN_SIGMOID_GATE; });
  }
}

}  // namespace
}  // namespace gdn::testing
