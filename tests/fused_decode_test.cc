// fused_gdn_decode on every instruction set: against the float64 reference in every type, width and
// layout, with pools and their indices, and against the operations that it is made of.

#include <limits>

#include "decode_fixture.h"

namespace gdn::testing {
namespace {

using FusedDecode = LayerTest;

INSTANTIATE_TEST_SUITE_P(Cpu, FusedDecode, ::testing::ValuesIn(tested_targets()),
                         [](const auto &target) { return target.param.name(); });

TEST_P(FusedDecode, Types) {
  for (const Element type : kTypes) {
    for (const Element state : kTypes) {
      for (const Element conv_state : kTypes) {
        for (const int64_t tokens : {1, 3}) {
          SCOPED_TRACE(std::string(name_of(type)) + " " + name_of(state) + " " +
                       name_of(conv_state) + " " + std::to_string(tokens));
          DecodeCall call = decode_call(
              {.tokens = tokens, .type = type, .state = state, .conv_state = conv_state});
          check(call);
        }
      }
    }
    DecodeCall call = decode_call({.type = type, .conv_state = type});
    call.conv_weight = drawn(Element::f32, call.conv_weight->shape(), "conv_weight");
    call.conv_bias = drawn(type, {call.conv_weight->shape()[0]}, "conv_bias");
    call.norm_weight = drawn(Element::f32, call.norm_weight->shape(), "norm_weight");
    call.a = drawn(Element::f16, call.a->shape(), "a");
    call.b = drawn(Element::f32, call.b->shape(), "b");
    call.A_log = drawn(type, call.A_log->shape(), "A_log");
    call.dt_bias.reset();
    check(call);
    call.conv_bias = drawn(Element::f32, call.conv_bias->shape(), "conv_bias");
    check(call);
  }
}

// Whole vectors and parts of them, groups of every kind, more columns than a step takes at a time
// and more channels than a block holds.
TEST_P(FusedDecode, Widths) {
  struct Heads {
    int64_t hk, hv, dk, dv;
  };
  for (const Heads h :
       {Heads{1, 1, 8, 8}, Heads{1, 2, 16, 8}, Heads{2, 2, 60, 100}, Heads{1, 3, 128, 128},
        Heads{3, 6, 24, 40}, Heads{1, 20, 8, 16}, Heads{1, 9, 32, 128}, Heads{1, 2, 256, 300},
        Heads{1, 1, 5, 1024}, Heads{2, 4, 1, 1}}) {
    for (const bool v_first : {false, true}) {
      for (const bool interleaved : {false, true}) {
        for (const int64_t tokens : {1, 2}) {
          SCOPED_TRACE(std::to_string(h.hk) + "/" + std::to_string(h.hv) + " " +
                       std::to_string(h.dk) + " x " + std::to_string(h.dv) +
                       (v_first ? " V first" : "") + (interleaved ? " interleaved" : ""));
          const DecodeShape shape = {.batch = 1,
                                     .tokens = tokens,
                                     .hk = h.hk,
                                     .hv = h.hv,
                                     .dk = h.dk,
                                     .dv = h.dv,
                                     .slots = 2,
                                     .state = Element::bf16};
          DecodeCall call = decode_call(shape);
          if (v_first) {
            call.flags |= GDN_STATE_V_FIRST;
            give_pools(&call, Array(Element::bf16, {2, h.hv, h.dv, h.dk}), *call.conv_state);
          }
          if (interleaved) call.head_map = GDN_HEAD_MAP_INTERLEAVED;
          check(call);
        }
      }
    }
  }
}

TEST_P(FusedDecode, Flags) {
  for (const int64_t tokens : {1, 4}) {
    DecodeCall call =
        decode_call({.tokens = tokens, .type = Element::f32, .conv_state = Element::f32});
    call.flags = GDN_HAS_SCALE | GDN_HAS_EPS | GDN_ALLOW_NEG_EIGVAL | GDN_SIGMOID_GATE;
    call.scale = -0.7;
    call.eps = 0.3;
    check(call);
    call.flags = GDN_SIGMOID_GATE | GDN_ROUND_STATES;
    check(call);
  }
}

// The reference rounds where it is asked to, so it gets the pools as they are.
TEST_P(FusedDecode, RoundedStates) {
  for (const Element type : kTypes) {
    for (const Element state : kTypes) {
      for (const Element conv_state : kTypes) {
        DecodeCall call =
            decode_call({.tokens = 5, .type = type, .state = state, .conv_state = conv_state});
        call.flags = GDN_ROUND_STATES;
        DecodeCall expected = call;
        expected.o = Array(type, call.o->shape());
        expected.state = Array(state, call.state->shape());
        expected.conv_state = Array(conv_state, call.conv_state->shape());
        reset(expected);
        ASSERT_EQ(expected.run(reference_target()), "");
        ASSERT_EQ(call.run(GetParam()), "");
        expect_close(*call.o, *expected.o, Element::bf16, "o");
        expect_close(*call.state, *expected.state, Element::bf16, "state");
        EXPECT_EQ(call.conv_state->bytes(), expected.conv_state->bytes());
      }
    }
  }
}

// Filters of every width, slots with more entries than they need, channels last, gaps everywhere.
TEST_P(FusedDecode, Layouts) {
  for (const Element type : kTypes) {
    for (const int64_t width : {2, 3, 4}) {
      for (const int64_t entries : {width - 1, width, width + 2}) {
        for (const int64_t tokens : {1, 2, 5}) {
          SCOPED_TRACE(std::string(name_of(type)) + " W = " + std::to_string(width) +
                       " L = " + std::to_string(entries) + " T = " + std::to_string(tokens));
          const DecodeShape shape = {.tokens = tokens,
                                     .width = width,
                                     .entries = entries,
                                     .type = type,
                                     .conv_state = type};
          DecodeCall call = decode_call(shape);
          check(call);
          const auto gaps = [](const Shape &s, const std::vector<int> &order) {
            return Layout{padded_strides(s, order, 3), 2};
          };
          const auto again = [&](Operand *t, const std::vector<int> &order, const char *name) {
            *t = drawn((*t)->type(), (*t)->shape(), name, gaps((*t)->shape(), order));
          };
          const Shape state = call.state->shape();
          const Shape conv = call.conv_state->shape();
          call.conv_bias = drawn(type, {shape.channels()}, "conv_bias");
          give_pools(&call, *call.state, Array(type, conv, gaps(conv, {0, 2, 1})));
          check(call);
          again(&call.mixed_qkv, {1, 0, 2}, "mixed_qkv");
          again(&call.conv_weight, {1, 0}, "conv_weight");
          again(&call.a, {2, 0, 1}, "a");
          again(&call.b, {2, 1, 0}, "b");
          again(&call.z, {2, 1, 0, 3}, "z");
          call.norm_weight = drawn(type, {shape.dv}, "norm_weight", {{2}, 0});
          call.A_log = drawn(type, {shape.hv}, "A_log", {{3}, 0});
          call.dt_bias = drawn(type, {shape.hv}, "dt_bias", {{5}, 0});
          call.o = Array(type, call.o->shape(), gaps(call.o->shape(), {2, 0, 1, 3}));
          give_pools(&call, Array(Element::f32, state, gaps(state, {0, 2, 1, 3})),
                     Array(type, conv, gaps(conv, {0, 2, 1})));
          check(call);
          give_pools(&call, Array(type, state, gaps(state, {1, 0, 2, 3})),
                     Array(type, conv, gaps(conv, {1, 0, 2})));
          check(call);
        }
      }
    }
  }
}

TEST_P(FusedDecode, Slots) {
  for (const Element state : kTypes) {
    for (const int64_t tokens : {1, 3}) {
      DecodeCall call =
          decode_call({.batch = 4, .tokens = tokens, .slots = 9, .entries = 6, .state = state});
      call.state_indices = integers(Element::i32, {4}, {7, -1, 2, 0});
      check(call);
      call.conv_state_indices = integers(Element::i64, {4}, {1, 3, -5, 8});
      check(call);
      call.output_state_indices = integers(Element::i64, {4}, {5, 4, 3, -1});
      check(call);
      call.flags = GDN_HAS_NULL_SLOT;
      call.null_slot = 0;
      check(call);
      call.null_slot = 1;
      call.conv_state_indices.reset();
      call.flags |= GDN_ROUND_STATES;
      check(call);
      // A slot for the state after each token, some of which nobody wants.
      call.output_state_indices.reset();
      call.state_indices = integers(Element::i32, {4, 3}, {4, 3, 2, 1, 6, 5, 8, 1, -1, 7, 6, 5});
      check(call);
      call.flags = GDN_HAS_NULL_SLOT;
      check(call);
      call.num_accepted_tokens = integers(
          Element::i32, {4},
          tokens == 1 ? std::vector<int64_t>{1, 9, 1, 1} : std::vector<int64_t>{3, 9, 1, 2});
      check(call);
      // Read from slots that nobody writes, one of them by two sequences.
      call.output_state_indices = call.state_indices;
      call.state_indices = integers(Element::i64, {4, 3}, {0, 8, 0, 1, 0, 0, 2, 0, 0, 8, 0, 0});
      call.output_state_indices =
          integers(Element::i64, {4, 3}, {3, 4, 5, 9, 9, 9, 6, 7, 2, -1, -1, -1});
      call.conv_state_indices = integers(Element::i32, {4}, {3, 2, 5, 0});
      check(call);
    }
  }
}

// Rows first .. first + count of an array along dimension 0, compact.
Array rows_of(const Array &all, int64_t first, int64_t count) {
  Shape shape = all.shape();
  const int64_t size = all.size() / shape[0];
  shape[0] = count;
  Array part(all.type(), shape);
  const std::vector<float> values = all.values();
  part.assign(std::span(values).subspan(static_cast<size_t>(first * size),
                                        static_cast<size_t>(count * size)));
  return part;
}

// A backend may serve calls of many sequences by other means; each sequence's results are those
// that it has in a call of its own, bit for bit.
TEST_P(FusedDecode, ManySequences) {
  struct Many {
    int64_t hk, hv, dk, dv;
    Element type, state;
    bool v_first, interleaved, channels_last, biased;
  };
  constexpr int64_t kStates = 1100;  // Sequences times value heads, at least.
  constexpr Element kF32 = Element::f32, kBf16 = Element::bf16, kF16 = Element::f16;
  for (const Many &m : {Many{2, 4, 128, 128, kBf16, kBf16, false, false, true, false},
                        Many{1, 2, 128, 128, kBf16, kF32, false, false, true, false},
                        Many{4, 4, 64, 96, kBf16, kBf16, true, false, true, false},
                        Many{2, 8, 128, 40, kBf16, kF32, true, true, true, false},
                        Many{3, 9, 16, 128, kF16, kF16, false, true, true, true},
                        Many{2, 4, 120, 72, kBf16, kBf16, false, true, false, false},
                        Many{2, 4, 40, 64, kF32, kF32, true, false, false, true},
                        Many{1, 40, 32, 16, kBf16, kF16, true, false, true, false}}) {
    SCOPED_TRACE(std::to_string(m.hk) + "/" + std::to_string(m.hv) + " " + std::to_string(m.dk) +
                 " x " + std::to_string(m.dv) + " " + name_of(m.type) + " " + name_of(m.state));
    const int64_t batch = (kStates + m.hv - 1) / m.hv, slots = batch + 3;
    const DecodeShape shape = {.batch = batch,
                               .hk = m.hk,
                               .hv = m.hv,
                               .dk = m.dk,
                               .dv = m.dv,
                               .slots = slots,
                               .entries = m.biased ? 5 : 3,
                               .type = m.type,
                               .state = m.state,
                               .conv_state = m.type};
    DecodeCall call = decode_call(shape);
    const Shape conv = call.conv_state->shape();
    const Layout layout = m.channels_last ? channels_last(conv, 4) : Layout{};
    const Shape state = {slots, m.hv, m.v_first ? m.dv : m.dk, m.v_first ? m.dk : m.dv};
    give_pools(&call, Array(m.state, state), Array(m.type, conv, layout));
    if (m.v_first) call.flags |= GDN_STATE_V_FIRST;
    if (m.interleaved) call.head_map = GDN_HEAD_MAP_INTERLEAVED;
    if (m.biased) call.conv_bias = drawn(m.type, {shape.channels()}, "conv_bias");
    // Far q and k in one row; a row without a slot, one without a slot of the convolution.
    std::vector<float> mixed = call.mixed_qkv->values();
    for (int64_t i = 0; i < 2 * m.hk * m.dk; ++i) {
      mixed[static_cast<size_t>(5 * shape.channels() + i)] *= m.type == kF16 ? 100.0F : 1e20F;
    }
    call.mixed_qkv->assign(mixed);
    std::vector<int64_t> index, conv_index;
    for (int64_t n = 0; n < batch; ++n) {
      index.push_back(n == 3 ? -1 : slots - 1 - n);
      conv_index.push_back(n == 7 ? -1 : n + 2);
    }
    call.state_indices = integers(Element::i32, {batch}, index);
    call.conv_state_indices = integers(Element::i64, {batch}, conv_index);
    check(call);
    reset(call);
    ASSERT_EQ(call.run(GetParam()), "");

    for (const int64_t n : {int64_t{0}, int64_t{5}, batch - 1}) {
      SCOPED_TRACE("sequence " + std::to_string(n));
      DecodeCall alone = call;
      for (std::optional<Array> *operand :
           {&alone.mixed_qkv, &alone.a, &alone.b, &alone.z, &alone.o}) {
        *operand = rows_of(**operand, n, 1);
      }
      const auto at = static_cast<size_t>(n);
      alone.state_indices = integers(Element::i32, {1}, {index[at]});
      alone.conv_state_indices = integers(Element::i64, {1}, {conv_index[at]});
      alone.state = Array(m.state, state);
      alone.conv_state = Array(m.type, conv, layout);
      reset(alone);
      ASSERT_EQ(alone.run(GetParam()), "");
      EXPECT_EQ(alone.o->bytes(), rows_of(*call.o, n, 1).bytes());
      EXPECT_EQ(rows_of(*alone.state, index[at], 1).bytes(),
                rows_of(*call.state, index[at], 1).bytes());
      EXPECT_EQ(rows_of(*alone.conv_state, conv_index[at], 1).bytes(),
                rows_of(*call.conv_state, conv_index[at], 1).bytes());
    }
  }
}

// What is skipped leaves both pools as they are.
TEST_P(FusedDecode, SkippedSequencesTouchNothing) {
  DecodeCall call = decode_call({.batch = 3, .tokens = 2, .slots = 3});
  call.state_indices = integers(Element::i32, {3}, {-1, 1, 2});
  call.conv_state_indices = integers(Element::i32, {3}, {0, -2, 2});
  check(call);
  const std::vector<float> state = call.state->values();
  const std::vector<float> conv = call.conv_state->values();
  const auto third = [](const std::vector<float> &x, size_t i) {
    const auto n = static_cast<int64_t>(x.size() / 3);
    return std::vector<float>(x.begin() + static_cast<int64_t>(i) * n,
                              x.begin() + static_cast<int64_t>(i + 1) * n);
  };
  for (const size_t slot : {size_t{0}, size_t{1}}) {
    EXPECT_EQ(third(state, slot), third(call.state_values, slot));
    EXPECT_EQ(third(conv, slot), third(call.conv_values, slot));
  }
  EXPECT_NE(third(state, 2), third(call.state_values, 2));
  const std::vector<float> o = call.o->values();
  for (size_t i = 0; i < o.size() * 2 / 3; ++i) ASSERT_EQ(o[i], 0.0F);
}

DecodeCall packed_call(Element type) {
  DecodeCall call = decode_call({.batch = 1,
                                 .tokens = 9,
                                 .slots = 6,
                                 .entries = 6,
                                 .type = type,
                                 .state = type,
                                 .conv_state = type});
  call.cu_seqlens = integers(Element::i32, {6}, {0, 1, 1, 4, 5, 9});
  return call;
}

TEST_P(FusedDecode, Packed) {
  for (const Element type : kTypes) {
    DecodeCall call = packed_call(type);
    check(call);
    call.state_indices = integers(Element::i64, {5}, {3, 5, 0, -1, 2});
    check(call);
    // A sequence without tokens moves its state to where it goes.
    call.output_state_indices = integers(Element::i64, {5}, {1, 4, 0, 3, -1});
    check(call);
    call.output_state_indices.reset();
    Shape pool = call.state->shape();
    Shape conv = call.conv_state->shape();
    pool[0] = 20;
    conv[0] = 17;
    give_pools(&call, Array(type, pool), Array(type, conv));
    std::vector<int64_t> slots(20);
    std::iota(slots.begin(), slots.end(), 0);
    call.state_indices = integers(Element::i32, {5, 4}, slots);
    call.num_accepted_tokens = integers(Element::i32, {5}, {1, 4, 2, 3, 1});
    check(call);
    call.flags |= GDN_ROUND_STATES;
    check(call);
  }
}

// Tokens after the end of cu_seqlens hold NaN and are neither read nor written.
TEST_P(FusedDecode, PaddedBuffers) {
  for (const Element type : kTypes) {
    DecodeCall exact = packed_call(type);
    check(exact);
    DecodeCall padded = exact;
    padded.flags |= GDN_PADDED;
    for (Operand *operand : {&padded.mixed_qkv, &padded.a, &padded.b, &padded.z, &padded.o}) {
      Shape shape = (*operand)->shape();
      shape[1] += 3;
      std::vector<float> values = (*operand)->values();
      Array longer((*operand)->type(), shape);
      values.resize(static_cast<size_t>(longer.size()), std::numeric_limits<float>::quiet_NaN());
      longer.assign(values);
      *operand = longer;
    }
    padded.state = Array(type, exact.state->shape());
    padded.conv_state = Array(type, exact.conv_state->shape());
    reset(padded);
    const std::vector<unsigned char> poison = padded.o->bytes();
    ASSERT_EQ(padded.run(GetParam()), "");
    EXPECT_EQ(damage(padded), "");
    std::vector<unsigned char> expected = exact.o->bytes();
    expected.insert(expected.end(), poison.begin() + static_cast<int64_t>(expected.size()),
                    poison.end());
    EXPECT_EQ(padded.o->bytes(), expected);
    EXPECT_EQ(padded.state->bytes(), exact.state->bytes());
    EXPECT_EQ(padded.conv_state->bytes(), exact.conv_state->bytes());
  }
}

TEST_P(FusedDecode, OfNothing) {
  DecodeCall call = decode_call({.batch = 0});
  check(call);
  call = decode_call({.batch = 2, .tokens = 0});
  check(call);
}

}  // namespace
}  // namespace gdn::testing
