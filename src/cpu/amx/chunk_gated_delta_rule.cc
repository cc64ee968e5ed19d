// The fused chunk kernel on AMX tiles, for bf16 q, k, v (other types: the avx512 kernel).
//
// For each step of 64 tokens, with c the cumulative log decay inside it:
//
//     key head     K^T, K K^T, Q K^T, |k| and |q|                             keys.h, norms.h
//     value head   c, row scales; A, P, and T = (I + A)^-1 of both halves          gates.h, solve.h
//     32 columns   V' = T diag(beta) (V - diag(exp c) K S), half by half
//                  O  = scale (diag(exp c) Q S + P V')
//                  S <- exp(c_last) S + K^T diag(exp(c_last - c)) V'                   panel.h
//
// Between, rows of the next key head are prefetched (fetch.h). States stay f32 in the scratch
// memory (layout.h, state.h) from the first step of a sequence to its last. Steps begin at
// multiples of 64 tokens from their sequence's start, so a prefill cut there and resumed repeats
// the same arithmetic.

#include "cpu/amx/fetch.h"
#include "cpu/amx/gates.h"
#include "cpu/amx/keys.h"
#include "cpu/amx/layout.h"
#include "cpu/amx/norms.h"
#include "cpu/amx/panel.h"
#include "cpu/amx/plan.h"
#include "cpu/amx/solve.h"
#include "cpu/amx/state.h"
#include "cpu/kernels/checkpoint_walk.h"
#include "cpu/kernels/kernels.h"

namespace gdn::cpu::avx512::kernel {
extern const Kernel<op::chunk_gated_delta_rule> chunk_gated_delta_rule;
}

namespace gdn::cpu::amx {
namespace {

bool served(const DeltaRule &p) { return p.q.dtype == DType::bf16; }

/// Columns of the panel that starts at `column`.
__mmask32 panel_columns(const DeltaRule &p, int64_t column) {
  const int64_t left = p.value_dim - column;
  return _cvtu32_mask32(left >= kPanel ? ~0U : (1U << left) - 1);
}

/// Rows to prefetch beside the products of one block of DK: at 128 x 128 those of the next key head
/// are spread over all of this one's.
constexpr int kFetch = 4;

class ItemRun {
 public:
  ItemRun(const DeltaRule &p, const Plan &plan, const Item &item, const Workspace &w,
          StateRow *states)
      : p_(p),
        item_(item),
        w_(w),
        states_(states),
        span_(p.sequences.span(item.sequence)),
        phase_(p.phase(item.sequence, kStep)),
        key_blocks_(plan.widths.key_blocks),
        state_rows_(plan.widths.state_rows()) {}

  void run() const {
    const int64_t slot = p_.initial_slot(item_.sequence);
    if (slot < 0) return clear_output();
    load_states(slot);
    CheckpointWalk checkpoints(p_, item_.sequence);
    for (int64_t t = 0; t < span_.length;) {
      const int count = step_tokens(t);
      step(span_.begin + t, count);
      if (checkpoints.passes(count)) store_states(checkpoints.target(), checkpoints.next());
      t += count;
    }
    store_states(p_.final_state, p_.final_slot(item_.sequence));
  }

 private:
  /// Calls f(value head, panel's first column, its state) for each state of the item.
  template <class F>
  [[gnu::always_inline]] void for_states(F f) const {
    StateRow *state = states_;
    for (int64_t k = item_.key_begin; k < item_.key_end; ++k) {
      for (int64_t i = item_.group_begin; i < item_.group_end; ++i) {
        for (int panel = item_.panel_begin; panel < item_.panel_end; ++panel) {
          f(p_.heads.value_head(k, i), int64_t{panel} * kPanel, state);
          state += state_rows_;
        }
      }
    }
  }

  /// Tokens of the step at t, 0 past the end: steps lie on a grid that starts with the sequence,
  /// not with the call.
  int step_tokens(int64_t t) const {
    const int64_t whole = kStep - (phase_ + t) % kStep;
    return static_cast<int>(span_.length - t < whole ? span_.length - t : whole);
  }

  void load_states(int64_t slot) const {
    const Tensor absent;
    const Tensor &initial = p_.reads_state(item_.sequence) ? p_.initial_state : absent;
    for_states([&](int64_t head, int64_t column, StateRow *state) {
      load_state(initial, slot, head, column, state_rows_, state);
    });
  }

  /// Nothing if `slot` is negative.
  void store_states(const Tensor &out, int64_t slot) const {
    if (slot < 0) return;
    for_states([&](int64_t head, int64_t column, StateRow *state) {
      store_state(out, slot, head, column, state);
    });
  }

