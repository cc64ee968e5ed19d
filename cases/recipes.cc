// Draws the operands of a case.

#include <cmath>
#include <limits>

#include "cases/delta_rule_call.h"
#include "cases/random.h"
#include "cases/slot_tables.h"

namespace gdn::testing {
namespace {

using Values = std::vector<float>;

class Drawing {
 public:
  Drawing(const Case &c, Element type, uint64_t seed)
      : case_(c), type_(type), seed_(seed ^ hash_of(c.name)) {}

  DeltaRuleCall draw() {
    describe_call();
    draw_keys();
    draw_values();
    draw_gates();
    draw_states();
    if (case_.packed) draw_cu_seqlens();
    poison_padding();
    call_.reset();
    return std::move(call_);
  }

 private:
  int64_t sequences() const { return static_cast<int64_t>(case_.lengths.size()); }
  // The type of gate operand number i.
  Element gate_type(int i) const {
    if (!case_.has(kGatesMixed)) return case_.has(kGatesSameType) ? type_ : Element::f32;
    constexpr Element kTypes[] = {Element::f32, Element::bf16, Element::f16};
    const int own = type_ == Element::f32 ? 0 : type_ == Element::bf16 ? 1 : 2;
    return kTypes[(own + 1 + i) % 3];
  }
  Element index_type() const { return case_.has(kIndex64) ? Element::i64 : Element::i32; }

  Values normals(int64_t n, const char *stream, float factor = 1.0F) const {
    Random random(seed_, stream);
    Values x(static_cast<size_t>(n));
    for (float &e : x) e = factor * random.normal();
    return x;
  }

  // Strides of a [B, T, H, D] operand. `repeat` is the dimension that broadcasts.
  Layout layout(const Shape &shape, size_t repeat) const {
    Layout result;
    if (case_.has(kStrided)) {
      result.strides = padded_strides(shape, {0, 1, 2, 3}, 24);
      result.spare = 1;
    } else if (case_.has(kHeadFirst)) {
      result.strides = padded_strides(shape, {0, 2, 1, 3}, 0);
    } else if (case_.has(kBroadcast) && repeat < shape.size()) {
      result.strides = padded_strides(shape, {0, 1, 2, 3}, 0);
      result.strides[repeat] = 0;
    } else if (case_.has(kReversed)) {
      result.strides = padded_strides(shape, {0, 1, 2, 3}, 0);
      result.strides[1] = -result.strides[1];
    }
    return result;
  }

  // Strides of a [B, T, HV] operand.
  Layout gate_layout(const Shape &shape) const {
    Layout result;
    if (case_.has(kStrided)) result.strides = padded_strides(shape, {1, 0, 2}, 5);
    if (case_.has(kHeadFirst)) result.strides = padded_strides(shape, {0, 2, 1}, 0);
    if (case_.has(kBroadcast)) {
      result.strides = padded_strides(shape, {0, 1, 2}, 0);
      result.strides[0] = 0;
    }
    if (case_.has(kReversed)) {
      result.strides = padded_strides(shape, {0, 1, 2}, 0);
      result.strides[2] = -result.strides[2];
    }
    return result;
  }

  Array make(const Shape &shape, const Values &values, size_t repeat) const {
    Array array(type_, shape, layout(shape, repeat));
    array.assign(values);
    return array;
  }

  void describe_call() {
    const auto flag = [&](Option option, gdn_flag bit) {
      if (case_.has(option)) call_.flags |= static_cast<uint32_t>(bit);
    };
    flag(kVFirst, GDN_STATE_V_FIRST);
    flag(kQkL2Norm, GDN_USE_QK_L2NORM);
    flag(kGate, GDN_USE_GATE);
    flag(kBetaSigmoid, GDN_USE_BETA_SIGMOID);
    flag(kNegEigval, GDN_ALLOW_NEG_EIGVAL);
    flag(kRoundStates, GDN_ROUND_STATES);
    flag(kNullSlot, GDN_HAS_NULL_SLOT);
    flag(kPadded, GDN_PADDED);
    if (case_.has_scale) call_.flags |= GDN_HAS_SCALE;
    call_.scale = case_.scale;
    call_.head_map = case_.has(kInterleaved) ? GDN_HEAD_MAP_INTERLEAVED : GDN_HEAD_MAP_BLOCK;
    call_.chunk_size = case_.chunk_size;
    call_.checkpoint_every = case_.checkpoint_every;
    call_.in_place = case_.has(kInPlace);
    call_.lengths.assign(case_.lengths.begin(), case_.lengths.end());
  }

