#include "cases/layer_run.h"

#include <algorithm>
#include <cmath>

#include "cases/drawn.h"
#include "cases/random.h"

namespace gdn::testing {
namespace {

constexpr int64_t kMostTokens = 16;  ///< Of a decode or verify step.
constexpr int64_t kModelWidth = 4;   ///< Of the convolutions that models have.

/// Numbers that differ from case to case and are the same in each run.
uint64_t number_of(const Case &c, const char *what) {
  return hash_of(std::string(c.name) + " " + what);
}

/// Cases about something other than shapes of models also vary what a convolution has.
bool varies(const Case &c) { return (c.tags & (kHard | kSemantics | kRecurrent)) != 0; }

/// Channels last in memory, as a model has them, but where the case asks for another layout.
Layout channel_layout(const Case &c, const Shape &shape) {
  if (c.has(kHeadFirst)) return {};
  return {padded_strides(shape, {0, 2, 1}, c.has(kStrided) ? 3 : 0), 0};
}

/// q | k | v of each token as [B, C, T].
Array make_channels(const Case &c, const DeltaRuleCall &rule) {
  const Shape shape = {c.batch, 2 * c.hk * c.dk + c.hv * c.dv, c.tokens};
  std::vector<float> values(static_cast<size_t>(shape[0] * shape[1] * shape[2]));
  int64_t first = 0;
  for (const std::optional<Array> *part : {&rule.q, &rule.k, &rule.v}) {
    const std::vector<float> from = (*part)->values();
    const int64_t channels = (*part)->shape()[2] * (*part)->shape()[3];
    for (size_t i = 0; i < from.size(); ++i) {
      const int64_t token = static_cast<int64_t>(i) / channels;
      const int64_t channel = first + static_cast<int64_t>(i) % channels;
      const int64_t row = token / c.tokens * shape[1] + channel;
      values[static_cast<size_t>(row * c.tokens + token % c.tokens)] = from[i];
    }
    first += channels;
  }
  Array x(rule.q->type(), shape, channel_layout(c, shape));
  x.assign(values);
  return x;
}

/// The slots of the convolution: of [N, M] the first column, as fused_gdn_decode has it.
std::optional<Array> first_column(const std::optional<Array> &indices) {
  if (!indices || indices->shape().size() < 2) return indices;
  const Shape &shape = indices->shape();
  const std::vector<int64_t> all = indices->integers();
  std::vector<int64_t> column;
  for (size_t i = 0; i < all.size(); i += static_cast<size_t>(shape[1])) column.push_back(all[i]);
  Array array(indices->type(), {shape[0]});
  array.assign(column);
  return array;
}

ConvCall make_conv(bool update, const Case &c, Element type, uint64_t seed) {
  const DeltaRuleCall rule = make_call(c, type, seed);
  const int64_t width =
      varies(c) ? 2 + static_cast<int64_t>(number_of(c, "width") % 3) : kModelWidth;
  ConvCall call;
  call.update = update;
  call.flags = GDN_SILU | (rule.flags & (GDN_HAS_NULL_SLOT | GDN_PADDED));
  call.null_slot = rule.null_slot;
  call.x = make_channels(c, rule);
  const int64_t channels = call.x->shape()[1];
  call.y = Array(type, call.x->shape(), channel_layout(c, call.x->shape()));
  const uint64_t own = seed + number_of(c, "operands");
  call.weight = drawn(own, type, {channels, width}, "weight");
  if (varies(c) && number_of(c, "bias") % 2 == 0)
    call.bias = drawn(own, Element::f32, {channels}, "bias");
  call.cu_seqlens = rule.cu_seqlens;
  if (!rule.initial_state) return call;
  call.state_indices = first_column(rule.state_indices);
  call.has_initial_state = rule.has_initial_state;
  call.num_accepted_tokens = rule.num_accepted_tokens;
  const int64_t longest = c.lengths.empty() ? 0 : std::ranges::max(c.lengths);
  const Shape shape = {rule.initial_state->shape()[0], channels,
                       width - 1 + (update ? longest : 0)};
  const Element state = c.has(kStateBf16) ? Element::bf16 : c.has(kStateF16) ? Element::f16 : type;
  call.conv_state = Array(state, shape, channel_layout(c, shape));
  call.conv_state->assign(drawn(own, Element::f32, shape, "conv_state").values());
  call.state_values = call.conv_state->values();
  return call;
}

GatingCall make_gating(const Case &c, Element type, uint64_t seed) {
  DeltaRuleCall rule = make_call(c, type, seed);
  const uint64_t own = seed + number_of(c, "operands");
  GatingCall call;
  call.flags = rule.flags & GDN_ALLOW_NEG_EIGVAL;
  call.a = rule.g;
  call.b = rule.beta;
  call.A_log = rule.A_log ? rule.A_log : drawn(own, Element::f32, {c.hv}, "A_log");
  call.dt_bias = rule.dt_bias;
  if (!rule.A_log) call.dt_bias = drawn(own, Element::f32, {c.hv}, "dt_bias");
  call.g = Array(Element::f32, rule.g->shape());
  call.beta = Array(rule.beta->type(), rule.beta->shape());
  return call;
}

NormCall make_norm(bool rms, const Case &c, Element type, uint64_t seed) {
  const DeltaRuleCall rule = make_call(c, type, seed);
  NormCall call;
  call.rms = rms;
  call.x = rms ? rule.v : rule.k;
  call.y = Array(type, call.x->shape());
  if (!rms) return call;
  const uint64_t own = seed + number_of(c, "operands");
  call.z = drawn(own, type, call.x->shape(), "z");
  const bool wide = number_of(c, "weight") % 2 == 0;
  call.weight = drawn(own, wide ? Element::f32 : type, {c.dv}, "weight");
  return call;
}

/// A case with what the reference makes of it.
struct Latest {
  LayerOperation operation = LayerOperation::conv_fwd;
  const Case *c = nullptr;
  Element type = Element::f32;
  uint64_t seed = 0;
  LayerCall call, expected;
  std::string failure;
};

Latest &prepare_layer(LayerOperation operation, const Case &c, Element type, uint64_t seed) {
  static Latest latest;
  if (latest.operation == operation && latest.c == &c && latest.type == type &&
      latest.seed == seed) {
    return latest;
  }
  latest = {};  // Frees the memory of the one before.
  latest = {operation, &c, type, seed, make_layer_call(operation, c, type, seed), {}, {}};
  std::visit(
      [&](const auto &call) {
        auto expected = widened(call);
        latest.failure = expected.run(reference_target());
        latest.expected = std::move(expected);
      },
      latest.call);
  if (!latest.failure.empty()) latest.failure = "The reference refuses the call: " + latest.failure;
  return latest;
}

/// Judges rows of `width` elements. Types of inputs and results choose the tolerance.
Error judge_rows(const Case &c, const char *what, const Array &actual, const Array &expected,
                 int64_t width, const std::vector<int64_t> &blocks, Element inputs,
                 std::string *failure) {
  const Error error = compare(actual.values(), expected.values(), width, blocks, actual.type());
  *failure += complaint(what, error, tolerance_of(c, inputs, actual.type()));
  return error;
}

/// Blocks of [B, T, H ..]: one head of one row of the batch.
std::vector<int64_t> blocks_of_heads(const Shape &shape) {
  std::vector<int64_t> blocks;
  for (int64_t b = 0; b < shape[0]; ++b) {
    for (int64_t t = 0; t < shape[1]; ++t) {
      for (int64_t h = 0; h < shape[2]; ++h) blocks.push_back(b * shape[2] + h);
    }
  }
  return blocks;
}

/// Elements of [B, C, T] by the sequence of their token, -1 after the end of cu_seqlens.
std::vector<int64_t> sequences_of(const Case &c, const Shape &shape) {
  std::vector<int64_t> of_token(static_cast<size_t>(shape[2]), -1);
  if (c.packed) {
    size_t token = 0;
    for (size_t n = 0; n < c.lengths.size(); ++n) {
      for (int64_t i = 0; i < c.lengths[n]; ++i) of_token[token++] = static_cast<int64_t>(n);
    }
  }
  std::vector<int64_t> blocks;
  blocks.reserve(static_cast<size_t>(shape[0] * shape[1] * shape[2]));
  for (int64_t b = 0; b < shape[0]; ++b) {
    for (int64_t channel = 0; channel < shape[1]; ++channel) {
      for (int64_t t = 0; t < shape[2]; ++t) {
        blocks.push_back(c.packed ? of_token[static_cast<size_t>(t)] : b);
      }
    }
  }
  return blocks;
}

void judge_call(const Case &c, const ConvCall &call, const ConvCall &expected, Verdict *verdict) {
  std::vector<int64_t> blocks = sequences_of(c, call.y->shape());
  std::vector<float> actual = call.y->values();
  std::vector<float> wanted = expected.y->values();
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i] >= 0) continue;
    // Padding still holds what reset() left there.
    if (!std::isnan(actual[i])) verdict->failure = "y was written after the end of cu_seqlens. ";
    actual[i] = wanted[i] = 0.0F;
    blocks[i] = 0;
  }
  verdict->o = compare(actual, wanted, 1, blocks, call.y->type());
  verdict->failure += complaint("y", verdict->o, tolerance_of(c, call.x->type(), call.y->type()));
  if (!call.conv_state) return;
  // It holds inputs, rounded to its own type.
  Array state(call.conv_state->type(), call.conv_state->shape());
  state.assign(expected.conv_state->values());
  if (state.bytes() == call.conv_state->bytes()) return;
  verdict->state =
      compare(call.conv_state->values(), state.values(), 1,
              std::vector<int64_t>(static_cast<size_t>(state.size()), 0), state.type());
  verdict->failure += "conv_state differs from the inputs that it should hold. ";
}

