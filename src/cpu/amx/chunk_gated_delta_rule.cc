// The fused chunk kernel on AMX tiles, for bf16 q, k, v (other types: the avx512 kernel).
//
// For each step of 64 tokens, with c the cumulative log decay inside it:
//
//     key head     K^T, K K^T, Q K^T                                                   keys.h
//     value head   c, row scales; A, P, and T = (I + A)^-1 of both halves          gates.h, solve.h
//     32 columns   V' = T diag(beta) (V - diag(exp c) K S), half by half
//                  O  = scale (diag(exp c) Q S + P V')
//                  S <- exp(c_last) S + K^T diag(exp(c_last - c)) V'                   panel.h
//
// Between, rows of the next key head are prefetched (fetch.h). States stay f32 in the scratch
// memory (layout.h, state.h) from the first step of a sequence to its last. Steps begin at
// multiples of 64 tokens from their sequence's start, so a prefill cut there and resumed repeats
// the same arithmetic.

#include "cpu/amx/avx512.h"
#include "cpu/amx/fetch.h"
#include "cpu/amx/gates.h"
#include "cpu/amx/keys.h"
#include "cpu/amx/layout.h"
#include "cpu/amx/panel.h"
#include "cpu/amx/plan.h"
#include "cpu/amx/solve.h"
#include "cpu/amx/state.h"
#include "cpu/amx/table.h"

namespace gdn::cpu::amx {

namespace {

bool served(const DeltaRule &p) { return p.q.dtype == DType::bf16; }

__mmask32 panel_columns(const DeltaRule &p, int panel) {
  const int64_t left = p.value_dim - int64_t{panel} * kPanel;
  return _cvtu32_mask32(left >= kPanel ? ~0U : (1U << left) - 1);
}

/// Rows to prefetch beside the products of one block of DK: at 128 x 128 those of the next key head
/// are spread over all of this one's.
constexpr int kFetch = 4;

class ItemRun {
 public:
  ItemRun(const DeltaRule &p, const Plan &plan, const Item &item, const Workspace &w)
      : p_(p), item_(item), w_(w), span_(p.sequences.span(item.sequence)), dk_(plan.widths.dk) {}

  void run() const {
    int64_t slot = item_.sequence;
    if (p_.state_indices.present) {
      slot = p_.state_indices.at(item_.sequence);
      if (slot < 0) return clear_output();
    }
    load_states(slot);
    for (int64_t t = 0; t < span_.length; t += kStep) {
      const int64_t left = span_.length - t;
      const int count = static_cast<int>(left < kStep ? left : kStep);
      step(span_.begin + t, count);
      if (p_.checkpoint_every > 0 && count == kStep && (t + kStep) % p_.checkpoint_every == 0) {
        const int64_t first = p_.checkpoint_offsets[item_.sequence];
        store_states(p_.checkpoints, first + (t + kStep) / p_.checkpoint_every - 1);
      }
    }
    if (p_.final_state.present()) store_states(p_.final_state, slot);
  }

 private:
  /// Calls f(value head, panel, its state) for each state of the item.
  template <class F>
  [[gnu::always_inline]] void for_states(F f) const {
    auto *state = reinterpret_cast<float *>(w_.states);
    for (int64_t k = item_.key_begin; k < item_.key_end; ++k) {
      for (int64_t i = item_.group_begin; i < item_.group_end; ++i) {
        for (int panel = item_.panel_begin; panel < item_.panel_end; ++panel) {
          f(p_.heads.value_head(k, i), panel, state);
          state += dk_ * 1024;
        }
      }
    }
  }

  void load_states(int64_t slot) const {
    for_states([&](int64_t head, int panel, float *state) {
      if (p_.initial_state.present()) {
        load_state(view_state(p_.initial_state, p_, slot, head, panel), dk_, state);
      } else {
        clear_state(dk_, state);
      }
    });
  }

  void store_states(const Tensor &out, int64_t slot) const {
    for_states([&](int64_t head, int panel, const float *state) {
      store_state(view_state(out, p_, slot, head, panel), dk_, state);
    });
  }

  void clear_output() const {
    for_states([&](int64_t head, int panel, const float *) {
      for (int64_t t = 0; t < span_.length; ++t) {
        _mm512_mask_storeu_epi16(
            p_.o.at<uint16_t>(span_.batch, span_.begin + t, head, int64_t{panel} * kPanel),
            panel_columns(p_, panel), _mm512_setzero_si512());
      }
    });
  }

