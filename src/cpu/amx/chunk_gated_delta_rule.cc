// The fused chunk kernel on AMX tiles, for bf16 q, k, v (other types: the avx512 kernel).
//
// For each step of 32 tokens, with c the cumulative log decay inside it:
//
//     key head     K, Q into tiles; K^T; K K^T; Q K^T                                  keys.h
//     value head   c, row scales; T = (I + A)^-1 and P by substitution             gates.h, solve.h
//     32 columns   V' = T diag(beta) (V - diag(exp c) K S)
//                  O  = scale (diag(exp c) Q S + P V')
//                  S <- exp(c_last) S + K^T diag(exp(c_last - c)) V'                   panel.h
//
// States stay f32 in the scratch memory from the first step of a sequence to its last, as panels of
// 32 columns (16 KB at DK = 128) that fit the L1 cache beside the operands of their step. A step is
// always cut at a multiple of 32 tokens from its sequence's start, so a prefill resumed at a
// multiple of 64 repeats the same arithmetic.

#include "cpu/amx/avx512.h"
#include "cpu/amx/gates.h"
#include "cpu/amx/keys.h"
#include "cpu/amx/layout.h"
#include "cpu/amx/panel.h"
#include "cpu/amx/plan.h"
#include "cpu/amx/solve.h"
#include "cpu/amx/state.h"

namespace gdn::cpu::amx {

extern const Kernel<DeltaRule> kChunkGatedDeltaRule;

namespace {

bool served(const DeltaRule &p) { return p.q.dtype == DType::bf16; }

__mmask32 panel_columns(const DeltaRule &p, int panel) {
  const int64_t left = p.value_dim - int64_t{panel} * kPanel;
  return _cvtu32_mask32(left >= kPanel ? ~0U : (1U << left) - 1);
}

/// Rows [token, token + count) of a panel of v or o.
Rows rows_of(const Tensor &x, int64_t batch, int64_t token, int64_t head, int panel, int count,
             __mmask32 columns) {
  return {x.at<uint16_t>(batch, token, head, int64_t{panel} * kPanel), x.stride[1], count, columns};
}

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
      const __mmask32 columns = panel_columns(p_, panel);
      for (int64_t t = 0; t < span_.length; ++t) {
        const Rows o = rows_of(p_.o, span_.batch, span_.begin + t, head, panel, 1, columns);
        _mm512_mask_storeu_epi16(o.first, o.columns, _mm512_setzero_si512());
      }
    });
  }

  void step(int64_t token, int count) const {
    auto *state = reinterpret_cast<float *>(w_.states);
    for (int64_t k = item_.key_begin; k < item_.key_end; ++k) {
      load_rows(p_.k.at<uint16_t>(span_.batch, token, k), p_.k.stride[1], count, p_.key_dim, dk_,
                w_.key.k);
      load_rows(p_.q.at<uint16_t>(span_.batch, token, k), p_.q.stride[1], count, p_.key_dim, dk_,
                w_.key.q);
      transpose_keys(w_.key, dk_);
      multiply_keys(w_.key, dk_);
      load_norms(w_.key, p_, dk_);
      for (int64_t i = item_.group_begin; i < item_.group_end; ++i) {
        const int64_t head = p_.heads.value_head(k, i);
        const float decay = load_gates(p_, span_.batch, token, count, head, w_.key, w_.gate);
        solve(w_.key, w_.gate);
        for (int panel = item_.panel_begin; panel < item_.panel_end; ++panel) {
          const __mmask32 columns = panel_columns(p_, panel);
          const Rows v = rows_of(p_.v, span_.batch, token, head, panel, count, columns);
          const Rows o = rows_of(p_.o, span_.batch, token, head, panel, count, columns);
          step_panel(v, o, decay, state);
          state += dk_ * 1024;
        }
      }
    }
  }

  [[gnu::always_inline]] void step_panel(const Rows &v, const Rows &o, float decay,
                                         float *state) const {
    const PanelBlock &b = w_.panel;
    read_state(state, decay, dk_, b);
    multiply_state(w_.key.k, b.s, dk_, b.ks);
    multiply_state(w_.key.q, b.s, dk_, b.qs);
    residual(v, w_.gate, b);
    multiply_tokens(w_.gate.t, b.r, b.v);
    pack_values(w_.gate, b);
    multiply_tokens(w_.gate.p, b.v_right, b.pv);
    write_state(w_.key.k_left, b, dk_, state);
    write_output(o, w_.gate, b);
  }

  const DeltaRule &p_;
  const Item &item_;
  const Workspace &w_;
  SequenceSpan span_;
  int dk_;
};

int64_t items(const DeltaRule &p, int32_t threads) {
  if (!served(p)) return avx512::kChunkGatedDeltaRule.items(p, threads);
  return Plan(p, threads).items();
}

size_t scratch(const DeltaRule &p, int32_t threads) {
  if (!served(p)) return avx512::kChunkGatedDeltaRule.scratch(p, threads);
  const Plan plan(p, threads);
  Workspace w;
  return carve(w, nullptr, plan.widths) + plan.state_bytes();
}

void run(const DeltaRule &p, int32_t threads, int64_t first, int64_t last, void *memory) {
  if (!served(p)) return avx512::kChunkGatedDeltaRule.run(p, threads, first, last, memory);
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

const Kernel<DeltaRule> kChunkGatedDeltaRule = {&items, &scratch, &run};

}  // namespace gdn::cpu::amx
