// Decode in calls of several tokens beside calls of one token each, and fused_gdn_decode beside the
// operations that it is made of: equal bits where equal bits are promised.

#include <array>

#include "cases/delta_rule_call.h"
#include "decode_fixture.h"

namespace gdn::testing {
namespace {

using DecodeSteps = LayerTest;

INSTANTIATE_TEST_SUITE_P(Cpu, DecodeSteps, ::testing::ValuesIn(tested_targets()),
                         [](const auto &target) { return target.param.name(); });

INSTANTIATE_TEST_SUITE_P(Reference, DecodeSteps, ::testing::Values(reference_target()),
                         [](const auto &target) { return target.param.name(); });

constexpr int64_t kSteps = 23;

// Row `row` of dimension 0 of compact values.
std::vector<float> row_of(const std::vector<float> &values, int64_t rows, int64_t row) {
  const auto n = static_cast<int64_t>(values.size()) / rows;
  return {values.begin() + row * n, values.begin() + (row + 1) * n};
}

void set_row(std::vector<float> *values, int64_t rows, int64_t row,
             const std::vector<float> &from) {
  const auto n = static_cast<int64_t>(values->size()) / rows;
  std::copy(from.begin(), from.end(), values->begin() + row * n);
}

// A sequence of kSteps tokens and what calls of one token each make of it.
class Plain {
 public:
  Plain(const DecodeShape &shape, uint32_t flags, const Target &target) : shape_(shape) {
    shape_.batch = 1;
    shape_.tokens = kSteps;
    shape_.slots = 1;
    shape_.entries = shape_.width - 1;
    all_ = decode_call(shape_);
    all_.flags = flags;
    DecodeCall step = tokens(1);
    step.state = Array(shape_.state, all_.state->shape());
    step.conv_state = Array(shape_.conv_state, all_.conv_state->shape());
    step.state_values = all_.state_values;
    step.conv_values = all_.conv_values;
    reset(step);
    for (int64_t t = 0; t < kSteps; ++t) {
      put(&step, 0, t);
      step.o->poison();
      failure_ += step.run(target);
      o.push_back(step.o->values());
      states.push_back(step.state->values());
    }
  }

  const std::string &failure() const { return failure_; }
  const DecodeCall &all() const { return all_; }
  const DecodeShape &shape() const { return shape_; }

  // A call of `count` tokens of one row, which put() fills.
  DecodeCall tokens(int64_t count) const {
    DecodeCall call = all_;
    for (Operand *operand : {&call.mixed_qkv, &call.a, &call.b, &call.z, &call.o}) {
      Shape s = (*operand)->shape();
      s[1] = count;
      *operand = Array((*operand)->type(), s);
      (*operand)->assign(std::vector<float>(static_cast<size_t>((*operand)->size()), 3.0F));
    }
    return call;
  }

  // Makes token `at` of a call token t of the sequence.
  void put(DecodeCall *call, int64_t at, int64_t t) const {
    const std::array from = {&all_.mixed_qkv, &all_.a, &all_.b, &all_.z};
    const std::array to = {&call->mixed_qkv, &call->a, &call->b, &call->z};
    for (size_t i = 0; i < from.size(); ++i) {
      std::vector<float> values = (*to[i])->values();
      set_row(&values, (*to[i])->shape()[1], at, row_of((*from[i])->values(), kSteps, t));
      (*to[i])->assign(values);
    }
  }

  std::vector<std::vector<float>> o;       // Of each token.
  std::vector<std::vector<float>> states;  // After each token.