  void clear_output() const {
    for_states([&](int64_t head, int64_t column, StateRow *) {
      for (int64_t t = 0; t < span_.length; ++t) {
        _mm512_mask_storeu_epi16(p_.o.at<uint16_t>(span_.batch, span_.begin + t, head, column),
                                 panel_columns(p_, column), _mm512_setzero_si512());
      }
    });
  }

  void step(int64_t token, int count) const {
    StateRow *state = states_;
    const int blocks = (count + kBlock - 1) / kBlock;
    for (int64_t k = item_.key_begin; k < item_.key_end; ++k) {
      KeyBlock key = w_.key;
      key.q = left_rows(p_.q.at<uint16_t>(span_.batch, token, k), p_.q.stride[1], p_.key_dim, count,
                        key_blocks_, key.q_copy);
      key.k = left_rows(p_.k.at<uint16_t>(span_.batch, token, k), p_.k.stride[1], p_.key_dim, count,
                        key_blocks_, key.k_copy);
      load_products(key, blocks, key_blocks_);
      load_norms(&key, p_, count, blocks, key_blocks_);
      Fetch fetch(p_, place_after(token, count, k));
      for (int64_t i = item_.group_begin; i < item_.group_end; ++i) {
        const int64_t head = p_.heads.value_head(k, i);
        const float decay = load_step_gates(p_, span_.batch, token, count, head, key, w_.gate);
        for (int b = 0; b < blocks; ++b) solve_block(key, w_.gate, b);
        if (blocks == 2) couple_blocks(key, w_.gate);
        const PanelStep s = {key,    w_.gate, w_.panel,       key_blocks_,   count,
                             blocks, decay,   p_.v.stride[1], p_.o.stride[1]};
        if (count == kStep && p_.value_dim % kPanel == 0) {
          run_panels<true>(s, token, head, state, fetch);
        } else if (blocks == 2) {
          run_panels<false>(s, token, head, state, fetch);
        } else {
          run_short_panels(s, token, head, state);
        }
        state += (item_.panel_end - item_.panel_begin) * state_rows_;
      }
    }
  }

  /// What follows a key head of the step of `count` tokens at `token`: the next key head, or the
  /// next step's first.
  StepPlace place_after(int64_t token, int count, int64_t key_head) const {
    StepPlace next = {span_.batch,
                      token,
                      count,
                      key_head + 1,
                      item_.group_begin,
                      item_.group_end,
                      int64_t{item_.panel_begin} * kPanel,
                      int64_t{item_.panel_end} * kPanel};
    if (next.column_end > p_.value_dim) next.column_end = p_.value_dim;
    if (next.key_head == item_.key_end) {
      next.key_head = item_.key_begin;
      next.token += count;
      next.count = step_tokens(next.token - span_.begin);
    }
    return next;
  }

  Panel place(int64_t token, int64_t head, int panel, StateRow *state) const {
    const int64_t column = int64_t{panel} * kPanel;
    return {state, p_.v.at<uint16_t>(span_.batch, token, head, column),
            p_.o.at<uint16_t>(span_.batch, token, head, column), panel_columns(p_, column)};
  }

