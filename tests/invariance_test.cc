// Promises about bits: the same from run to run, for any number of threads, packed or alone, cut at
// multiples of 64 tokens and resumed, with any strides and alignment, and whatever the neighbours
// hold. Bytes are compared, never values.

#include <gtest/gtest.h>

#include <cmath>

#include "own_case.h"

namespace gdn::testing {
namespace {

using Bytes = std::vector<unsigned char>;

struct Outputs {
  Bytes o, state, checkpoints;

  bool operator==(const Outputs &) const = default;
};

Outputs outputs_of(const DeltaRuleCall &call) {
  Outputs out;
  out.o = call.o->bytes();
  if (call.state_out() != nullptr) out.state = call.state_out()->bytes();
  if (call.checkpoints) out.checkpoints = call.checkpoints->bytes();
  return out;
}

Outputs run_call(Operation operation, DeltaRuleCall &call, const Target &target, int threads = 0,
                 uint32_t flags = 0) {
  call.reset();
  EXPECT_EQ(run(operation, call, target, threads, flags), "");
  EXPECT_EQ(call.damage(), "");
  return outputs_of(call);
}

// `values` of indices [from, from + count) of dimension `axis` as a compact array of `type`.
Array slice(const Array &array, size_t axis, int64_t from, int64_t count) {
  const Shape &all = array.shape();
  Shape shape = all;
  shape[axis] = count;
  int64_t outer = 1;
  int64_t inner = 1;
  for (size_t d = 0; d < axis; ++d) outer *= all[d];
  for (size_t d = axis + 1; d < all.size(); ++d) inner *= all[d];
  const std::vector<float> values = array.values();
  std::vector<float> part;
  for (int64_t i = 0; i < outer; ++i) {
    const auto begin = values.begin() + (i * all[axis] + from) * inner;
    part.insert(part.end(), begin, begin + count * inner);
  }
  Array result(array.type(), shape);
  result.assign(part);
  return result;
}

// Tokens [from, from + count) of a packed call as a call of one sequence. The state of sequence n
// comes from `state` (one entry).
DeltaRuleCall part_of(const DeltaRuleCall &call, int64_t from, int64_t count, const Array &state) {
  DeltaRuleCall part = call;
  part.lengths = {count};
  for (auto field : {&DeltaRuleCall::q, &DeltaRuleCall::k, &DeltaRuleCall::v, &DeltaRuleCall::g,
                     &DeltaRuleCall::beta}) {
    part.*field = slice(*(call.*field), 1, from, count);
  }
  part.cu_seqlens.reset();
  part.initial_state = state;
  part.initial_values = state.values();
  part.final_state = Array(Element::f32, state.shape());
  part.o = Array(call.o->type(), part.v->shape());
  return part;
}

// Rows of tokens [from, from + count) of o's bytes.
Bytes rows_of(const DeltaRuleCall &call, const Bytes &o, int64_t from, int64_t count) {
  const auto row = static_cast<int64_t>(o.size()) / call.o->shape()[1];
  return {o.begin() + from * row, o.begin() + (from + count) * row};
}

Bytes entry_of(const Bytes &state, int64_t entries, int64_t n) {
  const auto size = static_cast<int64_t>(state.size()) / entries;
  return {state.begin() + n * size, state.begin() + (n + 1) * size};
}

class InvarianceTest : public ::testing::TestWithParam<std::tuple<Target, Element>> {
 protected:
  void SetUp() override {
    if (!target().supported) GTEST_SKIP() << target().name() << " cannot run on this machine";
  }
  static const Target &target() { return std::get<0>(GetParam()); }
  static Element type() { return std::get<1>(GetParam()); }
  static DeltaRuleCall call_named(std::string_view name) {
    return make_call(case_named(name), type());
  }
};

INSTANTIATE_TEST_SUITE_P(Cpu, InvarianceTest,
                         ::testing::Combine(::testing::ValuesIn(tested_targets()),
                                            ::testing::Values(Element::f32, Element::bf16,
                                                              Element::f16)),
                         [](const auto &parameter) {
                           return std::get<0>(parameter.param).name() + "_" +
                                  name_of(std::get<1>(parameter.param));
                         });

TEST_P(InvarianceTest, RunsAndThreads) {
  for (const char *name : {"strided_batch", "checkpoints_64", "everything", "dims_96x40",
                           "empty_and_single", "invariance_heads"}) {
    SCOPED_TRACE(name);
    DeltaRuleCall call = call_named(name);
    const Outputs once = run_call(Operation::chunk, call, target(), 1);
    for (int threads = 1; threads <= 8; ++threads) {
      EXPECT_EQ(run_call(Operation::chunk, call, target(), threads), once) << threads;
    }
  }
}

TEST_P(InvarianceTest, RunsAndThreadsOfDecode) {
  for (const char *name : {"decode_8_pool", "verify_slots_negative", "recurrent_strided"}) {
    SCOPED_TRACE(name);
    DeltaRuleCall call = call_named(name);
    const Outputs once = run_call(Operation::recurrent, call, target(), 1);
    for (int threads = 1; threads <= 8; ++threads) {
      EXPECT_EQ(run_call(Operation::recurrent, call, target(), threads), once) << threads;
    }
  }
}

TEST_P(InvarianceTest, PackedOrAlone) {
  for (const Operation operation : {Operation::chunk, Operation::recurrent}) {
    DeltaRuleCall packed = call_named("invariance_packed");
    const Outputs together = run_call(operation, packed, target());
    const auto count = static_cast<int64_t>(packed.lengths.size());
    int64_t begin = 0;
    for (int64_t n = 0; n < count; ++n) {
      SCOPED_TRACE(n);
      const int64_t length = packed.lengths[static_cast<size_t>(n)];
      DeltaRuleCall alone = part_of(packed, begin, length, slice(*packed.initial_state, 0, n, 1));
      const Outputs single = run_call(operation, alone, target());
      if (length > 0) {
        EXPECT_EQ(single.o, rows_of(packed, together.o, begin, length));
      }
      EXPECT_EQ(single.state, entry_of(together.state, count, n));
      begin += length;
    }
  }
}

TEST_P(InvarianceTest, PrefillInPieces) {
  DeltaRuleCall whole = call_named("invariance_long");
  const Outputs expected = run_call(Operation::chunk, whole, target(), 0, GDN_EXEC_NO_SPLIT);
  for (const std::vector<int64_t> &cuts :
       {std::vector<int64_t>{0, 64, 500}, {0, 128, 192, 448, 500}, {0, 320, 500}}) {
    Array state = *whole.initial_state;
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      const int64_t count = cuts[i + 1] - cuts[i];
      DeltaRuleCall piece = part_of(whole, cuts[i], count, state);
      const Outputs out = run_call(Operation::chunk, piece, target(), 0, GDN_EXEC_NO_SPLIT);
      EXPECT_EQ(out.o, rows_of(whole, expected.o, cuts[i], count)) << "token " << cuts[i];
      state = *piece.final_state;
    }
    EXPECT_EQ(state.bytes(), expected.state);
  }
}

// Same values, other strides and addresses.
void relayout(DeltaRuleCall *call, const std::vector<int> &order, int64_t gap, int64_t spare) {
  for (auto field : {&DeltaRuleCall::q, &DeltaRuleCall::k, &DeltaRuleCall::v, &DeltaRuleCall::g,
                     &DeltaRuleCall::beta, &DeltaRuleCall::o}) {
    const Array &from = *(call->*field);
    std::vector<int> own = order;
    if (from.shape().size() == 3) own.pop_back();
    Array to(from.type(), from.shape(), {padded_strides(from.shape(), own, gap), spare});
    to.assign(from.values());
    call->*field = to;
  }
  for (auto field : {&DeltaRuleCall::initial_state, &DeltaRuleCall::final_state}) {
    const Array &from = *(call->*field);
    Array to(from.type(), from.shape(), {padded_strides(from.shape(), {0, 1, 2, 3}, gap), spare});
    to.assign(from.values());
    call->*field = to;
  }
}

TEST_P(InvarianceTest, StridesAndAlignment) {
  for (const Operation operation : {Operation::chunk, Operation::recurrent}) {
    DeltaRuleCall plain = call_named("invariance_packed");
    const Outputs expected = run_call(operation, plain, target());
    const std::vector<int> orders[] = {{0, 1, 2, 3}, {0, 2, 1, 3}, {2, 1, 0, 3}};
    for (const std::vector<int> &order : orders) {
      for (const int64_t gap : {0, 1, 8}) {
        for (const int64_t spare : {0, 1, 7, 16}) {
          DeltaRuleCall other = plain;
          relayout(&other, order, gap, spare);
          EXPECT_EQ(run_call(operation, other, target()), expected)
              << "order " << order[0] << order[1] << order[2] << ", gap " << gap << ", spare "
              << spare;
        }
      }
    }
  }
}

// States of one token whose rows start anywhere in a cache line, in place and not, beside rows that
// all start with one: kernels may read the two in different ways.
TEST_P(InvarianceTest, StateRowsOnAnyLine) {
  for (const int64_t width : {129, 161, 200, 250, 255, 511}) {
    const OwnCase own({1, 1, 1}, 2, 70, width, kInitialState);
    const DeltaRuleCall plain = own.draw(type());
    const Shape shape = plain.initial_state->shape();
    const auto state = [&](int64_t gap, int64_t spare) {
      const int64_t row = width + gap;
      const int64_t head = shape[2] * row;
      Array to(Element::f32, shape, {{shape[1] * head, head, row, 1}, spare});
      to.assign(plain.initial_values);
      return to;
    };
    const int64_t aligned = (16 - width % 16) % 16;
    DeltaRuleCall call = plain;
    call.initial_state = state(aligned, 0);
    call.final_state = state(aligned, 0);
    const Outputs expected = run_call(Operation::recurrent, call, target());
    for (const int64_t gap : {int64_t{0}, int64_t{1}, int64_t{18}, aligned}) {
      for (const int64_t spare : {0, 1, 5, 8}) {
        SCOPED_TRACE(std::to_string(width) + ", gap " + std::to_string(gap) + ", spare " +
                     std::to_string(spare));
        call = plain;
        call.initial_state = state(gap, spare);
        call.final_state = state(1, 3);
        EXPECT_EQ(run_call(Operation::recurrent, call, target()), expected);
        call.final_state.reset();
        call.in_place = true;
        EXPECT_EQ(run_call(Operation::recurrent, call, target()), expected) << "in place";
      }
    }
  }
}

// A sequence full of NaN and one of infinities leave their neighbours' bits alone.
TEST_P(InvarianceTest, NeighboursHoldNan) {
  for (const Operation operation : {Operation::chunk, Operation::recurrent}) {
    DeltaRuleCall call = call_named("invariance_packed");
    const Outputs expected = run_call(operation, call, target());
    std::vector<int64_t> starts = {0};
    for (const int64_t length : call.lengths) starts.push_back(starts.back() + length);
    const auto spoil = [&](Array &array, size_t n, float value) {
      std::vector<float> values = array.values();
      const int64_t row = array.size() / array.shape()[1];
      std::fill(values.begin() + starts[n] * row, values.begin() + starts[n + 1] * row, value);
      array.assign(values);
    };
    for (auto field :
         {&DeltaRuleCall::q, &DeltaRuleCall::k, &DeltaRuleCall::v, &DeltaRuleCall::beta}) {
      call.*field = slice(*(call.*field), 1, 0, starts.back());
      for (size_t n = 0; n < call.lengths.size(); n += 2) {
        spoil(*(call.*field), n, n % 4 == 0 ? NAN : INFINITY);
      }
    }
    const Outputs spoiled = run_call(operation, call, target());
    const auto count = static_cast<int64_t>(call.lengths.size());
    for (int64_t n = 1; n < count; n += 2) {
      SCOPED_TRACE(n);
      const auto i = static_cast<size_t>(n);
      EXPECT_EQ(rows_of(call, spoiled.o, starts[i], call.lengths[i]),
                rows_of(call, expected.o, starts[i], call.lengths[i]));
      EXPECT_EQ(entry_of(spoiled.state, count, n), entry_of(expected.state, count, n));
    }
  }
}

// A pool, a state in place and a fresh state are the same computation.
TEST_P(InvarianceTest, PoolOrFresh) {
  for (const Operation operation : {Operation::chunk, Operation::recurrent}) {
    DeltaRuleCall fresh = call_named("invariance_packed");
    const Outputs expected = run_call(operation, fresh, target());

    DeltaRuleCall in_place = fresh;
    in_place.initial_state = slice(*fresh.initial_state, 0, 0, fresh.initial_state->shape()[0]);
    in_place.final_state.reset();
    in_place.in_place = true;
    EXPECT_EQ(run_call(operation, in_place, target()), expected);

    DeltaRuleCall pool = in_place;
    pool.in_place = false;
    const auto count = static_cast<int64_t>(fresh.lengths.size());
    std::vector<int64_t> index;
    for (int64_t n = 0; n < count; ++n) index.push_back(n);
    pool.state_indices = Array(Element::i64, {count});
    pool.state_indices->assign(index);
    EXPECT_EQ(run_call(operation, pool, target()), expected);
  }
}

}  // namespace
}  // namespace gdn::testing
