#include <utility>
#include <vector>

#include "api/contents_check.h"
#include "api/conv_checks.h"
#include "api/operation.h"
#include "api/shapes.h"
#include "api/state_indices.h"
#include "api/state_slots_check.h"

namespace gdn::api {
namespace {

using Args = gdn_fused_gdn_decode_args;

constexpr uint32_t kFlags = GDN_HAS_SCALE | GDN_ALLOW_NEG_EIGVAL | GDN_STATE_V_FIRST | GDN_HAS_EPS |
                            GDN_HAS_NULL_SLOT | GDN_PADDED | GDN_ROUND_STATES | GDN_SIGMOID_GATE;

bool has(const Args &a, uint32_t flag) { return (a.flags & flag) != 0; }

/// Heads of `width` channels of mixed_qkv from `channel` on, as [B, T, H, D].
Tensor heads_of(const Tensor &mixed, int64_t channel, int64_t heads, int64_t width) {
  Tensor out;
  out.dtype = mixed.dtype;
  out.data = mixed.data;
  if (mixed.data != nullptr) {
    // As a number: that the address lies in memory at all is checked later, with all operands.
    const auto bytes = static_cast<uintptr_t>(channel) * dtype_size(mixed.dtype);
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    out.data = reinterpret_cast<void *>(reinterpret_cast<uintptr_t>(mixed.data) + bytes);
  }
  out.rank = 4;
  const int64_t shape[] = {mixed.shape[0], mixed.shape[1], heads, width};
  const int64_t stride[] = {mixed.stride[0], mixed.stride[1], width, 1};
  for (int d = 0; d < out.rank; ++d) {
    out.shape[d] = shape[d];
    out.stride[d] = stride[d];
  }
  return out;
}

/// [B, T, C] as [B, C, T].
Tensor channels_first(Tensor mixed) {
  std::swap(mixed.shape[1], mixed.shape[2]);
  std::swap(mixed.stride[1], mixed.stride[2]);
  return mixed;
}

/// Binds HK, of which there are as many as mixed_qkv has room for.
void bind_key_heads(Call *call, const Dim &C, Shapes *s) {
  if (!call->ok()) return;
  const int64_t values = s->HV.size * s->DV.size;
  const int64_t each = 2 * s->DK.size;
  const int64_t rest = C.size - values;
  if (rest <= 0 || rest % each != 0) {
    call->invalid("mixed_qkv has C = ", C.size, " channels, expected 2 HK DK + HV DV = HK * ", each,
                  " + ", values, " (HV = ", s->HV.size, " as in ", s->HV.from,
                  ", DK = ", s->DK.size, " and DV = ", s->DV.size, " as in ", s->DK.from,
                  ") with a whole number of key heads HK.");
    return;
  }
  s->HK.bind(rest / each, "mixed_qkv");
}

/// The pool's slots are named by indices, or there are as many of them as sequences.
void check_pool(Call *call, const char *name, int64_t slots, const Args &a, const Dim &N,
                Slots *pool) {
  pool->count = slots;
  if (a.state_indices == nullptr) check_slot_count(call, name, slots, N, "state_indices");
}

void read_rule(Call *call, const Args &a, const Tensor &mixed, const Dim &C, Shapes *s,
               DeltaRule *p) {
  p->g = call->tensor("a", a.a, Types::floats(), {&s->B, &s->T, &s->HV}, Layout::any);
  p->beta = call->tensor("b", a.b, Types::floats(), {&s->B, &s->T, &s->HV}, Layout::any);
  p->A_log = call->tensor("A_log", a.A_log, Types::floats(), {&s->HV}, Layout::any);
  p->dt_bias = call->optional("dt_bias", a.dt_bias, Types::floats(), {&s->HV}, Layout::any);
  p->gate = p->beta_sigmoid = p->qk_l2norm = true;
  p->allow_neg_eigval = has(a, GDN_ALLOW_NEG_EIGVAL);
  p->round_states = has(a, GDN_ROUND_STATES);
  Dim slots{"slots"};
  call->require("state", a.state, "of shape [slots, HV, DK, DV]");
  p->initial_state = p->final_state = read_state(call, "state", a.state, Types::floats(), &slots, s,
                                                 has(a, GDN_STATE_V_FIRST), Use::output);
  bind_key_heads(call, C, s);
  p->heads = read_heads(call, a.head_map, *s);
  p->key_dim = s->DK.size;
  p->value_dim = s->DV.size;
  p->scale = read_scale(call, a.flags, a.scale, *s);
  read_state_indices(call, a, Indices::per_token, s, p);
  check_pool(call, "state", slots.size, a, s->N, &p->slots);
  if (!call->ok()) return;
  const int64_t keys = s->HK.size * s->DK.size;
  p->q = heads_of(mixed, 0, s->HK.size, s->DK.size);
  p->k = heads_of(mixed, keys, s->HK.size, s->DK.size);
  p->v = heads_of(mixed, 2 * keys, s->HV.size, s->DV.size);
}

/// The convolution, after the rule. Its C is bound.
void read_conv(Call *call, const Args &a, const Tensor &mixed, Dim *C, Shapes *s,
               const DeltaRule &rule, CausalConv1dUpdate *p) {
  Dim W{"W"};
  Dim slots{"slots"};
  Dim L{"L"};
  const Types as_x = Types::f32_or(mixed, "mixed_qkv");
  p->x = channels_first(mixed);
  p->silu = true;
  p->sequences = rule.sequences;
  p->weight = call->tensor("conv_weight", a.conv_weight, as_x, {C, &W}, Layout::any);
  check_width(call, "conv_weight", p->weight);
  p->bias = call->optional("conv_bias", a.conv_bias, as_x, {C}, Layout::any);
  call->require("conv_state", a.conv_state, "of shape [slots, C, L]");
  p->conv_state = call->tensor("conv_state", a.conv_state, Types::floats(), {&slots, C, &L},
                               Layout::any, Use::output);
  // The lengths of packed sequences are contents.
  const bool verify = rule.num_accepted_tokens.present && !rule.sequences.packed();
  if (call->ok()) {
    check_entries(call, p->conv_state, W.size - 1 + (verify ? s->T.size - 1 : 0),
                  verify ? "W - 2 + T, with num_accepted_tokens" : "W - 1");
  }
  p->slots = rule.slots;
  check_pool(call, "conv_state", slots.size, a, s->N, &p->slots);
  if (a.state_indices == nullptr) {
    call->refuse("conv_state_indices", a.conv_state_indices, "without state_indices");
  }
  p->state_indices = call->indices("conv_state_indices", a.conv_state_indices, {&s->N});
  if (!p->state_indices.present) p->state_indices = rule.state_indices;
  p->num_accepted_tokens = rule.num_accepted_tokens;
}

void read_shapes(Call *call, const Args &a, FusedGdnDecode *p) {
  Shapes s;
  Dim C{"C", 1};
  call->check_flags(a.flags, kFlags);
  const Tensor mixed =
      call->tensor("mixed_qkv", a.mixed_qkv, Types::floats(), {&s.B, &s.T, &C}, Layout::unit_last);
  const Types as_mixed = Types::of(mixed, "mixed_qkv");
  p->rule.sequences = read_sequences(call, a.flags, a.cu_seqlens, s.B, s.T, &s.N);
  p->z = call->tensor("z", a.z, as_mixed, {&s.B, &s.T, &s.HV, &s.DV}, Layout::unit_last);
  read_rule(call, a, mixed, C, &s, &p->rule);
  read_conv(call, a, mixed, &C, &s, p->rule, &p->conv);
  p->eps = read_eps(call, a.flags, a.eps);
  p->sigmoid_gate = has(a, GDN_SIGMOID_GATE);
  p->norm_weight = call->tensor("norm_weight", a.norm_weight, Types::f32_or(mixed, "mixed_qkv"),
                                {&s.DV}, Layout::any);
  p->rule.o =
      call->tensor("o", a.o, as_mixed, {&s.B, &s.T, &s.HV, &s.DV}, Layout::unit_last, Use::output);
}

/// Index arrays in which a sequence that lacks one of its slots lacks the other too: of what is
/// skipped nothing else is looked at.
class SkippedInBoth {
 public:
  explicit SkippedInBoth(FusedGdnDecode *p) {
    // An index past a pool is an error, not one that names no slot.
    FusedGdnDecode named = *p;
    named.rule.slots.count = named.conv.slots.count = INT64_MAX;
    for (int64_t n = 0; n < p->rule.sequences.count; ++n) {
      if ((named.rule.initial_slot(n) < 0) == (named.conv.slot(n) < 0)) continue;
      if (state_.empty()) copy(p);
      for (int64_t m = 0; m < p->rule.state_indices.columns; ++m) {
        state_[static_cast<size_t>(n * p->rule.state_indices.columns + m)] = -1;
      }
      conv_[static_cast<size_t>(n)] = -1;
    }
  }

