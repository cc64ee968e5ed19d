#ifndef GDN_CPU_KERNELS_STATE_PANELS_H_
#define GDN_CPU_KERNELS_STATE_PANELS_H_

// A panel is kTileColumns value columns of one head's state, [panel_rows(DK)][kTileColumns] f32,
// contiguous: what stays in the first-level cache while a chunk passes over it. Rows past DK and
// columns past DV are 0. These functions move panels from and to state tensors of either layout and
// type. Include GDN_TILE first.

namespace gdn::cpu::GDN_ISA {
namespace {

/// DK up to whole tiles.
inline int64_t panel_rows(int64_t key_dim) {
  return (key_dim + kTileRows - 1) / kTileRows * kTileRows;
}

/// One head's state in a tensor [.., HV, DK, DV]; for a V-first state the DK stride is 1.
template <class E>
struct StateView {
  E *data;
  int64_t key_stride;
  int64_t value_stride;
  int64_t key_dim;
  int64_t value_dim;
};

template <class E>
inline StateView<E> state_view(const Tensor &t, int64_t slot, int64_t head) {
  return {t.at<E>(slot, head), t.stride[2], t.stride[3], t.shape[2], t.shape[3]};
}

/// Reads the panel that starts at value column `column`.
template <class E>
inline void load_panel(const StateView<E> &s, int64_t column, float *panel) {
  const int64_t columns = s.value_dim - column;
  if (s.value_stride == 1) {
    for (int64_t d = 0; d < s.key_dim; ++d) {
      const E *row = s.data + d * s.key_stride + column;
      for (int64_t j = 0; j < kTileColumns; j += kWidth) {
        const Vec x = columns - j >= kWidth ? load(row + j)
                      : columns > j         ? load_n(row + j, columns - j)
                                            : zero();
        store(panel + d * kTileColumns + j, x);
      }
    }
    return;
  }
  alignas(64) float block[kWidth * kWidth];
  alignas(64) float turned[kWidth * kWidth];
  for (int64_t d = 0; d < s.key_dim; d += kWidth) {
    const int64_t depth = s.key_dim - d < kWidth ? s.key_dim - d : kWidth;
    for (int64_t j = 0; j < kTileColumns; j += kWidth) {
      for (int64_t v = 0; v < kWidth; ++v) {
        const bool inside = j + v < columns;
        const E *row = s.data + (column + j + v) * s.value_stride + d;
        store(block + v * kWidth, inside ? load_n(row, depth) : zero());
      }
      transpose_square(block, kWidth, turned, kWidth);
      for (int64_t i = 0; i < depth; ++i) {
        store(panel + (d + i) * kTileColumns + j, load(turned + i * kWidth));
      }
    }
  }
}

/// Writes the panel back.
template <class E>
inline void store_panel(const StateView<E> &s, int64_t column, const float *panel) {
  const int64_t columns = s.value_dim - column;
  if (s.value_stride == 1) {
    for (int64_t d = 0; d < s.key_dim; ++d) {
      E *row = s.data + d * s.key_stride + column;
      for (int64_t j = 0; j < kTileColumns && j < columns; j += kWidth) {
        const Vec x = load(panel + d * kTileColumns + j);
        if (columns - j >= kWidth) {
          store(row + j, x);
        } else {
          store_n(row + j, x, columns - j);
        }
      }
    }
    return;
  }
  alignas(64) float block[kWidth * kWidth] = {};
  alignas(64) float turned[kWidth * kWidth];
  for (int64_t d = 0; d < s.key_dim; d += kWidth) {
    const int64_t depth = s.key_dim - d < kWidth ? s.key_dim - d : kWidth;
    for (int64_t j = 0; j < kTileColumns; j += kWidth) {
      for (int64_t i = 0; i < depth; ++i) {
        store(block + i * kWidth, load(panel + (d + i) * kTileColumns + j));
      }
      transpose_square(block, kWidth, turned, kWidth);
      for (int64_t v = 0; v < kWidth && j + v < columns; ++v) {
        store_n(s.data + (column + j + v) * s.value_stride + d, load(turned + v * kWidth), depth);
      }
    }
  }
}

/// Reads a panel of t[slot, head], whichever its type; zeros if t is absent.
inline void load_panel(const Tensor &t, int64_t slot, int64_t head, int64_t column, int64_t key_dim,
                       float *panel) {
  const int64_t filled = t.present() ? key_dim : 0;
  for (int64_t i = filled * kTileColumns; i < panel_rows(key_dim) * kTileColumns; i += kWidth) {
    store(panel + i, zero());
  }
  with_element(t.dtype, [&](auto element) {
    load_panel(state_view<decltype(element)>(t, slot, head), column, panel);
  });
}

/// Writes a panel to t[slot, head], whichever its type; nothing if t is absent.
inline void store_panel(const Tensor &t, int64_t slot, int64_t head, int64_t column,
                        const float *panel) {
  with_element(t.dtype, [&](auto element) {
    store_panel(state_view<decltype(element)>(t, slot, head), column, panel);
  });
}

}  // namespace
}  // namespace gdn::cpu::GDN_ISA

#endif  // GDN_CPU_KERNELS_STATE_PANELS_H_
