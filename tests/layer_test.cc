// The operations around the delta rule (convolution, gating, norms) on every instruction set:
// against the float64 reference on the same inputs, in every type, with strides, pools and flags.

#include "layer_fixture.h"

namespace gdn::testing {
namespace {

INSTANTIATE_TEST_SUITE_P(Cpu, LayerTest, ::testing::ValuesIn(tested_targets()),
                         [](const auto &target) { return target.param.name(); });

TEST_P(LayerTest, ConvForward) {
  for (const Element type : kTypes) {
    for (const int64_t width : {2, 3, 4}) {
      for (const bool last : {false, true}) {
        for (const uint32_t flags : {0U, static_cast<uint32_t>(GDN_SILU)}) {
          ConvCall call = conv(type, {2, 37, 53}, width, last);
          call.flags = flags;
          check(call);
          call.bias = drawn(Element::f32, {37}, "bias");
          give_state(&call, 2, width - 1, last);
          check(call);
        }
      }
    }
  }
}

TEST_P(LayerTest, ConvForwardPacked) {
  for (const Element type : kTypes) {
    for (const bool last : {false, true}) {
      ConvCall call = conv(type, {1, 70, 90}, 4, last);
      call.flags = GDN_SILU;
      call.cu_seqlens = integers(Element::i32, {8}, {0, 1, 1, 3, 40, 44, 44, 90});
      check(call);
      call.bias = drawn(type, {70}, "bias");
      call.weight = drawn(Element::f32, {70, 4}, "weight");
      for (const int64_t length : {3, 4, 9}) {
        give_state(&call, 7, length, last);
        check(call);
        ConvCall pool = call;
        give_state(&pool, 11, length, last);
        pool.state_indices = integers(Element::i64, {7}, {9, 0, 3, -1, 10, 5, 1});
        check(pool);
        pool.has_initial_state = integers(Element::boolean, {7}, {1, 0, 1, 1, 0, 1, 0});
        check(pool);
        pool.has_initial_state = integers(Element::i32, {7}, {0, 1, 0, 0, 1, 0, 256});
        check(pool);
      }
    }
  }
}

TEST_P(LayerTest, ConvForwardOfNothing) {
  ConvCall call = conv(Element::bf16, {1, 16, 0}, 4, false);
  call.cu_seqlens = integers(Element::i32, {3}, {0, 0, 0});
  give_state(&call, 2, 3, false);
  call.has_initial_state = integers(Element::u8, {2}, {1, 0});
  check(call);
  check(conv(Element::f32, {0, 16, 5}, 3, false));
}

TEST_P(LayerTest, ConvUpdate) {
  for (const Element type : kTypes) {
    for (const bool last : {false, true}) {
      for (const int64_t width : {2, 3, 4}) {
        for (const int64_t tokens : {1, 2, 5}) {
          ConvCall call = conv(type, {5, 43, tokens}, width, last);
          call.update = true;
          call.flags = GDN_SILU;
          give_state(&call, 5, width - 1, last);
          check(call);
          call.bias = drawn(type, {43}, "bias");
          call.flags = 0;
          give_state(&call, 8, width + 2, last);
          call.state_indices = integers(Element::i32, {5}, {7, -1, 2, 0, 4});
          check(call);
        }
      }
    }
  }
}

TEST_P(LayerTest, ConvUpdateAfterRejectedDrafts) {
  for (const Element type : kTypes) {
    ConvCall call = conv(type, {4, 29, 3}, 4, true);
    call.update = true;
    call.flags = GDN_SILU;
    call.state_indices = integers(Element::i32, {4}, {2, 5, -3, 0});
    call.num_accepted_tokens = integers(Element::i32, {4}, {1, 2, 1, 3});
    for (const int64_t length : {5, 6, 9}) {
      give_state(&call, 6, length, true);
      check(call);
    }
  }
}

// More tokens and channels than any kernel takes at a time.
TEST_P(LayerTest, ConvOfManyTokensAndChannels) {
  for (const bool last : {false, true}) {
    ConvCall call = conv(Element::bf16, {1, 1050, 701}, 4, last);
    call.flags = GDN_SILU;
    call.cu_seqlens = integers(Element::i32, {4}, {0, 513, 514, 701});
    call.bias = drawn(Element::f32, {1050}, "bias");
    give_state(&call, 3, 4, last);
    check(call);
    ConvCall step = conv(Element::bf16, {3, 1050, 1}, 4, last);
    step.update = true;
    give_state(&step, 3, 4, last);
    check(step);
  }
}

// One token of one sequence, by both operations, in the layout that engines keep and beside it; the
// layout changes no bit.
TEST_P(LayerTest, ConvOfOneToken) {
  for (const Element type : kTypes) {
    for (const int64_t channels : {48, 1088, 50}) {
      for (const int64_t length : {3, 4}) {
        for (const bool update : {false, true}) {
          ConvCall call = conv(type, {1, channels, 1}, 4, true);
          call.update = update;
          call.flags = GDN_SILU;
          give_state(&call, 3, length, true);
          call.state_indices = integers(Element::i32, {1}, {1});
          check(call);
          ConvCall compact = call;
          compact.x = Array(type, {1, channels, 1});
          compact.y = Array(type, {1, channels, 1});
          compact.conv_state = Array(type, {3, channels, length});
          compact.x->assign(call.x->values());
          reset(call);
          reset(compact);
          ASSERT_EQ(call.run(GetParam()), "");
          ASSERT_EQ(compact.run(GetParam()), "");
          EXPECT_EQ(call.y->values(), compact.y->values());
          EXPECT_EQ(call.conv_state->values(), compact.conv_state->values());
          call.flags = 0;
          call.bias = drawn(type, {channels}, "bias");
          check(call);
          call.state_indices = integers(Element::i32, {1}, {-1});
          check(call);
          if (update) continue;
          call.state_indices = integers(Element::i32, {1}, {2});
          call.has_initial_state = integers(Element::boolean, {1}, {0});
          check(call);
        }
      }
    }
  }
}

// A sequence given at once, and in pieces through the state, is bitwise the same.
TEST_P(LayerTest, ConvInPieces) {
  for (const Element type : kTypes) {
    ConvCall whole = conv(type, {1, 40, 30}, 4, true);
    whole.flags = GDN_SILU;
    reset(whole);
    ASSERT_EQ(whole.run(GetParam()), "");
    const std::vector<float> expected = whole.y->values();
    const std::vector<float> x = whole.x->values();
    Array state(type, {1, 40, 3});
    state.assign(std::vector<float>(120, 0.0F));
    int64_t begin = 0;
    for (const int64_t count : {1, 9, 2, 1, 17}) {
      ConvCall piece = whole;
      piece.update = count < 3;
      piece.x = Array(type, {1, 40, count});
      piece.y = Array(type, {1, 40, count});
      piece.conv_state = state;
      std::vector<float> values;
      for (int64_t c = 0; c < 40; ++c) {
        const auto from = x.begin() + c * 30 + begin;
        values.insert(values.end(), from, from + count);
      }
      piece.x->assign(values);
      ASSERT_EQ(piece.run(GetParam()), "");
      const std::vector<float> y = piece.y->values();
      for (int64_t c = 0; c < 40; ++c) {
        for (int64_t t = 0; t < count; ++t) {
          ASSERT_EQ(y[static_cast<size_t>(c * count + t)],
                    expected[static_cast<size_t>(c * 30 + begin + t)]);
        }
      }
      begin += count;
    }
  }
}

TEST_P(LayerTest, Gating) {
  const Shape shape = {2, 9, 21};
  for (const Element type : kTypes) {
    for (const Element beta : {Element::f32, type}) {
      for (const Element parameters : {Element::f32, type}) {
        GatingCall call;
        call.A_log = drawn(parameters, {21}, "A_log");
        call.a = drawn(type, shape, "a", {}, 15.0F);
        call.b = drawn(type, shape, "b", {}, 5.0F);
        call.g = Array(Element::f32, shape);
        call.beta = Array(beta, shape);
        check(call);
        call.dt_bias = drawn(parameters, {21}, "dt_bias");
        call.flags = GDN_ALLOW_NEG_EIGVAL;
        call.a = drawn(type, shape, "a", {padded_strides(shape, {2, 1, 0}, 2), 0}, 15.0F);
        call.b = drawn(type, shape, "b", {padded_strides(shape, {0, 1, 2}, 4), 1}, 5.0F);
        call.g = Array(Element::f32, shape, {padded_strides(shape, {0, 2, 1}, 1), 0});
        check(call);
      }
    }
  }
}

TEST_P(LayerTest, GatingOfManyTokensAndHeads) {
  const Shape shape = {2, 150, 601};
  GatingCall call;
  call.A_log = drawn(Element::f32, {601}, "A_log");
  call.dt_bias = drawn(Element::f32, {601}, "dt_bias");
  call.a = drawn(Element::bf16, shape, "a");
  call.b = drawn(Element::bf16, shape, "b");
  call.g = Array(Element::f32, shape);
  call.beta = Array(Element::bf16, shape);
  check(call);
}

TEST_P(LayerTest, GatingOfMixedTypes) {
  const Shape shape = {1, 5, 21};
  for (const Element a : kTypes) {
    for (const Element b : kTypes) {
      for (const Element beta : {Element::f32, b}) {
        GatingCall call;
        call.A_log = drawn(b, {21}, "A_log");
        call.dt_bias = drawn(Element::f16, {21}, "dt_bias");
        call.a = drawn(a, shape, "a");
        call.b = drawn(b, shape, "b");
        call.g = Array(Element::f32, shape);
        call.beta = Array(beta, shape);
        check(call);
      }
    }
  }
}

TEST_P(LayerTest, NormsOfManyRows) {
  for (const bool rms : {false, true}) {
    NormCall call;
    call.rms = rms;
    call.x = drawn(Element::bf16, {3, 211, 5, 64}, "x");
    call.y = Array(Element::bf16, {3, 211, 5, 64});
    if (rms) call.z = drawn(Element::bf16, {3, 211, 5, 64}, "z");
    check(call);
  }
}

TEST_P(LayerTest, GatingExtremes) {
  GatingCall call;
  call.A_log = Array(Element::f32, {1});
  call.A_log->assign(std::vector<float>{0.5F});
  const std::vector<float> values = {-200, -90, -30, -20, -1e-6F, 0, 1e-6F, 19.9F, 20, 20.1F, 90};
  const Shape shape = {1, static_cast<int64_t>(values.size()), 1};
  call.a = Array(Element::f32, shape);
  call.a->assign(values);
  call.b = Array(Element::f32, shape);
  call.b->assign(values);
  call.g = Array(Element::f32, shape);
  call.beta = Array(Element::f32, shape);
  GatingCall expected = widened(call);
  ASSERT_EQ(expected.run(reference_target()), "");
  reset(call);
  ASSERT_EQ(call.run(GetParam()), "");
  // Each element by itself: small results count as much as large ones.
  for (size_t i = 0; i < values.size(); ++i) {
    const float g = expected.g->values()[i];
    EXPECT_NEAR(call.g->values()[i], g, std::abs(g) * 5e-5 + 1e-37) << values[i];
    const float beta = expected.beta->values()[i];
    EXPECT_NEAR(call.beta->values()[i], beta, std::abs(beta) * 5e-5 + 1e-37) << values[i];
  }
}

TEST_P(LayerTest, L2Norm) {
  for (const Element type : kTypes) {
    for (const int64_t width : {1, 7, 8, 16, 33, 128, 200, 256, 1000}) {
      NormCall call;
      const Shape shape = {3, 5, width};
      call.x = drawn(type, shape, "x", {padded_strides(shape, {1, 0, 2}, 3), 0}, 3.0F);
      call.y = Array(type, shape, {padded_strides(shape, {0, 1, 2}, 1), 0});
      check(call);
      call.flags = GDN_HAS_EPS;
      call.eps = 0.25;
      check(call);
    }
  }
}

TEST_P(LayerTest, RmsNormGated) {
  for (const Element type : kTypes) {
    for (const int64_t width : {1, 7, 8, 16, 33, 128, 200, 256, 1000}) {
      NormCall call;
      call.rms = true;
      const Shape shape = {2, 3, 4, width};
      call.x = drawn(type, shape, "x", {}, 3.0F);
      call.y = Array(type, shape);
      check(call);
      call.weight = drawn(Element::f32, {width}, "weight");
      call.z = drawn(type, shape, "z", {padded_strides(shape, {0, 2, 1, 3}, 5), 0}, 4.0F);
      check(call);
      call.weight = drawn(type, {width}, "weight");
      call.flags = GDN_HAS_EPS;
      call.eps = 0.5;
      check(call);
    }
  }
}

TEST_P(LayerTest, NormsOfRankOneAndFive) {
  for (const bool rms : {false, true}) {
    for (const Shape &shape : {Shape{24}, Shape{2, 1, 3, 2, 24}, Shape{0, 24}}) {
      NormCall call;
      call.rms = rms;
      call.x = drawn(Element::bf16, shape, "x");
      call.y = Array(Element::bf16, shape);
      check(call);
    }
  }
}

TEST_P(LayerTest, NormOfZeros) {
  NormCall call;
  call.x = Array(Element::f32, {2, 16});
  call.x->assign(std::vector<float>(32, 0.0F));
  call.y = Array(Element::f32, {2, 16});
  check(call);
  call.rms = true;
  check(call);
}

}  // namespace
}  // namespace gdn::testing