 private:
  DecodeShape shape_;
  DecodeCall all_;
  std::string failure_;
};

// Verifies drafts, of which the first are the sequence's tokens and the others are not, and goes on
// from any accepted count.
void expect_lossless(const Plain &plain, bool packed, const Target &target) {
  const DecodeShape &s = plain.shape();
  for (const int64_t drafts : {2, 4, 8}) {
    SCOPED_TRACE(std::to_string(drafts) + (packed ? " drafts packed" : " drafts"));
    const int64_t slots = drafts + 1;
    Shape pool = plain.all().state->shape();
    Shape conv = plain.all().conv_state->shape();
    pool[0] = slots;
    conv[0] = slots;
    conv[2] = s.width - 2 + drafts;
    DecodeCall verify = plain.tokens(drafts);
    verify.state = Array(s.state, pool);
    verify.conv_state = Array(s.conv_state, conv);
    std::vector<int64_t> indices(static_cast<size_t>(drafts));
    std::iota(indices.begin(), indices.end(), 1);
    verify.state_indices = integers(Element::i32, {1, drafts}, indices);
    if (packed) verify.cu_seqlens = integers(Element::i64, {2}, {0, drafts});
    // As one accepted token would have left them: in the first slot, and in the convolution's slot
    // the newest inputs at the end, or in the packed form at the front.
    std::vector<float> state(static_cast<size_t>(verify.state->size()), 7.0F);
    set_row(&state, slots, 1, plain.all().state_values);
    verify.state->assign(state);
    std::vector<float> inputs(static_cast<size_t>(verify.conv_state->size()), 7.0F);
    const int64_t before = packed ? 0 : drafts - 1;
    for (int64_t c = 0; c < s.channels(); ++c) {
      for (int64_t i = 0; i < s.width - 1; ++i) {
        inputs[static_cast<size_t>((s.channels() + c) * conv[2] + before + i)] =
            plain.all().conv_values[static_cast<size_t>(c * (s.width - 1) + i)];
      }
    }
    verify.conv_state->assign(inputs);
    int64_t accepted = 1;
    for (int64_t t = 0, round = 0; t < kSteps; t += accepted, ++round) {
      if (packed || round > 0) {
        verify.num_accepted_tokens = integers(Element::i32, {1}, {accepted});
      }
      accepted = std::min<int64_t>(1 + (round * 5 + 2) % drafts, kSteps - t);
      for (int64_t i = 0; i < accepted; ++i) plain.put(&verify, i, t + i);
      verify.o->poison();
      ASSERT_EQ(verify.run(target), "");
      const std::vector<float> o = verify.o->values();
      for (int64_t i = 0; i < accepted; ++i) {
        ASSERT_EQ(row_of(o, drafts, i), plain.o[static_cast<size_t>(t + i)]) << "token " << t + i;
      }
      ASSERT_EQ(row_of(verify.state->values(), slots, accepted),
                plain.states[static_cast<size_t>(t + accepted - 1)]);
    }
  }
}

TEST_P(DecodeSteps, EveryAcceptedCountIsThePlainRun) {
  for (const Element type : kTypes) {
    for (const Element state : kTypes) {
      const Element conv_state = state == Element::f16 ? Element::bf16 : type;
      for (const bool v_first : {false, true}) {
        SCOPED_TRACE(std::string(name_of(type)) + " " + name_of(state));
        const DecodeShape shape = {.hk = 1,
                                   .hv = 2,
                                   .dk = 16,
                                   .dv = v_first ? 16 : 24,
                                   .type = type,
                                   .state = state,
                                   .conv_state = conv_state};
        uint32_t flags = v_first ? GDN_STATE_V_FIRST : 0;
        // The reference holds a state in float64 inside a call.
        if (state != Element::f32 || conv_state != type || GetParam().backend == "reference") {
          flags |= GDN_ROUND_STATES;
        }
        const Plain plain(shape, flags, GetParam());
        ASSERT_EQ(plain.failure(), "");
        expect_lossless(plain, false, GetParam());
        expect_lossless(plain, true, GetParam());
      }
    }
  }
}

// The exact way is the default: with a 16-bit pool it is not the plain run.
TEST_P(DecodeSteps, StatesAreRoundedOnlyWhereAsked) {
  const DecodeShape shape = {.hk = 1, .hv = 2, .state = Element::bf16};
  const Plain plain(shape, 0, GetParam());
  for (const bool round : {false, true}) {
    DecodeCall all = plain.all();
    if (round) all.flags |= GDN_ROUND_STATES;
    all.state = Array(shape.state, all.state->shape());
    all.conv_state = Array(shape.conv_state, all.conv_state->shape());
    reset(all);
    ASSERT_EQ(all.run(GetParam()), "");
    EXPECT_EQ(all.state->values() == plain.states.back(), round);
  }
}

// The smallest case of the option: what the first token leaves, 0.5 + 2^-10, is no bfloat16.
TEST_P(DecodeSteps, TwoTokensOfOneKey) {
  const auto ones = [](Element type, const Shape &shape, float value) {
    Array a(type, shape);
    a.assign(std::vector<float>(static_cast<size_t>(a.size()), value));
    return a;
  };
  std::vector<float> key(16, 0.0F);
  key[0] = key[8] = 1.0F;
  for (const bool v_first : {false, true}) {
    for (const bool round : {false, true}) {
      for (const bool slots : {false, true}) {
        DeltaRuleCall call;
        call.lengths = {2};
        call.q = ones(Element::f32, {1, 2, 1, 8}, 0.0F);
        call.q->assign(key);
        call.k = call.q;
        call.v = ones(Element::f32, {1, 2, 1, 8}, 1.0F + 0x1p-9F);
        call.beta = ones(Element::f32, {1, 2, 1}, 0.5F);
        call.o = Array(Element::f32, {1, 2, 1, 8});
        call.initial_state = ones(Element::bf16, {3, 1, 8, 8}, 0.0F);
        call.state_indices =
            slots ? integers(Element::i32, {1, 2}, {0, 2}) : integers(Element::i32, {1}, {0});
        call.scale = 1.0;
        call.flags |= GDN_HAS_SCALE;
        if (v_first) call.flags |= GDN_STATE_V_FIRST;
        if (round) call.flags |= GDN_ROUND_STATES;
        ASSERT_EQ(run(Operation::recurrent, call, GetParam()), "");
        const std::vector<float> o = call.o->values();
        EXPECT_EQ(o[0], 0.5F + 0x1p-10F);
        EXPECT_EQ(o[8], round ? 0.75F + 0x1p-10F : 0.75F + 0x1p-10F + 0x1p-11F);
      }
    }
  }
}

// Without rounding on the way the operations one by one give the same bits.
TEST_P(DecodeSteps, FloatCallsAreTheOperationsOneByOne) {
  for (const int64_t tokens : {1, 3}) {
    for (const bool sigmoid_gate : {false, true}) {
      const DecodeShape s = {.tokens = tokens,
                             .dk = 48,
                             .dv = 40,
                             .slots = 2,
                             .type = Element::f32,
                             .conv_state = Element::f32};
      DecodeCall fused = decode_call(s);
      if (sigmoid_gate) fused.flags = GDN_SIGMOID_GATE;
      // Copies share memory.
      const DecodeCall before = widened(fused);
      ASSERT_EQ(fused.run(GetParam()), "");

      const Shape by_token = {s.batch, s.channels(), tokens};
      const Layout layout = channels_last(by_token, 0);
      ConvCall conv;
      conv.update = true;
      conv.flags = GDN_SILU;
      conv.x = Array(Element::f32, by_token, layout);
      conv.y = Array(Element::f32, by_token, layout);
      const std::vector<float> mixed = fused.mixed_qkv->values();
      std::vector<float> x(mixed.size());
      const auto at = [&](int64_t n, int64_t t, int64_t c) {
        return static_cast<size_t>((n * tokens + t) * s.channels() + c);
      };
      const auto turned = [&](int64_t n, int64_t t, int64_t c) {
        return static_cast<size_t>((n * s.channels() + c) * tokens + t);
      };
      for (int64_t n = 0; n < s.batch; ++n) {
        for (int64_t t = 0; t < tokens; ++t) {
          for (int64_t c = 0; c < s.channels(); ++c) x[turned(n, t, c)] = mixed[at(n, t, c)];
        }
      }
      conv.x->assign(x);
      conv.weight = fused.conv_weight;
      conv.conv_state = before.conv_state;
      ASSERT_EQ(conv.run(GetParam()), "");
      EXPECT_EQ(conv.conv_state->bytes(), fused.conv_state->bytes());

      const Shape heads = {s.batch, tokens, s.hv};
      GatingCall gating;
      gating.A_log = fused.A_log;
      gating.a = fused.a;
      gating.b = fused.b;
      gating.dt_bias = fused.dt_bias;
      gating.g = Array(Element::f32, heads);
      gating.beta = Array(Element::f32, heads);
      ASSERT_EQ(gating.run(GetParam()), "");

      DeltaRuleCall rule;
      rule.lengths.assign(static_cast<size_t>(s.batch), tokens);
      const std::vector<float> y = conv.y->values();
      const auto part = [&](int64_t channel, int64_t count, int64_t width) {
        std::vector<float> values;
        for (int64_t n = 0; n < s.batch; ++n) {
          for (int64_t t = 0; t < tokens; ++t) {
            for (int64_t c = 0; c < count * width; ++c) {
              values.push_back(y[turned(n, t, channel + c)]);
            }
          }
        }
        Array out(Element::f32, {s.batch, tokens, count, width});
        out.assign(values);
        return out;
      };
      rule.flags = GDN_USE_QK_L2NORM;
      rule.q = part(0, s.hk, s.dk);
      rule.k = part(s.hk * s.dk, s.hk, s.dk);
      rule.v = part(2 * s.hk * s.dk, s.hv, s.dv);
      rule.g = gating.g;
      rule.beta = gating.beta;
      rule.o = Array(Element::f32, rule.v->shape());
      rule.initial_state = before.state;
      rule.in_place = true;
      ASSERT_EQ(run(Operation::recurrent, rule, GetParam()), "");

      NormCall gated;
      gated.rms = true;
      if (sigmoid_gate) gated.flags = GDN_SIGMOID_GATE;
      gated.x = rule.o;
      gated.z = fused.z;
      gated.weight = fused.norm_weight;
      gated.y = Array(Element::f32, rule.o->shape());
      ASSERT_EQ(gated.run(GetParam()), "");
      if (GetParam().backend == "cpu") {
        EXPECT_EQ(fused.o->values(), gated.y->values());
        EXPECT_EQ(fused.state->values(), rule.initial_state->values());
      } else {
        expect_close(*fused.o, *gated.y, Element::f32, "o");
        expect_close(*fused.state, *rule.initial_state, Element::f32, "state");
      }
    }
  }
}

}  // namespace
}  // namespace gdn::testing