  // Rows of q and k: normal, scaled to length `norm` (0: left as drawn).
  Values rows(const char *stream, float norm) const {
    Values x = normals(case_.batch * case_.tokens * case_.hk * case_.dk, stream);
    const auto width = static_cast<size_t>(case_.dk);
    for (size_t row = 0; norm > 0.0F && row < x.size(); row += width) {
      double sum = 0.0;
      for (size_t d = 0; d < width; ++d) sum += static_cast<double>(x[row + d]) * x[row + d];
      const auto factor = static_cast<float>(norm / std::sqrt(sum));
      for (size_t d = 0; d < width; ++d) x[row + d] *= factor;
    }
    return x;
  }

  void draw_keys() {
    const Shape shape = {case_.batch, case_.tokens, case_.hk, case_.dk};
    const float norm = case_.recipe == Recipe::raw          ? 0.0F
                       : case_.recipe == Recipe::small_keys ? 0.5F
                                                            : 1.0F;
    Values q = rows("q", norm);
    Values k = rows("k", norm);
    const auto width = static_cast<size_t>(case_.dk);
    const auto token = static_cast<size_t>(case_.hk) * width;
    if (case_.recipe == Recipe::repeated_key) {
      for (size_t i = token; i < k.size(); ++i) k[i] = k[i % token];
    }
    if (case_.recipe == Recipe::reflections) {
      // One direction: exactly in even key heads, with noise in odd ones.
      for (size_t i = token; i < k.size(); ++i) {
        k[i] = k[i % token] + (i % token / width % 2 == 1 ? 0.1F * k[i] : 0.0F);
      }
    }
    if (case_.recipe == Recipe::zero_rows) {
      for (size_t row = 0; row < k.size() / width; row += 3) {
        std::fill_n((row % 2 == 0 ? k : q).begin() + static_cast<int64_t>(row * width), width,
                    0.0F);
      }
    }
    for (size_t i = 0; i < k.size(); ++i) {
      const auto t = static_cast<int64_t>(i / token) % case_.tokens;
      // Of the last 14 tokens, one with a key.
      if (case_.recipe == Recipe::zero_tail && t >= case_.tokens - 14 && t != case_.tokens - 13) {
        k[i] = 0.0F;
      }
      // Lengths from 1 down to 10^-3.
      if (case_.recipe == Recipe::mixed_keys) {
        k[i] *= std::pow(10.0F, -3.0F * static_cast<float>(i / width * 7 % 11) / 10.0F);
      }
    }
    call_.q = make(shape, q, 2);
    call_.k = make(shape, k, 2);
  }

  void draw_values() {
    const Shape shape = {case_.batch, case_.tokens, case_.hv, case_.dv};
    const float huge = type_ == Element::f16 ? 1e3F : 1e20F;
    call_.v = make(shape,
                   normals(case_.batch * case_.tokens * case_.hv * case_.dv, "v",
                           case_.recipe == Recipe::huge_v ? huge : 1.0F),
                   0);
    call_.o = Array(type_, shape, layout(shape, shape.size()));
  }

  float draw_g(Random &random, int64_t token) const {
    const float x = random.normal();
    switch (case_.recipe) {
      case Recipe::repeated_key:
        return -1e-6F;
      case Recipe::reflections:
        return -0.01F;
      case Recipe::strong_decay:
        return -80.0F * random.uniform();
      case Recipe::decay_spikes:
        return token % 19 == 7 ? -80.0F : token % 3 == 0 ? 0.0F : -0.01F * random.uniform();
      case Recipe::slow_decay:
        return -2e-3F * random.uniform();
      case Recipe::gate_extremes:
        return token % 4 == 0 ? 40.0F * x : x;
      case Recipe::fading_tail:
        return -1.25F;
      default:
        break;
    }
    if (case_.has(kGate)) return x;
    return -std::log1p(std::exp(-x));
  }

  float draw_beta(Random &random, int64_t token) const {
    if (case_.has(kBetaSigmoid)) {
      return (case_.recipe == Recipe::gate_extremes ? 30.0F : 1.0F) * random.normal();
    }
    if (case_.recipe == Recipe::repeated_key) return 1.0F;
    if (case_.recipe == Recipe::reflections) return random.below(2) == 0 ? 2.0F : 1.9F;
    // Of the last 14 tokens nothing enters the state, and what did decays to about 10^-8.
    if (case_.recipe == Recipe::fading_tail && token % case_.tokens >= case_.tokens - 14) {
      return 0.0F;
    }
    if (case_.recipe == Recipe::beta_levels) return static_cast<float>(random.below(3));
    return random.uniform();
  }

