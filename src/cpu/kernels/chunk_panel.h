#ifndef GDN_CPU_KERNELS_CHUNK_PANEL_H_
#define GDN_CPU_KERNELS_CHUNK_PANEL_H_

// One step over one panel of the state. Include GDN_TILE, fetch_ahead.h,
// chunk_operands.h and chunk_decays.h first.

namespace gdn::cpu::GDN_ISA {
namespace {

/// A panel's state and the operands made of it. Buffers are the caller's; v2, v2_low are shared by
/// all panels of a thread.
template <class Operand>
struct ChunkPanel {
  using Element = typename Operand::Element;
  static constexpr int64_t kPack = Operand::kPack;
  /// A 16-bit V' is multiplied into the state as high + low part: with one part alone a key that
  /// repeats loses three bits of the state.
  static constexpr bool kSplit = kPack == 2;

  const ChunkOperands<Operand> &shared;
  const ChunkDecays &decays;
  int64_t state_rows;  ///< panel_rows(DK).
  float *state;        ///< [state_rows][kTileColumns].
  Element *operand;    ///< The state as B, [state_rows / kPack][kTileColumns][kPack]; with kPack 1
                       ///< the state.
  float *v;            ///< [kStep][kTileColumns], V'.
  Element *write;      ///< [kStep / kPack][kTileColumns][kPack], diag(write) V' as B.
  Element *write_low;  ///< What rounding `write` left, with kSplit.

  FetchAhead ahead = {};

  /// Depth of a product between two steps of `ahead`.
  static constexpr int64_t kFetchDepth = 32;

  /// c = rows of q or k times the state.
  [[gnu::always_inline]] void times_state(Tile<kTileRows> &c, const Element *rows) {
    clear(c);
    for (int64_t d = 0; d < shared.depth; d += kFetchDepth) {
      const int64_t left = shared.depth - d;
      mma<Operand>(c, rows + d, shared.row, operand + d * kTileColumns, kTileColumns * kPack,
                   left < kFetchDepth ? left : kFetchDepth);
      ahead.step();
    }
  }

  /// Writes a tile of rows into a B operand, and its rounding remainder into `low`.
  static void store_operand(const Tile<kTileRows> &t, Element *high, Element *low) {
    for (int m = 0; m < kTileRows; m += kPack) {
      for (int side = 0; side < 2; ++side) {
        Vec rows[kPack];
        for (int i = 0; i < kPack; ++i) rows[i] = t.v[m + i][side];
        const int64_t at = (m * 2 + side * kPack) * kWidth;
        Operand::store_row_group(high + at, rows);
        if constexpr (kPack == 2) {
          if (low != nullptr) {
            Operand::subtract_row_group(high + at, rows);
            Operand::store_row_group(low + at, rows);
          }
        }
      }
    }
  }

  /// Refreshes `operand` from `state`.
  void convert_state() {
    if constexpr (kPack == 2) {
      for (int64_t d = 0; d < state_rows; d += kTileRows) {
        Tile<kTileRows> s;
        load_tile(s, state + d * kTileColumns, kTileColumns);
        store_operand(s, operand + d * kTileColumns, nullptr);
      }
    }
  }

  /// Rows [i, i + kTileRows) of V' from the rows above them: V' = (I + A)^-1 diag(beta) (V -
  /// diag(exp c) K S), by forward substitution. `source` holds these rows of V.
  template <class E>
  [[gnu::always_inline]] void solve_rows(int64_t i, const E *source, int64_t stride) {
    for (int m = 0; m < kTileRows; ++m) __builtin_prefetch(source + m * stride, 0, 3);
    Tile<kTileRows> r;
    times_state(r, shared.k + i * shared.row);
#pragma GCC unroll 16
    for (int m = 0; m < kTileRows; ++m) {
      const Vec beta = set1(decays.beta[i + m]);
      const Vec read = set1(decays.read_k[i + m]);
      for (int side = 0; side < 2; ++side) {
        const Vec x = load(source + m * stride + side * kWidth);
        r.v[m][side] = fnma(read, r.v[m][side], beta * x);
      }
    }
    mma<F32Operand>(r, decays.a + i * kStep, kStep, v, kTileColumns, i);
    const float *a = decays.a + i * kStep + i;
#pragma GCC unroll 16
    for (int j = 0; j < kTileRows; ++j) {
#pragma GCC unroll 16
      for (int m = j + 1; m < kTileRows; ++m) {
        const Vec x = set1(a[m * kStep + j]);
        r.v[m][0] = fma(x, r.v[j][0], r.v[m][0]);
        r.v[m][1] = fma(x, r.v[j][1], r.v[m][1]);
      }
    }
    store_tile(r, v + i * kTileColumns, kTileColumns);
#pragma GCC unroll 16
    for (int m = 0; m < kTileRows; ++m) {
      const Vec w = set1(decays.write[i + m]);
      r.v[m][0] = r.v[m][0] * w;
      r.v[m][1] = r.v[m][1] * w;
    }
    const bool split = kSplit && i + kTileRows > decays.low_first;
    store_operand(r, write + i * kTileColumns, split ? write_low + i * kTileColumns : nullptr);
  }