  void step(int64_t token, int count) const {
    auto *state = reinterpret_cast<float *>(w_.states);
    const int blocks = (count + kBlock - 1) / kBlock;
    for (int64_t k = item_.key_begin; k < item_.key_end; ++k) {
      KeyBlock key = w_.key;
      key.q = left_rows(p_.q.at<uint16_t>(span_.batch, token, k), p_.q.stride[1], p_.key_dim, count,
                        dk_, key.q_copy);
      key.k = left_rows(p_.k.at<uint16_t>(span_.batch, token, k), p_.k.stride[1], p_.key_dim, count,
                        dk_, key.k_copy);
      for (int b = 0; b < blocks; ++b) load_block(key, b, dk_);
      if (blocks == 2) {
        multiply_blocks(key.k, key, dk_, key.kk + 6 * 256);
        multiply_blocks(key.q, key, dk_, key.qk + 6 * 256);
      }
      load_norms(key, p_, blocks, dk_);
      Fetch fetch(p_, place_after(token, k));
      for (int64_t i = item_.group_begin; i < item_.group_end; ++i) {
        const int64_t head = p_.heads.value_head(k, i);
        const float decay = load_gates(p_, span_.batch, token, count, head, key, w_.gate);
        for (int b = 0; b < blocks; ++b) solve_block(key, w_.gate, b);
        if (blocks == 2) couple_blocks(key, w_.gate);
        const PanelStep s = {key,    w_.gate, w_.panel,       dk_,           count,
                             blocks, decay,   p_.v.stride[1], p_.o.stride[1]};
        if (count == kStep && p_.value_dim % kPanel == 0) {
          run_panels<true>(s, token, head, state, fetch);
        } else if (blocks == 2) {
          run_panels<false>(s, token, head, state, fetch);
        } else {
          run_short_panels(s, token, head, state);
        }
        state += (item_.panel_end - item_.panel_begin) * dk_ * 1024;
      }
    }
  }

  /// What follows a key head of the step at `token`: the next key head, or the next step's first.
  StepPlace place_after(int64_t token, int64_t key_head) const {
    StepPlace next = {span_.batch,
                      token,
                      0,
                      key_head + 1,
                      item_.group_begin,
                      item_.group_end,
                      int64_t{item_.panel_begin} * kPanel,
                      int64_t{item_.panel_end} * kPanel};
    if (next.column_end > p_.value_dim) next.column_end = p_.value_dim;
    if (next.key_head == item_.key_end) {
      next.key_head = item_.key_begin;
      next.token += kStep;
    }
    const int64_t left = span_.begin + span_.length - next.token;
    next.count = static_cast<int>(left < kStep ? left : kStep);
    return next;
  }

  /// The packed W of a panel.
  uint8_t *written(int panel) const {
    return w_.panel.w + int64_t{panel} * 2 * kWrittenTiles * kTileBytes;
  }