  /// All panels of a step of two blocks. In each line the vectors (after ||) are those whose
  /// operands an earlier line made; numbers are blocks of tokens:
  ///
  ///     K0 S                     || values 1 of the panel before
  ///     P1 V' of the panel before
  ///     K1 S                     || residual 0, output 1 of the panel before
  ///     T0 R0,         Q0 S      || values 0
  ///     A10 V', P0 V', Q1 S      || residual 1, output 0
  ///     T1 R1
  ///
  /// kFull: 64 tokens and whole panels.
  template <bool kFull>
  void run_panels(const PanelStep &s, int64_t token, int64_t head, StateRow *state,
                  Fetch &fetch) const {
    const PanelBlock &block = s.block;
    const GateBlock &gate = s.gate;
    const int first = item_.panel_begin;
    const int last = item_.panel_end;
    Written *const w = s.block.w;
    // Token pairs beside block b of DK, spread over all blocks or over one half of them.
    const Share all = {0, key_blocks_};
    const Share early = {0, (key_blocks_ + 1) / 2};
    const Share late = {key_blocks_ / 2, key_blocks_};

    Panel now = place(token, head, first, state);
    for (int b = 0; b < key_blocks_; ++b) pack_state(s, now.state, b);
    multiply_state(s, s.key.k, 0, *block.ks[0], [&](int) { fetch.rows(kFetch); });
    multiply_state(s, s.key.k, 1, *block.ks[1], [&](int b) {
      fetch.rows(kFetch);
      residual<kFull, 0>(s, now, all.from(b), all.to(b));
    });
    for (int panel = first; panel < last; ++panel) {
      solve_values<0>(s);
      multiply_state(s, s.key.q, 0, *block.qs[0], [&](int b) {
        fetch.rows(kFetch);
        pack_values<0, false>(s, w[panel], all.from(b), all.to(b));
      });
      multiply(*gate.a10, *block.right[0], *block.av);
      multiply(gate.p[0], *block.right[0], *block.pv[0]);
      multiply_state(s, s.key.q, 1, *block.qs[1], [&](int b) {
        fetch.rows(kFetch);
        residual<kFull, 1>(s, now, early.from(b), early.to(b));
        write_output<kFull, 0>(s, now, 2 * late.from(b), 2 * late.to(b));
      });
      solve_values<1>(s);
      if (panel + 1 == last) break;
      const Panel next = place(token, head, panel + 1, now.state + state_rows_);
      for (int b = 0; b < key_blocks_; ++b) pack_state(s, next.state, b);
      multiply_state(s, s.key.k, 0, *block.ks[0], [&](int b) {
        fetch.rows(kFetch);
        pack_values<1, true>(s, w[panel], all.from(b), all.to(b));
      });
      couple_products(gate, block);
      multiply_state(s, s.key.k, 1, *block.ks[1], [&](int b) {
        fetch.rows(kFetch);
        residual<kFull, 0>(s, next, early.from(b), early.to(b));
        write_output<kFull, 1>(s, now, 2 * late.from(b), 2 * late.to(b));
      });
      now = next;
    }
    pack_values<1, true>(s, w[last - 1], 0, kHalf);
    couple_products(gate, block);
    write_output<kFull, 1>(s, now, 0, kBlock);
    for (int panel = first; panel < last; ++panel) {
      update_state(s, state + (panel - first) * state_rows_, w[panel],
                   [&](int) { fetch.rows(kFetch); });
    }
  }

  /// pv of block 1: P V' with both blocks' V'.
  static void couple_products(const GateBlock &gate, const PanelBlock &block) {
    zero_grid();
    multiply(*gate.p10, *block.right[0]);
    multiply(gate.p[1], *block.right[1]);
    store_grid(*block.pv[1]);
  }

  /// A step of one block.
  void run_short_panels(const PanelStep &s, int64_t token, int64_t head, StateRow *state) const {
    const PanelBlock &block = s.block;
    for (int panel = item_.panel_begin; panel < item_.panel_end; ++panel) {
      const Panel p = place(token, head, panel, state);
      for (int b = 0; b < key_blocks_; ++b) pack_state(s, p.state, b);
      multiply_state(s, s.key.k, 0, *block.ks[0], Nothing());
      multiply_state(s, s.key.q, 0, *block.qs[0], Nothing());
      residual<false, 0>(s, p, 0, kHalf);
      solve_values<0>(s);
      pack_values<0, true>(s, block.w[panel], 0, kHalf);
      multiply(s.gate.p[0], *block.right[0], *block.pv[0]);
      write_output<false, 0>(s, p, 0, kBlock);
      update_state(s, state, block.w[panel], Nothing());
      state += state_rows_;
    }
  }

  const DeltaRule &p_;
  const Item &item_;
  const Workspace &w_;
  StateRow *states_;
  SequenceSpan span_;
  int64_t phase_;  ///< Tokens of the first step that came before the call.
  int key_blocks_;
  int64_t state_rows_;
};

int64_t items(const DeltaRule &p, int32_t threads) {
  if (!served(p)) return avx512::kernel::chunk_gated_delta_rule.items(p, threads);
  return Plan(p, threads).items();
}

size_t scratch(const DeltaRule &p, int32_t threads) {
  if (!served(p)) return avx512::kernel::chunk_gated_delta_rule.scratch(p, threads);
  const Plan plan(p, threads);
  Arena arena(nullptr);
  const Workspace w(arena, plan.widths);
  arena.take<StateRow>(plan.state_rows());
  return arena.used();
}

[[gnu::nonnull]] void run(const DeltaRule &p, int32_t threads, int64_t first, int64_t last,
                          void *memory) {
  if (!served(p)) {
    return avx512::kernel::chunk_gated_delta_rule.run(p, threads, first, last, memory);
  }
  const Plan plan(p, threads);
  Arena arena(memory);
  const Workspace w(arena, plan.widths);
  StateRow *const states = arena.take<StateRow>(plan.state_rows());
  const TileScope tiles;
  for (int64_t i = first; i < last; ++i) {
    const Item item(plan, p, i);
    ItemRun(p, plan, item, w, states).run();
  }
}

}  // namespace

const Kernel<op::chunk_gated_delta_rule> kernel::chunk_gated_delta_rule = {&items, &run, &scratch};

}  // namespace gdn::cpu::amx
