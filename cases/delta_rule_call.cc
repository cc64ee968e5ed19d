#include "cases/delta_rule_call.h"

#include <numeric>

#include "cases/random.h"
#include "cases/workspace.h"

namespace gdn::testing {
namespace {

using Field = std::optional<Array> DeltaRuleCall::*;

constexpr Field kInputs[] = {
    &DeltaRuleCall::q,
    &DeltaRuleCall::k,
    &DeltaRuleCall::v,
    &DeltaRuleCall::g,
    &DeltaRuleCall::beta,
    &DeltaRuleCall::A_log,
    &DeltaRuleCall::dt_bias,
    &DeltaRuleCall::cu_seqlens,
    &DeltaRuleCall::state_indices,
    &DeltaRuleCall::num_accepted_tokens,
    &DeltaRuleCall::output_state_indices,
    &DeltaRuleCall::has_initial_state,
    &DeltaRuleCall::checkpoint_indices,
    &DeltaRuleCall::positions,
};
constexpr Field kOutputs[] = {&DeltaRuleCall::o, &DeltaRuleCall::final_state,
                              &DeltaRuleCall::checkpoints};

uint64_t hash_of_array(const Array &array) {
  const std::vector<unsigned char> bytes = array.bytes();
  return hash_of({reinterpret_cast<const char *>(bytes.data()), bytes.size()});
}

}  // namespace

const Array *DeltaRuleCall::state_out() const {
  if (final_state) return &*final_state;
  return in_place || state_indices ? &*initial_state : nullptr;
}

gdn_gated_delta_rule_args DeltaRuleCall::args() const {
  gdn_gated_delta_rule_args a = {};
  a.struct_size = sizeof(a);
  a.flags = flags;
  a.head_map = head_map;
  a.scale = scale;
  a.chunk_size = chunk_size;
  a.checkpoint_every = checkpoint_every;
  a.q = tensor_of(q);
  a.k = tensor_of(k);
  a.v = tensor_of(v);
  a.g = tensor_of(g);
  a.beta = tensor_of(beta);
  a.A_log = tensor_of(A_log);
  a.dt_bias = tensor_of(dt_bias);
  a.cu_seqlens = tensor_of(cu_seqlens);
  a.initial_state = tensor_of(initial_state);
  a.final_state = in_place ? tensor_of(initial_state) : tensor_of(final_state);
  a.state_indices = tensor_of(state_indices);
  a.num_accepted_tokens = tensor_of(num_accepted_tokens);
  a.checkpoints = tensor_of(checkpoints);
  a.o = tensor_of(o);
  a.output_state_indices = tensor_of(output_state_indices);
  a.has_initial_state = tensor_of(has_initial_state);
  a.checkpoint_indices = tensor_of(checkpoint_indices);
  a.positions = tensor_of(positions);
  a.null_slot = null_slot;
  return a;
}

void DeltaRuleCall::reset() {
  for (const Field field : kOutputs) {
    if (this->*field) (this->*field)->poison();
  }
  if (initial_state) initial_state->assign(initial_values);
}

std::string DeltaRuleCall::damage() const {
  const auto check = [](const std::optional<Array> &array, const char *name) {
    const std::string found = array ? array->damage() : "";
    return found.empty() ? found : std::string(name) + ": " + found + ". ";
  };
  std::string all = check(initial_state, "state") + check(o, "o") +
                    check(final_state, "final_state") + check(checkpoints, "checkpoints");
  for (const Field field : kInputs) all += check(this->*field, "an input");
  return all;
}

uint64_t DeltaRuleCall::input_hash() const {
  uint64_t hash = 0;
  for (const Field field : kInputs) {
    if (this->*field) hash = 31 * hash + hash_of_array(*(this->*field));
  }
  if (initial_state && state_out() != &*initial_state) {
    hash = 31 * hash + hash_of_array(*initial_state);
  }
  return hash;
}

DeltaRuleCall DeltaRuleCall::widened() const {
  DeltaRuleCall wide(*this);
  const auto widen = [](std::optional<Array> &array) {
    if (array) array = array->widened();
  };
  for (const Field field : kInputs) widen(wide.*field);
  for (const Field field : kOutputs) widen(wide.*field);
  widen(wide.initial_state);
  return wide;
}

bool DeltaRuleCall::slot_per_token() const {
  const std::optional<Array> &indices = output_state_indices ? output_state_indices : state_indices;
  return indices && indices->shape().size() > 1;
}

bool DeltaRuleCall::recurrent_only() const {
  return slot_per_token() || (state_indices && state_indices->shape().size() > 1) ||
         (flags & GDN_ROUND_STATES) != 0;
}

int64_t DeltaRuleCall::sequence_tokens() const {
  return std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
}

bool DeltaRuleCall::names_slot(int64_t index) const {
  return index >= 0 && ((flags & GDN_HAS_NULL_SLOT) == 0 || index != null_slot);
}

bool DeltaRuleCall::skips(size_t n) const {
  if (!state_indices) return false;
  const Shape &shape = state_indices->shape();
  const size_t columns = shape.size() > 1 ? static_cast<size_t>(shape[1]) : 1;
  const int64_t accepted = num_accepted_tokens ? num_accepted_tokens->integers()[n] : 1;
  const bool in_range = accepted >= 1 && static_cast<size_t>(accepted) <= columns;
  const size_t column = in_range ? static_cast<size_t>(accepted) - 1 : 0;
  return !names_slot(state_indices->integers()[n * columns + column]);
}

int64_t DeltaRuleCall::checkpoint_count(size_t n) const {
  if (checkpoint_every == 0) return 0;
  const int64_t before = positions && !skips(n) ? positions->integers()[n] : 0;
  return (before + lengths[n]) / checkpoint_every - before / checkpoint_every;
}

std::vector<bool> DeltaRuleCall::touched_slots() const {
  const Array *state = state_out();
  if (state == nullptr) return {};
  std::vector<bool> touched(static_cast<size_t>(state->shape()[0]), !state_indices);
  if (!state_indices) return touched;
  // The first `count` entries of row n.
  const auto touch = [&](const Array &indices, size_t n, int64_t count) {
    const Shape &shape = indices.shape();
    const int64_t columns = shape.size() > 1 ? shape[1] : 1;
    const std::vector<int64_t> all = indices.integers();
    for (int64_t i = 0; i < count; ++i) {
      const int64_t slot = all[n * static_cast<size_t>(columns) + static_cast<size_t>(i)];
      if (names_slot(slot)) touched[static_cast<size_t>(slot)] = true;
    }
  };
  for (size_t n = 0; n < lengths.size(); ++n) {
    if (skips(n)) continue;
    touch(output_state_indices ? *output_state_indices : *state_indices, n,
          slot_per_token() ? lengths[n] : 1);
    if (checkpoint_indices) touch(*checkpoint_indices, n, checkpoint_count(n));
  }
  return touched;
}

gdn_status call_library(Operation operation, const gdn_gated_delta_rule_args &args,
                        const gdn_exec &exec) {
  return operation == Operation::chunk ? gdn_chunk_gated_delta_rule(&args, &exec)
                                       : gdn_fused_recurrent_gated_delta_rule(&args, &exec);
}

gdn_status workspace_size(Operation operation, const gdn_gated_delta_rule_args &args,
                          const gdn_exec &exec, size_t *bytes) {
  *bytes = 0;
  if (operation == Operation::recurrent) return GDN_OK;
  return gdn_chunk_gated_delta_rule_workspace_size(&args, &exec, bytes);
}

std::string run(Operation operation, const DeltaRuleCall &call, const Target &target, int threads,
                uint32_t exec_flags, gdn_status *status) {
  const gdn_gated_delta_rule_args args = call.args();
  return run_with_workspace(
      exec_for(target, threads, exec_flags),
      [&](const gdn_exec &e, size_t *bytes) { return workspace_size(operation, args, e, bytes); },
      [&](const gdn_exec &e) { return call_library(operation, args, e); }, status);
}

}  // namespace gdn::testing