void judge_call(const Case &c, const GatingCall &call, const GatingCall &expected,
                Verdict *verdict) {
  const std::vector<int64_t> blocks = blocks_of_heads(call.g->shape());
  // g is in float32 whatever the inputs are.
  verdict->o = judge_rows(c, "g", *call.g, *expected.g, 1, blocks, Element::f32, &verdict->failure);
  verdict->state =
      judge_rows(c, "beta", *call.beta, *expected.beta, 1, blocks, Element::f32, &verdict->failure);
}

void judge_call(const Case &c, const NormCall &call, const NormCall &expected, Verdict *verdict) {
  verdict->o = judge_rows(c, "y", *call.y, *expected.y, call.y->shape()[3],
                          blocks_of_heads(call.y->shape()), call.x->type(), &verdict->failure);
}

}  // namespace

const char *name_of(LayerOperation operation) {
  constexpr const char *kNames[] = {"causal_conv1d_fwd", "causal_conv1d_update", "fused_gdn_gating",
                                    "l2norm", "rms_norm_gated"};
  return kNames[static_cast<int>(operation)];
}

std::optional<LayerOperation> layer_operation(std::string_view name) {
  const auto *found = std::ranges::find_if(
      kLayerOperations, [&](LayerOperation operation) { return name == name_of(operation); });
  if (found == std::end(kLayerOperations)) return {};
  return *found;
}