  /// Rows [i, i + kTileRows) of O = scale (diag(exp c) Q S + tril(..) V').
  template <class E>
  [[gnu::always_inline]] void output_rows(int64_t i, E *target, int64_t stride) {
    Tile<kTileRows> o;
    times_state(o, shared.q + i * shared.row);
#pragma GCC unroll 16
    for (int m = 0; m < kTileRows; ++m) {
      const Vec read = set1(decays.read_q[i + m]);
      o.v[m][0] = o.v[m][0] * read;
      o.v[m][1] = o.v[m][1] * read;
    }
    mma<F32Operand>(o, decays.p + i * kStep, kStep, v, kTileColumns, i);
    const float *p = decays.p + i * kStep + i;
    const float *own = v + i * kTileColumns;
#pragma GCC unroll 16
    for (int j = 0; j < kTileRows; ++j) {
      const Vec v0 = load(own + j * kTileColumns);
      const Vec v1 = load(own + j * kTileColumns + kWidth);
#pragma GCC unroll 16
      for (int m = j; m < kTileRows; ++m) {
        const Vec x = set1(p[m * kStep + j]);
        o.v[m][0] = fma(x, v0, o.v[m][0]);
        o.v[m][1] = fma(x, v1, o.v[m][1]);
      }
    }
#pragma GCC unroll 16
    for (int m = 0; m < kTileRows; ++m) {
      store(target + m * stride, o.v[m][0]);
      store(target + m * stride + kWidth, o.v[m][1]);
    }
  }

  /// S <- exp(c_last) S + K^T diag(write) V', over the first `tokens` tokens (whole tiles).
  void update_state(int64_t tokens) {
    const Vec decay = set1(decays.state_decay);
    for (int64_t d = 0; d < state_rows; d += kTileRows) {
      Tile<kTileRows> s;
      load_tile(s, state + d * kTileColumns, kTileColumns);
#pragma GCC unroll 16
      for (int m = 0; m < kTileRows; ++m) {
        s.v[m][0] = s.v[m][0] * decay;
        s.v[m][1] = s.v[m][1] * decay;
      }
      const Element *k = shared.k_turned + d * kStep;
      mma<Operand>(s, k, kStep, write, kTileColumns * kPack, tokens);
      if constexpr (kSplit) {
        const int64_t low = decays.low_first;
        mma<Operand>(s, k + low, kStep, write_low + low * kTileColumns, kTileColumns * kPack,
                     tokens - low);
      }
      ahead.step();
      store_tile(s, state + d * kTileColumns, kTileColumns);
      if constexpr (kPack == 2) store_operand(s, operand + d * kTileColumns, nullptr);
    }
  }

  /// The whole step of n tokens. `source` and `target` are rows of V and O at the panel's first
  /// column, of which `columns` exist.
  template <class E>
  void run(int64_t n, int64_t columns, const E *source, int64_t source_stride, E *target,
           int64_t target_stride) {
    const int64_t tiles = (n + kTileRows - 1) / kTileRows;
    const int64_t depths = (shared.depth + kFetchDepth - 1) / kFetchDepth;
    ahead.spread_over(tiles * 2 * depths + state_rows / kTileRows);
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t i = tile * kTileRows;
      if (columns >= kTileColumns && i + kTileRows <= n) {
        solve_rows(i, source + i * source_stride, source_stride);
        output_rows(i, target + i * target_stride, target_stride);
      } else {
        edge_rows(i, n - i, columns, source + i * source_stride, source_stride,
                  target + i * target_stride, target_stride);
      }
    }
    update_state(tiles * kTileRows);
  }

 private:
  /// A tile that sticks out of V: only existing elements are read and written.
  template <class E>
  [[gnu::noinline]] void edge_rows(int64_t i, int64_t n, int64_t columns, const E *source,
                                   int64_t source_stride, E *target, int64_t target_stride) {
    alignas(64) float block[kTileRows * kTileColumns];
    for (int64_t m = 0; m < kTileRows; ++m) {
      pack_row(source + m * source_stride, m < n ? columns : 0, kTileColumns,
               block + m * kTileColumns);
    }
    solve_rows(i, block, kTileColumns);
    output_rows(i, block, kTileColumns);
    for (int64_t m = 0; m < kTileRows && m < n; ++m) {
      convert_row(block + m * kTileColumns, columns, target + m * target_stride);
    }
  }
};

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_CHUNK_PANEL_H_
