// The convolutions on pools as servers have them: update steps of different lengths packed in one
// row, slots that are skipped, states of another type than x, buffers longer than what is in them.

#include <limits>

#include "layer_fixture.h"

namespace gdn::testing {
namespace {

using ConvPool = LayerTest;

INSTANTIATE_TEST_SUITE_P(Cpu, ConvPool, ::testing::ValuesIn(tested_targets()),
                         [](const auto &target) { return target.param.name(); });

using Lengths = std::vector<int64_t>;

Array offsets(const Lengths &lengths) {
  std::vector<int64_t> cu = {0};
  for (const int64_t length : lengths) cu.push_back(cu.back() + length);
  return integers(Element::i32, {static_cast<int64_t>(cu.size())}, cu);
}

// Update steps of these lengths in one row, with a slot each.
ConvCall packed_update(Element type, const Lengths &lengths, int64_t channels, int64_t width,
                       bool last) {
  const int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  ConvCall call = conv(type, {1, channels, tokens}, width, last);
  call.update = true;
  call.flags = GDN_SILU;
  call.cu_seqlens = offsets(lengths);
  return call;
}

// Tokens [begin, begin + count) of channel-major values [1, C, T].
std::vector<float> columns(const std::vector<float> &x, int64_t channels, int64_t begin,
                           int64_t count) {
  const int64_t tokens = static_cast<int64_t>(x.size()) / channels;
  std::vector<float> out;
  for (int64_t c = 0; c < channels; ++c) {
    const auto from = x.begin() + c * tokens + begin;
    out.insert(out.end(), from, from + count);
  }
  return out;
}

TEST_P(ConvPool, PackedUpdate) {
  for (const Element type : kTypes) {
    for (const bool last : {false, true}) {
      for (const int64_t width : {2, 3, 4}) {
        ConvCall call = packed_update(type, {1, 0, 4, 1, 2}, 43, width, last);
        give_state(&call, 5, width - 1, last);
        check(call);
        call.bias = drawn(type, {43}, "bias");
        give_state(&call, 8, width + 2, last);
        call.state_indices = integers(Element::i64, {5}, {7, 3, 2, -1, 4});
        check(call);
      }
    }
  }
}

TEST_P(ConvPool, PackedUpdateAfterRejectedDrafts) {
  for (const Element type : kTypes) {
    for (const int64_t width : {2, 3, 4}) {
      for (const bool last : {false, true}) {
        ConvCall call = packed_update(type, {3, 1, 2, 0, 4, 1}, 1030, width, last);
        call.state_indices = integers(Element::i32, {6}, {2, 5, 6, 0, 3, -2});
        call.num_accepted_tokens = integers(Element::i32, {6}, {1, 4, 2, 0, 3, 77});
        for (const int64_t spare : {0, 1, 3}) {
          give_state(&call, 7, width + 2 + spare, last);
          check(call);
        }
      }
    }
  }
}

// What the packed form says of a slot: a sequence that is verified in steps of changing lengths,
// some of whose drafts are rejected, gives what its accepted tokens give at once.
TEST_P(ConvPool, VerifyInStepsOfChangingLengths) {
  constexpr int64_t kChannels = 29;
  constexpr int64_t kWidth = 4;
  constexpr int64_t kEntries = 7;  // Room for steps of five tokens.
  struct Step {
    int64_t tokens, accepted;
  };
  const std::vector<Step> steps = {{3, 1}, {5, 5}, {1, 1}, {4, 2}, {2, 2}, {5, 3}};
  int64_t total = 6;
  for (const Step &step : steps) total += step.accepted;
  for (const Element type : kTypes) {
    ConvCall whole = conv(type, {1, kChannels, total}, kWidth, true);
    reset(whole);
    ASSERT_EQ(whole.run(GetParam()), "");
    const std::vector<float> x = whole.x->values();
    const std::vector<float> y = whole.y->values();
    const std::vector<float> rejected = drawn(type, {1, kChannels, 8}, "rejected").values();

    // The prompt leaves its last inputs in the first entries of slot 1.
    Array pool(type, {3, kChannels, kEntries});
    pool.assign(normals(pool.size(), "old"));
    ConvCall prompt = conv(type, {1, kChannels, 6}, kWidth, true);
    prompt.x->assign(columns(x, kChannels, 0, 6));
    Array front(type, {1, kChannels, kWidth - 1});
    front.assign(normals(front.size(), "front"));
    prompt.conv_state = front;
    prompt.has_initial_state = integers(Element::u8, {1}, {0});
    ASSERT_EQ(prompt.run(GetParam()), "");
    std::vector<float> values = pool.values();
    const std::vector<float> kept = front.values();
    for (int64_t c = 0; c < kChannels; ++c) {
      for (int64_t i = 0; i < kWidth - 1; ++i) {
        values[static_cast<size_t>((kChannels + c) * kEntries + i)] =
            kept[static_cast<size_t>(c * (kWidth - 1) + i)];
      }
    }
    pool.assign(values);

    int64_t done = 6;
    int64_t accepted = 1;
    for (const Step &step : steps) {
      // The tokens of the step: what will be accepted of it, then drafts.
      std::vector<float> step_x;
      for (int64_t c = 0; c < kChannels; ++c) {
        for (int64_t t = 0; t < step.tokens; ++t) {
          step_x.push_back(t < step.accepted ? x[static_cast<size_t>(c * total + done + t)]
                                             : rejected[static_cast<size_t>(c * 8 + t)]);
        }
      }
      ConvCall call = packed_update(type, {step.tokens}, kChannels, kWidth, false);
      call.flags = 0;
      call.x->assign(step_x);
      call.weight = whole.weight;
      call.conv_state = pool;
      call.state_indices = integers(Element::i32, {1}, {1});
      call.num_accepted_tokens = integers(Element::i32, {1}, {accepted});
      ASSERT_EQ(call.run(GetParam()), "");
      EXPECT_EQ(columns(call.y->values(), kChannels, 0, step.accepted),
                columns(y, kChannels, done, step.accepted));
      done += step.accepted;
      accepted = step.accepted;
    }
  }
}

// Where the slot has just the room that steps of one length need, packed or not is the same.
TEST_P(ConvPool, PackedAsUnpacked) {
  for (const Element type : kTypes) {
    ConvCall rows = conv(type, {3, 21, 4}, 3, true);
    rows.update = true;
    give_state(&rows, 3, 5, false);
    rows.num_accepted_tokens = integers(Element::i64, {3}, {4, 1, 3});
    ConvCall row = packed_update(type, {4, 4, 4}, 21, 3, true);
    row.flags = 0;
    row.weight = rows.weight;
    row.num_accepted_tokens = rows.num_accepted_tokens;
    give_state(&row, 3, 5, false);
    std::vector<float> x;
    for (int64_t c = 0; c < 21; ++c) {
      for (int64_t n = 0; n < 3; ++n) {
        const std::vector<float> all = rows.x->values();
        const auto from = all.begin() + (n * 21 + c) * 4;
        x.insert(x.end(), from, from + 4);
      }
    }
    row.x->assign(x);
    reset(rows);
    reset(row);
    ASSERT_EQ(rows.run(GetParam()), "");
    ASSERT_EQ(row.run(GetParam()), "");
    EXPECT_EQ(row.conv_state->bytes(), rows.conv_state->bytes());
    const std::vector<float> y = rows.y->values();
    for (int64_t n = 0; n < 3; ++n) {
      const std::vector<float> expected(y.begin() + n * 21 * 4, y.begin() + (n + 1) * 21 * 4);
      EXPECT_EQ(columns(row.y->values(), 21, n * 4, 4), expected);
    }
  }
}

// Several rows name the null slot, which is not written. Without the flag it is a slot as others.
TEST_P(ConvPool, NullSlot) {
  for (const bool update : {false, true}) {
    ConvCall call = packed_update(Element::bf16, {1, 3, 2, 1, 2}, 70, 4, true);
    call.update = update;
    call.state_indices = integers(Element::i32, {5}, {2, 4, 2, -1, 2});
    if (update) {
      call.num_accepted_tokens = integers(Element::i32, {5}, {0, 2, 99, 0, -5});
    } else {
      call.has_initial_state = integers(Element::i32, {5}, {1, 1, 0, 1, 1});
    }
    give_state(&call, 5, 6, true);
    call.null_slot = 2;
    ASSERT_NE(call.run(GetParam()).find("twice"), std::string::npos);
    call.flags |= GDN_HAS_NULL_SLOT;
    check(call);
    const std::vector<float> y = call.y->values();
    const std::vector<float> after = call.conv_state->values();
    for (int64_t c = 0; c < 70; ++c) {
      for (const int64_t t : {0, 4, 5, 6, 7, 8}) {
        EXPECT_EQ(y[static_cast<size_t>(c * 9 + t)], 0.0F);
      }
    }
    const int64_t slot = 70 * 6;
    for (int64_t i = 0; i < 5 * slot; ++i) {
      if (i / slot == 4) continue;
      EXPECT_EQ(after[static_cast<size_t>(i)], call.state_values[static_cast<size_t>(i)]);
    }
  }
}

// A null slot outside the pool, as -1 and others pad with.
TEST_P(ConvPool, NullSlotOutsideThePool) {
  ConvCall call = conv(Element::f32, {3, 9, 1}, 4, false);
  call.update = true;
  give_state(&call, 2, 3, false);
  call.state_indices = integers(Element::i64, {3}, {1000000, 1, 1000000});
  ASSERT_NE(call.run(GetParam()).find("expected a slot below 2"), std::string::npos);
  call.flags = GDN_HAS_NULL_SLOT;
  call.null_slot = 1000000;
  check(call);
}

TEST_P(ConvPool, StatesOfAnotherType) {
  for (const Element type : kTypes) {
    for (const Element state : kTypes) {
      for (const bool last : {false, true}) {
        for (const int64_t width : {2, 4}) {
          ConvCall call = conv(type, {1, 37, 90}, width, last);
          call.flags = GDN_SILU;
          call.cu_seqlens = integers(Element::i32, {6}, {0, 1, 3, 40, 44, 90});
          call.has_initial_state = integers(Element::boolean, {5}, {1, 1, 0, 1, 1});
          for (const int64_t length : {width - 1, width + 1}) {
            give_state(&call, 5, length, last, state);
            check(call);
          }
          for (const int64_t tokens : {1, 2, 6}) {
            ConvCall step = conv(type, {3, 37, tokens}, width, last);
            step.update = true;
            step.state_indices = integers(Element::i32, {3}, {3, -1, 1});
            for (const int64_t length : {width - 1, width}) {
              give_state(&step, 4, length, last, state);
              check(step);
            }
          }
          ConvCall verify = packed_update(type, {2, 1, 3}, 37, width, last);
          verify.num_accepted_tokens = integers(Element::i32, {3}, {2, 3, 1});
          give_state(&verify, 3, width + 1, last, state);
          check(verify);
        }
      }
    }
  }
}

// What a state of a wider type holds is used as it is, and what it takes is not rounded.
TEST_P(ConvPool, AWiderStateIsNotRounded) {
  ConvCall call = conv(Element::bf16, {1, 16, 1}, 4, true);
  call.update = true;
  call.weight->assign(std::vector<float>(64, 1.0F));
  give_state(&call, 1, 4, false, Element::f32);
  call.state_values.assign(64, 1.0F + 0x1p-20F);
  reset(call);
  call.x->assign(std::vector<float>(16, -3.0F));
  ASSERT_EQ(call.run(GetParam()), "");
  for (const float y : call.y->values()) EXPECT_EQ(y, 3 * 0x1p-20F);
  const std::vector<float> state = call.conv_state->values();
  for (size_t i = 0; i < state.size(); ++i) {
    EXPECT_EQ(state[i], i % 4 == 3 ? -3.0F : 1.0F + 0x1p-20F);
  }
}

// Tokens after the end of cu_seqlens hold NaN and are neither read nor written.
TEST_P(ConvPool, PaddedBuffers) {
  for (const Element type : {Element::f32, Element::bf16}) {
    for (const bool update : {false, true}) {
      for (const bool last : {false, true}) {
        const Lengths lengths = {2, 0, 3, 1};
        ConvCall exact = packed_update(type, lengths, 70, 4, last);
        exact.update = update;
        if (update) exact.num_accepted_tokens = integers(Element::i32, {4}, {1, 1, 3, 2});
        give_state(&exact, 4, 5, last);
        check(exact);
        for (const int64_t spare : {1, 300}) {
          ConvCall padded = exact;
          const Shape shape = {1, 70, 6 + spare};
          const Layout layout = last ? channels_last(shape, 3) : Layout{};
          padded.x = Array(type, shape, layout);
          padded.y = Array(type, shape, layout);
          padded.flags |= GDN_PADDED;
          give_state(&padded, 4, 5, last);
          std::vector<float> x;
          for (int64_t c = 0; c < 70; ++c) {
            const std::vector<float> all = exact.x->values();
            x.insert(x.end(), all.begin() + c * 6, all.begin() + (c + 1) * 6);
            x.insert(x.end(), static_cast<size_t>(spare), std::numeric_limits<float>::quiet_NaN());
          }
          padded.x->assign(x);
          reset(padded);
          const std::vector<unsigned char> poison = padded.y->bytes();
          ASSERT_EQ(padded.run(GetParam()), "");
          EXPECT_EQ(damage(padded), "");
          EXPECT_EQ(padded.conv_state->bytes(), exact.conv_state->bytes());
          EXPECT_EQ(columns(padded.y->values(), 70, 0, 6), exact.y->values());
          const std::vector<unsigned char> y = padded.y->bytes();
          const size_t item = y.size() / static_cast<size_t>(70 * (6 + spare));
          for (size_t i = 0; i < y.size(); ++i) {
            const size_t token = i / item % static_cast<size_t>(6 + spare);
            if (token < 6) continue;
            ASSERT_EQ(y[i], poison[i]) << "token " << token << " was written";
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace gdn::testing