  void draw_gates() {
    const Shape shape = {case_.batch, case_.tokens, case_.hv};
    Random g_random(seed_, "g");
    Random beta_random(seed_, "beta");
    Values g(static_cast<size_t>(case_.batch * case_.tokens * case_.hv));
    Values beta(g.size());
    for (size_t i = 0; i < g.size(); ++i) {
      const int64_t token = static_cast<int64_t>(i) / case_.hv;
      g[i] = draw_g(g_random, token);
      beta[i] = draw_beta(beta_random, token);
    }
    if (!case_.has(kNoG)) {
      call_.g = Array(gate_type(0), shape, gate_layout(shape));
      call_.g->assign(g);
    }
    if (!case_.has(kNoBeta)) {
      call_.beta = Array(gate_type(1), shape, gate_layout(shape));
      call_.beta->assign(beta);
    }
    if (!case_.has(kGate)) return;
    Random random(seed_, "A_log");
    Values A_log(static_cast<size_t>(case_.hv));
    for (float &e : A_log) e = std::log(1.0F + 15.0F * random.uniform()) - 2.0F;
    call_.A_log = Array(gate_type(2), {case_.hv});
    call_.A_log->assign(A_log);
    if (case_.has(kNoDtBias)) return;
    call_.dt_bias = Array(gate_type(3), {case_.hv});
    call_.dt_bias->assign(normals(case_.hv, "dt_bias"));
  }

  Array state_array(Element type, int64_t entries, bool strided) const {
    const Shape shape = case_.has(kVFirst) ? Shape{entries, case_.hv, case_.dv, case_.dk}
                                           : Shape{entries, case_.hv, case_.dk, case_.dv};
    return {type, shape, strided ? Layout{padded_strides(shape, {0, 1, 2, 3}, 8), 0} : Layout{}};
  }

  void draw_states() {
    const Element type = case_.has(kStateBf16)  ? Element::bf16
                         : case_.has(kStateF16) ? Element::f16
                                                : Element::f32;
    const bool strided = case_.has(kStridedState);
    const SlotTables tables = draw_slots(case_, seed_);
    const int64_t entries = tables.slots > 0 ? tables.slots : sequences();
    set_tables(tables);
    if (tables.slots > 0 || case_.has(kInitialState)) {
      call_.initial_state = state_array(type, entries, strided);
      call_.initial_state->assign(normals(call_.initial_state->size(), "state"));
      call_.initial_values = call_.initial_state->values();
    }
    if (tables.slots == 0 && !case_.has(kInPlace) && !case_.has(kNoFinalState)) {
      const Element final_type = case_.has(kFinalStateF16) ? Element::f16 : Element::f32;
      call_.final_state = state_array(final_type, sequences(), strided);
    }
    if (case_.checkpoint_every > 0 && !case_.has(kCheckpointIndices)) {
      int64_t count = 0;
      for (size_t n = 0; n < case_.lengths.size(); ++n) count += call_.checkpoint_count(n);
      const Element checkpoint_type = case_.has(kCheckpointsBf16)  ? Element::bf16
                                      : case_.has(kCheckpointsF16) ? Element::f16
                                                                   : Element::f32;
      call_.checkpoints = state_array(checkpoint_type, count, false);
    }
  }

  void set_tables(const SlotTables &tables) {
    const auto set = [&](std::optional<Array> *array, const IndexTable &table, Element type) {
      if (!table.present) return;
      *array =
          Array(type, table.columns > 0 ? Shape{sequences(), table.columns} : Shape{sequences()});
      (*array)->assign(table.values);
    };
    set(&call_.state_indices, tables.state_indices, index_type());
    set(&call_.num_accepted_tokens, tables.num_accepted_tokens, index_type());
    set(&call_.output_state_indices, tables.output_state_indices, index_type());
    set(&call_.checkpoint_indices, tables.checkpoint_indices, index_type());
    set(&call_.positions, tables.positions, index_type());
    set(&call_.has_initial_state, tables.has_initial_state, Element::i32);
    call_.null_slot = tables.null_slot;
  }

  // The tokens after the end of cu_seqlens hold NaN, which no result may show.
  void poison_padding() {
    if (!case_.has(kPadded)) return;
    for (std::optional<Array> *array : {&call_.q, &call_.k, &call_.v, &call_.g, &call_.beta}) {
      if (!*array) continue;
      std::vector<float> values = (*array)->values();
      const auto from =
          static_cast<int64_t>(values.size()) / case_.tokens * call_.sequence_tokens();
      std::fill(values.begin() + from, values.end(), std::numeric_limits<float>::quiet_NaN());
      (*array)->assign(values);
    }
  }

  void draw_cu_seqlens() {
    std::vector<int64_t> starts = {0};
    for (const int64_t length : case_.lengths) starts.push_back(starts.back() + length);
    call_.cu_seqlens = Array(index_type(), {sequences() + 1});
    call_.cu_seqlens->assign(starts);
  }

  const Case &case_;
  Element type_;
  uint64_t seed_;
  DeltaRuleCall call_;
};

}  // namespace

DeltaRuleCall make_call(const Case &c, Element type, uint64_t seed) {
  return Drawing(c, type, seed).draw();
}

}  // namespace gdn::testing
