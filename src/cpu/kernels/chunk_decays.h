#ifndef GDN_CPU_KERNELS_CHUNK_DECAYS_H_
#define GDN_CPU_KERNELS_CHUNK_DECAYS_H_

// Per value head and step: everything that depends on g and beta. Include GDN_TILE, gates.h and
// chunk_operands.h first.

namespace gdn::cpu::GDN_ISA {
namespace {

static_assert(kStep == kGateTokens);

/// With c the inclusive sum of g in the step and |k|, |q| standing for the l2norm factors:
struct ChunkDecays {
  float *a;           ///< [kStep][kStep], -beta_i exp(c_i - c_j) k_i . k_j for j < i, else 0.
  float *p;           ///< [kStep][kStep], scale exp(c_i - c_j) q_i . k_j for j <= i, else 0.
  float *beta;        ///< [kStep].
  float *read_k;      ///< [kStep], beta_i exp(c_i) |k_i|: what K S is multiplied by.
  float *read_q;      ///< [kStep], scale exp(c_i) |q_i|: what Q S is multiplied by.
  float *write;       ///< [kStep], exp(c_last - c_i) |k_i|: what V' is multiplied by for the state.
  float state_decay;  ///< exp(c_last).
  /// First token, an even one, from which on V' enters the state with its low part.
  int64_t low_first;

  explicit ChunkDecays(Arena &arena) : state_decay(1.0F), low_first(0) {
    a = arena.take<float>(kStep * kStep);
    p = arena.take<float>(kStep * kStep);
    beta = arena.take<float>(kStep);
    read_k = arena.take<float>(kStep);
    read_q = arena.take<float>(kStep);
    write = arena.take<float>(kStep);
  }

  /// A low part is 2^-9 of its token at most and is itself rounded to 2^-9 of that. Of a token that
  /// the rest of the step decays to 2^-11 or less it is smaller than that rounding of the last
  /// one's.
  static int64_t first_with_low(const float *to_end) {
    constexpr float kForgotten = 0x1p-11F;
    int64_t i = 0;
    while (i < kStep - 1 && to_end[i] <= kForgotten) ++i;
    return i / 2 * 2;
  }

  /// Fills everything for a step of n tokens from `rule`'s gates and the shared triangles.
  template <class Operand>
  void prepare(const DeltaRule &rule, const ChunkOperands<Operand> &shared, int64_t batch,
               int64_t token, int64_t head, int64_t n) {
    alignas(64) float g[kStep];
    load_gates(rule, batch, token, head, n, g, beta);
    // The sum as high + low: differences of large sums keep f32 accuracy.
    alignas(64) float high[kStep];
    alignas(64) float low[kStep];
    double sum = 0.0;
    for (int64_t i = 0; i < kStep; ++i) {
      sum += static_cast<double>(g[i]);
      high[i] = static_cast<float>(sum);
      low[i] = static_cast<float>(sum - static_cast<double>(high[i]));
    }
    const Vec last_high = set1(high[kStep - 1]);
    const Vec last_low = set1(low[kStep - 1]);
    alignas(64) float to_end[kStep];
    for (int64_t i = 0; i < kStep; i += kWidth) {
      const Vec h = load(high + i);
      const Vec l = load(low + i);
      const Vec k_norm = load(shared.k_norm + i);
      const Vec e = exp(h);
      const Vec from_start = fma(e, l, e);
      store(read_k + i, load(beta + i) * from_start * k_norm);
      store(read_q + i, from_start * load(shared.q_norm + i));
      const Vec decay = exp((last_high - h) + (last_low - l));
      store(to_end + i, decay);
      store(write + i, decay * k_norm);
    }
    low_first = first_with_low(to_end);
    const float e = exp(high[kStep - 1]);
    state_decay = e + e * low[kStep - 1];

    alignas(64) float index[kStep];
    for (int64_t i = 0; i < kStep; ++i) index[i] = static_cast<float>(i);
    for (int64_t i = 0; i < n; ++i) {
      const Vec h = set1(high[i]);
      const Vec l = set1(low[i]);
      const Vec row = set1(index[i]);
      const Vec a_factor = set1(-beta[i] * shared.k_norm[i]);
      const Vec p_factor = set1(shared.q_norm[i]);
      const int64_t end = (i / kTileRows + 1) * kTileRows;
      for (int64_t j = 0; j < end; j += kWidth) {
        const Vec column = load(index + j);
        const Vec decay = exp((h - load(high + j)) + (l - load(low + j))) * load(shared.k_norm + j);
        const Vec kk = load(shared.kk + i * kStep + j) * (a_factor * decay);
        const Vec qk = load(shared.qk + i * kStep + j) * (p_factor * decay);
        store(a + i * kStep + j, select_gt(row, column, kk, zero()));
        store(p + i * kStep + j, select_gt(column, row, zero(), qk));
      }
    }
    // Rows past the end up to a whole tile are read as zeros.
    for (int64_t i = n; i < kStep && i % kTileRows != 0; ++i) {
      for (int64_t j = 0; j < kStep; j += kWidth) {
        store(a + i * kStep + j, zero());
        store(p + i * kStep + j, zero());
      }
    }
  }
};

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_CHUNK_DECAYS_H_
