#include "cases/decode_run.h"

#include <algorithm>

#include "cases/decode_call.h"

namespace gdn::testing {
namespace {

constexpr int64_t kWidth = 4;
constexpr int64_t kMostTokens = 16;

/// The call of a case: what the delta rule's call has, around drawn operands of a layer.
DecodeCall make(const Case &c, Element type, uint64_t seed) {
  DeltaRuleCall rule = make_call(c, type, seed);
  const Element state = rule.initial_state->type();
  const int64_t longest = std::ranges::max(c.lengths);
  DecodeCall call = decode_call({.batch = c.batch,
                                 .tokens = c.tokens,
                                 .hk = c.hk,
                                 .hv = c.hv,
                                 .dk = c.dk,
                                 .dv = c.dv,
                                 .width = kWidth,
                                 .slots = rule.initial_state->shape()[0],
                                 .entries = kWidth - 1 + longest,
                                 .type = type,
                                 .state = state,
                                 .conv_state = type},
                                seed);
  call.flags =
      rule.flags & ~static_cast<uint32_t>(GDN_USE_QK_L2NORM | GDN_USE_GATE | GDN_USE_BETA_SIGMOID);
  call.head_map = static_cast<gdn_head_map>(rule.head_map);
  call.scale = rule.scale;
  call.null_slot = rule.null_slot;
  call.state = rule.initial_state;
  call.state_values = rule.initial_values;
  call.state_indices = rule.state_indices;
  call.output_state_indices = rule.output_state_indices;
  call.num_accepted_tokens = rule.num_accepted_tokens;
  call.cu_seqlens = rule.cu_seqlens;
  return call;
}

DecodeCall widened(DecodeCall call) {
  for (std::optional<Array> *operand : call.inputs()) {
    if (*operand) *operand = (*operand)->widened();
  }
  for (std::optional<Array> *operand : call.outputs()) {
    *operand = Array(Element::f32, (*operand)->shape());
  }
  return call;
}

std::vector<std::vector<unsigned char>> bytes_of_inputs(DecodeCall *call) {
  std::vector<std::vector<unsigned char>> bytes;
  for (const std::optional<Array> *operand : call->inputs()) {
    if (*operand) bytes.push_back((*operand)->bytes());
  }
  return bytes;
}

/// A case with what the reference makes of it.
struct Prepared {
  const Case *c = nullptr;
  Element type = Element::f32;
  uint64_t seed = 0;
  DecodeCall call, expected;
  std::string failure;
};

Prepared &prepare(const Case &c, Element type, uint64_t seed) {
  static Prepared latest;
  if (latest.c == &c && latest.type == type && latest.seed == seed) return latest;
  latest = {&c, type, seed, make(c, type, seed), {}, {}};
  latest.expected = widened(latest.call);
  reset(latest.expected);
  latest.failure = latest.expected.run(reference_target());
  if (!latest.failure.empty()) latest.failure = "The reference refuses the call: " + latest.failure;
  return latest;
}

/// Each entry of dimension 0 and each head or channel of it is a block.
Error error_of(const Array &actual, const Array &expected, int heads) {
  const Shape &shape = actual.shape();
  const int64_t rows = actual.size() / shape.back();
  std::vector<int64_t> blocks(static_cast<size_t>(rows));
  int64_t inner = 1;
  for (size_t d = static_cast<size_t>(heads) + 1; d + 1 < shape.size(); ++d) inner *= shape[d];
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t entry = r * shape[0] / rows;
    blocks[static_cast<size_t>(r)] =
        entry * shape[static_cast<size_t>(heads)] + r / inner % shape[static_cast<size_t>(heads)];
  }
  return compare(actual.values(), expected.values(), shape.back(), blocks, actual.type());
}

}  // namespace

bool for_decode(const Case &c) {
  const auto has_one_of = [&](auto... options) { return (c.has(options) || ...); };
  const bool known = !has_one_of(kHasInitialState, kPadded, kNoG, kNoBeta, kNoFinalState);
  const bool starts = has_one_of(kInitialState, kPool, kSlotPerToken, kOutputPerToken);
  const bool few = std::ranges::all_of(c.lengths, [](int64_t n) { return n <= kMostTokens; });
  return known && starts && few && !c.chunk_only() && c.tagged(kRecurrent);
}

Verdict run_decode(const Case &c, Element type, const Target &target, uint64_t seed) {
  Prepared &p = prepare(c, type, seed);
  Verdict verdict;
  verdict.failure = p.failure;
  if (!p.failure.empty()) return verdict;
  const auto before = bytes_of_inputs(&p.call);
  reset(p.call);
  gdn_status status = GDN_OK;
  verdict.failure = p.call.run(target, 0, &status);
  if (!verdict.failure.empty()) {
    verdict.served = status != GDN_UNSUPPORTED;
    return verdict;
  }
  verdict.o = error_of(*p.call.o, *p.expected.o, 2);
  verdict.state = error_of(*p.call.state, *p.expected.state, 1);
  const Error conv = error_of(*p.call.conv_state, *p.expected.conv_state, 1);
  verdict.failure = complaint("o", verdict.o, tolerance_of(c, type, type));
  verdict.failure +=
      complaint("states", verdict.state, tolerance_of(c, type, p.call.state->type()));
  verdict.failure += complaint("convolution states", conv, tolerance_of(c, type, type));
  for (std::optional<Array> *operand : p.call.outputs()) verdict.failure += (*operand)->damage();
  if (bytes_of_inputs(&p.call) != before) verdict.failure += "An input was modified. ";
  return verdict;
}

}  // namespace gdn::testing