 private:
  void copy(FusedGdnDecode *p) {
    copy(&p->rule.state_indices, p->rule.state_indices.columns, &state_);
    copy(&p->conv.state_indices, 1, &conv_);
  }

  static void copy(IndexArray *array, int64_t columns, std::vector<int64_t> *to) {
    for (int64_t n = 0; n < array->rows; ++n) {
      for (int64_t m = 0; m < columns; ++m) to->push_back(array->at(n, m));
    }
    *array = {to->data(), true, true, array->rows, columns, columns, 1};
  }

  std::vector<int64_t> state_;
  std::vector<int64_t> conv_;
};

void check_contents(Call *call, const Target &target, const FusedGdnDecode &p) {
  const HostSequences sequences(call, target, p.rule.sequences);
  const HostIndices state_indices(call, target, p.rule.state_indices);
  const HostIndices outputs(call, target, p.rule.output_state_indices);
  const HostIndices conv_indices(call, target, p.conv.state_indices);
  const HostIndices accepted(call, target, p.rule.num_accepted_tokens);
  if (!call->ok() || !p.rule.state_indices.present) return;
  FusedGdnDecode host = p;
  host.rule.sequences = host.conv.sequences = sequences.get();
  host.rule.state_indices = state_indices.array();
  host.rule.output_state_indices = outputs.array();
  host.conv.state_indices = conv_indices.array();
  host.rule.num_accepted_tokens = host.conv.num_accepted_tokens = accepted.array();
  const bool one_array = p.conv.state_indices.data == p.rule.state_indices.data;
  const SkippedInBoth both(&host);
  check_state_slots(call, host.rule);
  check_slots(call, one_array ? "state_indices" : "conv_state_indices", host.conv.state_indices,
              host.conv.slots);
  check_accepted(call, host.conv);
}

}  // namespace

const Checks<op::fused_gdn_decode, Args> checks::fused_gdn_decode = {read_shapes, check_contents};

}  // namespace gdn::api
