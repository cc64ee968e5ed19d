#include "cases/judge.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

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

// Elements of o that belong to sequences.
size_t o_in_sequences(const DeltaRuleCall &call) {
  const Shape &shape = call.o->shape();
  const int64_t tokens = call.cu_seqlens ? call.sequence_tokens() : shape[0] * shape[1];
  return static_cast<size_t>(tokens * shape[2] * shape[3]);
}

}  // namespace

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

Expected expect(const DeltaRuleCall &call) {
  DeltaRuleCall wide = call.widened();
  wide.reset();
  Expected expected;
  expected.failure = run(call.recurrent_only() ? Operation::recurrent : Operation::chunk, wide,
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
  const std::vector<float> o = call.o->values();
  const size_t judged = o_in_sequences(call);
  verdict.o = compare({o.begin(), o.begin() + static_cast<int64_t>(judged)},
                      {expected.o.begin(), expected.o.begin() + static_cast<int64_t>(judged)}, c.dv,
                      blocks_of_o(call), call.o->type());
  verdict.failure += complaint("o", verdict.o, tolerance_of(c, inputs, call.o->type()));
  // The elements of the padding still hold what reset() left there.
  if (std::any_of(o.begin() + static_cast<int64_t>(judged), o.end(),
                  [](float e) { return !std::isnan(e); })) {
    verdict.failure += "o was written after the end of cu_seqlens. ";
  }

  const auto judge_states = [&](const Array &states, std::vector<float> actual,
                                const std::vector<bool> &written, const std::vector<float> &before,
                                const std::vector<float> &values, const char *what, Error *error) {
    // What may not be written has kept its bits, and counts no more.
    const size_t size = written.empty() ? 0 : actual.size() / written.size();
    std::vector<float> wanted = values;
    for (size_t entry = 0; entry < written.size(); ++entry) {
      if (written[entry]) continue;
      if (std::memcmp(&actual[entry * size], &before[entry * size], size * sizeof(float)) != 0) {
        verdict.failure += std::string(what) + " " + std::to_string(entry) + " was written. ";
      }
      std::fill_n(actual.begin() + static_cast<int64_t>(entry * size), size, 0.0F);
      std::fill_n(wanted.begin() + static_cast<int64_t>(entry * size), size, 0.0F);
    }
    *error =
        compare(actual, wanted, states.shape()[3], blocks_of_state(states.shape()), states.type());
    verdict.failure += complaint(what, *error, tolerance_of(c, inputs, states.type()));
  };
  if (call.state_out() != nullptr) {
    judge_states(*call.state_out(), call.state_out()->values(), call.touched_slots(),
                 call.initial_values, expected.state, "state", &verdict.state);
  }
  if (call.checkpoints) {
    Array poisoned(call.checkpoints->type(), call.checkpoints->shape());
    poisoned.poison();
    std::vector<bool> written;
    for (size_t n = 0; n < call.lengths.size(); ++n) {
      written.insert(written.end(), static_cast<size_t>(call.checkpoint_count(n)), !call.skips(n));
    }
    judge_states(*call.checkpoints, call.checkpoints->values(), written, poisoned.values(),
                 expected.checkpoints, "checkpoints", &verdict.checkpoints);
  }
  verdict.failure += call.damage();
  return verdict;
}

}  // namespace gdn::testing
