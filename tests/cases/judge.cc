#include "cases/judge.h"

#include <cstdio>

namespace gdn::testing {
namespace {

// Rows (b, t, h) of o in blocks of one head of one sequence.
std::vector<int64_t> blocks_of_o(const DeltaRuleCall &call) {
  const Shape &shape = call.o->shape();
  const int64_t heads = shape[2];
  std::vector<int64_t> blocks;
  const bool packed = call.cu_seqlens.has_value();
  const int64_t rows = packed ? static_cast<int64_t>(call.lengths.size()) : shape[0];
  for (int64_t n = 0; n < rows; ++n) {
    const int64_t length = packed ? call.lengths[static_cast<size_t>(n)] : shape[1];
    for (int64_t t = 0; t < length; ++t) {
      for (int64_t h = 0; h < heads; ++h) blocks.push_back(n * heads + h);
    }
  }
  return blocks;
}

// Rows (n, h, r) of a state in blocks (n, h).
std::vector<int64_t> blocks_of_state(const Shape &shape) {
  std::vector<int64_t> blocks;
  for (int64_t block = 0; block < shape[0] * shape[1]; ++block) {
    blocks.insert(blocks.end(), static_cast<size_t>(shape[2]), block);
  }
  return blocks;
}

std::string complaint(const char *what, const Error &error, const Tolerance &tolerance) {
  // Written so that NaN fails.
  if (error.finite && error.total <= tolerance.total && error.worst_block <= tolerance.block) {
    return "";
  }
  char text[256];
  std::snprintf(text, sizeof(text),
                "%s: relative RMS error %.3g (bound %.3g), worst block %lld: %.3g (bound %.3g)%s. ",
                what, error.total, tolerance.total, static_cast<long long>(error.block),
                error.worst_block, tolerance.block, error.finite ? "" : ", not all finite");
  return text;
}

}  // namespace

Expected expect(const DeltaRuleCall &call) {
  DeltaRuleCall wide = call.widened();
  wide.reset();
  Expected expected;
  expected.failure = run(call.slot_per_token() ? Operation::recurrent : Operation::chunk, wide,
                         reference_target());
  if (!expected.failure.empty()) return expected;
  expected.o = wide.o->values();
  if (wide.state_out() != nullptr) expected.state = wide.state_out()->values();
  if (wide.checkpoints) expected.checkpoints = wide.checkpoints->values();
  return expected;
}

Tolerance tolerance_of(const Case &c, Element inputs, Element type) {
  const bool exact = inputs == Element::f32 && type == Element::f32;
  if (c.tagged(kHard)) return exact ? Tolerance{5e-5, 5e-5} : Tolerance{2e-2, 2e-2};
  return exact ? Tolerance{2e-6, 5e-5} : Tolerance{6e-3, 2e-2};
}

Verdict judge(const Case &c, const DeltaRuleCall &call, const Expected &expected) {
  Verdict verdict;
  verdict.failure = expected.failure;
  if (!verdict.failure.empty()) return verdict;
  const Element inputs = call.q->type();
  verdict.o = compare(call.o->values(), expected.o, c.dv, blocks_of_o(call), call.o->type());
  verdict.failure += complaint("o", verdict.o, tolerance_of(c, inputs, call.o->type()));

  const auto judge_states = [&](const Array &states, const std::vector<float> &values,
                                const char *what, Error *error) {
    *error = compare(states.values(), values, states.shape()[3], blocks_of_state(states.shape()),
                     states.type());
    verdict.failure += complaint(what, *error, tolerance_of(c, inputs, states.type()));
  };
  if (call.state_out() != nullptr) {
    judge_states(*call.state_out(), expected.state, "state", &verdict.state);
    const std::vector<bool> touched = call.touched_slots();
    const std::vector<float> actual = call.state_out()->values();
    const size_t size = touched.empty() ? 0 : actual.size() / touched.size();
    for (size_t slot = 0; slot < touched.size(); ++slot) {
      if (touched[slot]) continue;
      for (size_t i = slot * size; i < (slot + 1) * size; ++i) {
        if (actual[i] == call.initial_values[i]) continue;
        verdict.failure += "slot " + std::to_string(slot) + " was written. ";
        break;
      }
    }
  }
  if (call.checkpoints) {
    judge_states(*call.checkpoints, expected.checkpoints, "checkpoints", &verdict.checkpoints);
  }
  verdict.failure += call.damage();
  return verdict;
}

}  // namespace gdn::testing
