#ifndef GDN_TESTS_LAYER_FIXTURE_H_
#define GDN_TESTS_LAYER_FIXTURE_H_

// Inputs of the operations around the delta rule, and their comparison with the reference.

#include <gtest/gtest.h>

#include <functional>
#include <numeric>

#include "case_test.h"
#include "cases/layer_call.h"
#include "cases/random.h"

namespace gdn::testing {

constexpr Element kTypes[] = {Element::f32, Element::bf16, Element::f16};

inline std::vector<float> normals(int64_t n, const std::string &stream, float factor = 1.0F) {
  Random random(7, stream);
  std::vector<float> x(static_cast<size_t>(n));
  for (float &e : x) e = factor * random.normal();
  return x;
}

inline Array drawn(Element type, const Shape &shape, const std::string &stream, Layout layout = {},
                   float factor = 1.0F) {
  Array array(type, shape, std::move(layout));
  array.assign(normals(array.size(), stream, factor));
  return array;
}

inline Array integers(Element type, const Shape &shape, const std::vector<int64_t> &values) {
  Array array(type, shape);
  array.assign(values);
  return array;
}

// Each entry of dimension 0 is a block.
inline void expect_close(const Array &actual, const Array &expected, Element inputs,
                         const char *what) {
  const Shape &shape = actual.shape();
  const int64_t rows = actual.size() / shape.back();
  std::vector<int64_t> blocks(static_cast<size_t>(rows));
  for (int64_t r = 0; r < rows; ++r) blocks[static_cast<size_t>(r)] = r * shape[0] / rows;
  const Error error =
      compare(actual.values(), expected.values(), shape.back(), blocks, actual.type());
  const bool exact = inputs == Element::f32 && actual.type() == Element::f32;
  EXPECT_TRUE(error.finite) << what;
  EXPECT_LE(error.total, exact ? 2e-6 : 6e-3) << what;
  EXPECT_LE(error.worst_block, exact ? 5e-5 : 2e-2) << what << ", block " << error.block;
}

class LayerTest : public ::testing::TestWithParam<Target> {
 protected:
  void SetUp() override {
    if (!GetParam().supported) GTEST_SKIP() << GetParam().name() << " cannot run on this machine";
  }

  // Runs a call on the target and compares all its outputs with the reference's.
  template <class Call>
  void check(Call call) {
    Call expected = widened(call);
    ASSERT_EQ(expected.run(reference_target()), "");
    const std::vector<unsigned char> before = input_bytes(call);
    std::vector<std::vector<unsigned char>> first;
    for (const int threads : {1, 3, 8}) {
      reset(call);
      ASSERT_EQ(call.run(GetParam(), threads), "");
      EXPECT_EQ(damage(call), "");
      EXPECT_EQ(input_bytes(call), before) << "an input was modified";
      const std::vector<Operand *> outputs = call.outputs();
      for (size_t i = 0; i < outputs.size(); ++i) {
        if (!*outputs[i]) continue;
        const std::vector<unsigned char> bytes = (*outputs[i])->bytes();
        if (threads == 1) {
          first.push_back(bytes);
          if (bytes.empty()) continue;
          expect_close(**outputs[i], **expected.outputs()[i], (*call.inputs()[0])->type(),
                       i == 0 ? "output 0" : "output 1");
        } else {
          EXPECT_EQ(bytes, first[first.size() > 1 ? i : 0]) << threads << " threads";
        }
      }
    }
  }
};

// Channels last in memory, as a model has them: [B, C, T] with unit stride over C.
inline Layout channels_last(const Shape &shape, int64_t gap) {
  return {padded_strides(shape, {0, 2, 1}, gap), 0};
}

inline ConvCall conv(Element type, const Shape &shape, int64_t width, bool last) {
  ConvCall call;
  const Layout layout = last ? channels_last(shape, 3) : Layout{};
  call.x = drawn(type, shape, "x", layout);
  call.y = Array(type, shape, layout);
  call.weight = drawn(type, {shape[1], width}, "weight");
  return call;
}

// A pool of states, of the type of x or another.
inline void give_state(ConvCall *call, int64_t slots, int64_t length, bool last,
                       std::optional<Element> type = {}) {
  const Shape shape = {slots, call->x->shape()[1], length};
  call->conv_state = drawn(type.value_or(call->x->type()), shape, "state",
                           last ? channels_last(shape, 5) : Layout{});
  call->state_values = call->conv_state->values();
}

}  // namespace gdn::testing

#endif  // GDN_TESTS_LAYER_FIXTURE_H_