  Panel place(int64_t token, int64_t head, int panel, float *state) const {
    const int64_t column = int64_t{panel} * kPanel;
    return {state, p_.v.at<uint16_t>(span_.batch, token, head, column),
            p_.o.at<uint16_t>(span_.batch, token, head, column), panel_columns(p_, panel)};
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
  void run_panels(const PanelStep &s, int64_t token, int64_t head, float *state,
                  Fetch &fetch) const {
    const PanelBlock &block = s.block;
    const GateBlock &gate = s.gate;
    const int first = item_.panel_begin;
    const int last = item_.panel_end;
    const int64_t panel_size = int64_t{dk_} * 1024;
    // Token pairs beside block b of DK, spread over all blocks or over one half of them.
    const Share all = {0, dk_};
    const Share early = {0, (dk_ + 1) / 2};
    const Share late = {dk_ / 2, dk_};

    Panel now = place(token, head, first, state);
    for (int b = 0; b < dk_; ++b) pack_state(s, now.state, b);
    multiply_state(s, s.key.k, 0, block.ks[0], [&](int) { fetch.rows(kFetch); });
    multiply_state(s, s.key.k, 1, block.ks[1], [&](int b) {
      fetch.rows(kFetch);
      residual<kFull, 0>(s, now, all.from(b), all.to(b));
    });
    for (int panel = first; panel < last; ++panel) {
      solve_values<0>(s);
      multiply_state(s, s.key.q, 0, block.qs[0], [&](int b) {
        fetch.rows(kFetch);
        pack_values<0, false>(s, written(panel), all.from(b), all.to(b));
      });
      multiply_block(gate.a10, block.right[0], block.av);
      multiply_block(gate.p, block.right[0], block.pv[0]);
      multiply_state(s, s.key.q, 1, block.qs[1], [&](int b) {
        fetch.rows(kFetch);
        residual<kFull, 1>(s, now, early.from(b), early.to(b));
        write_output<kFull, 0>(s, now, 2 * late.from(b), 2 * late.to(b));
      });
      solve_values<1>(s);
      if (panel + 1 == last) break;
      const Panel next = place(token, head, panel + 1, now.state + panel_size);
      for (int b = 0; b < dk_; ++b) pack_state(s, next.state, b);
      multiply_state(s, s.key.k, 0, block.ks[0], [&](int b) {
        fetch.rows(kFetch);
        pack_values<1, true>(s, written(panel), all.from(b), all.to(b));
      });
      couple_products(gate, block);
      multiply_state(s, s.key.k, 1, block.ks[1], [&](int b) {
        fetch.rows(kFetch);
        residual<kFull, 0>(s, next, early.from(b), early.to(b));
        write_output<kFull, 1>(s, now, 2 * late.from(b), 2 * late.to(b));
      });
      now = next;
    }
    pack_values<1, true>(s, written(last - 1), 0, kHalf);
    couple_products(gate, block);
    write_output<kFull, 1>(s, now, 0, kBlock);
    for (int panel = first; panel < last; ++panel) {
      update_state(s, state + (panel - first) * panel_size, written(panel),
                   [&](int) { fetch.rows(kFetch); });
    }
  }

  /// pv of block 1: P V' with both blocks' V'.
  static void couple_products(const GateBlock &gate, const PanelBlock &block) {
    zero_products();
    multiply_halves(gate.p10, block.right[0]);
    multiply_halves(gate.p + 4 * kTileBytes, block.right[1]);
    store_products(block.pv[1]);
  }

  /// A step of one block.
  void run_short_panels(const PanelStep &s, int64_t token, int64_t head, float *state) const {
    const PanelBlock &block = s.block;
    for (int panel = item_.panel_begin; panel < item_.panel_end; ++panel) {
      const Panel p = place(token, head, panel, state);
      for (int b = 0; b < dk_; ++b) pack_state(s, p.state, b);
      multiply_state(s, s.key.k, 0, block.ks[0], Nothing());
      multiply_state(s, s.key.q, 0, block.qs[0], Nothing());
      residual<false, 0>(s, p, 0, kHalf);
      solve_values<0>(s);
      pack_values<0, true>(s, written(panel), 0, kHalf);
      multiply_block(s.gate.p, block.right[0], block.pv[0]);
      write_output<false, 0>(s, p, 0, kBlock);
      update_state(s, state, written(panel), Nothing());
      state += dk_ * 1024;
    }
  }

  const DeltaRule &p_;
  const Item &item_;
  const Workspace &w_;
  SequenceSpan span_;
  int dk_;
};

int64_t items(const DeltaRule &p, int32_t threads) {
  if (!served(p)) return avx512::kernel::chunk_gated_delta_rule.items(p, threads);
  return Plan(p, threads).items();
}

size_t scratch(const DeltaRule &p, int32_t threads) {
  if (!served(p)) return avx512::kernel::chunk_gated_delta_rule.scratch(p, threads);
  const Plan plan(p, threads);
  Workspace w;
  return carve(w, nullptr, plan.widths) + plan.state_bytes();
}

void run(const DeltaRule &p, int32_t threads, int64_t first, int64_t last, void *memory) {
  if (!served(p))
    return avx512::kernel::chunk_gated_delta_rule.run(p, threads, first, last, memory);
  const Plan plan(p, threads);
  Workspace w;
  carve(w, memory, plan.widths);
  const TileScope tiles;
  for (int64_t i = first; i < last; ++i) {
    const Item item(plan, p, i);
    ItemRun(p, plan, item, w).run();
  }
}

}  // namespace

const Kernel<op::chunk_gated_delta_rule> kernel::chunk_gated_delta_rule = {&items, &run, &scratch};

}  // namespace gdn::cpu::amx