ResultNames results_of(LayerOperation operation) {
  switch (operation) {
    case LayerOperation::conv_fwd:
    case LayerOperation::conv_update:
      return {"y", "state"};
    case LayerOperation::gating:
      return {"g", "beta"};
    case LayerOperation::l2norm:
    case LayerOperation::rms_norm:
      break;
  }
  return {"y", ""};
}

bool for_layer(LayerOperation operation, const Case &c) {
  const auto has_one_of = [&](auto... options) { return (c.has(options) || ...); };
  switch (operation) {
    case LayerOperation::conv_fwd:
      return !c.chunk_only() && !c.recurrent_only() &&
             !has_one_of(kNumAccepted, kOutputIndices, kCheckpointIndices);
    case LayerOperation::conv_update: {
      const bool few = std::ranges::all_of(c.lengths, [](int64_t n) { return n <= kMostTokens; });
      return few && c.tagged(kRecurrent) && !c.chunk_only() &&
             has_one_of(kInitialState, kPool, kSlotPerToken) &&
             !has_one_of(kOutputIndices, kOutputPerToken, kHasInitialState, kRoundStates);
    }
    case LayerOperation::gating:
      return !has_one_of(kNoG, kNoBeta, kPadded);
    case LayerOperation::l2norm:
    case LayerOperation::rms_norm:
      break;
  }
  return !c.has(kPadded);
}

LayerCall make_layer_call(LayerOperation operation, const Case &c, Element type, uint64_t seed) {
  switch (operation) {
    case LayerOperation::conv_fwd:
    case LayerOperation::conv_update:
      return make_conv(operation == LayerOperation::conv_update, c, type, seed);
    case LayerOperation::gating:
      return make_gating(c, type, seed);
    case LayerOperation::l2norm:
    case LayerOperation::rms_norm:
      break;
  }
  return make_norm(operation == LayerOperation::rms_norm, c, type, seed);
}

Verdict run_layer(LayerOperation operation, const Case &c, Element type, const Target &target,
                  uint64_t seed) {
  Latest &latest = prepare_layer(operation, c, type, seed);
  Verdict verdict;
  verdict.failure = latest.failure;
  if (!latest.failure.empty()) return verdict;
  std::visit(
      [&](auto &call) {
        using Call = std::remove_reference_t<decltype(call)>;
        const std::vector<unsigned char> before = input_bytes(call);
        reset(call);
        gdn_status status = GDN_OK;
        verdict.failure = call.run(target, 0, &status);
        verdict.served = status != GDN_UNSUPPORTED;
        if (status != GDN_OK) return;
        judge_call(c, call, std::get<Call>(latest.expected), &verdict);
        verdict.failure += damage(call);
        if (input_bytes(call) != before) verdict.failure += "An input was modified. ";
      },
      latest.call);
  return verdict;
}

}  // namespace gdn::testing
