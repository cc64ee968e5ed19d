#ifndef GDN_ASCEND_TILE_MOVE_H_
#define GDN_ASCEND_TILE_MOVE_H_

#include "ascend/tile/core.h"

namespace gdn::ascend {

/// Rows that a move takes: `count` of them, `width` elements each, `stride` elements apart in GM.
struct Rows {
  int64_t count;
  int64_t width;
  int64_t stride;
  int64_t gap = 0;  ///< Blocks left free behind each row in UB.
};
/// Most rows of a move.
inline constexpr int64_t kMaxRows = 4095;

/// MTE2. Rows from GM to UB, where each begins at a multiple of 32 bytes; its last block is filled
/// up with zeros. E: any element of 1, 2 or 4 bytes.
template <class E>
GDN_NPU void load(Core &core, Ub<E> to, GmIn<E> from, Rows rows, Where where = Where::current());

/// MTE3. The way back: what fills up a block is not written.
template <class E>
GDN_NPU void store(Core &core, Gm<E> to, Ub<E> from, Rows rows, Where where = Where::current());

/// MTE2. Rows from GM to fractals in L1: element (r, c) goes to
/// ((c / 16) * height + r) * 16 + c % 16. `height` is a multiple of 16; rows from rows.count on are
/// left as they are. The width is a multiple of 16, the stride at most 65535. E: f16, bf16.
template <class E>
GDN_NPU void load_nd2nz(Core &core, L1<E> to, GmIn<E> from, Rows rows, int64_t height,
                        Where where = Where::current());

/// Most elements of a fill: 2^15 - 1 blocks.
inline constexpr int64_t kMaxFilled = 32767 * kFractal;

/// MTE2. Zeros in L1, a multiple of 16 elements. E: f16, bf16.
template <class E>
GDN_NPU void fill_l1(Core &core, L1<E> to, int64_t elements, Where where = Where::current());

/// FIX. A product of `rows.count` rows from L0C to GM, rounded to E. In L0C it has `height` rows, a
/// multiple of 16, and element (r, c) lies at ((c / 16) * height + r) * 16 + c % 16. E: float, f16,
/// bf16.
template <class E>
GDN_NPU void store_nz2nd(Core &core, Gm<E> to, L0c from, Rows rows, int64_t height,
                         Where where = Where::current());

/// Rows that two matrices of fractals have.
struct Heights {
  int64_t to;
  int64_t from;
};

/// FIX. A product from L0C to L1, rounded to E. In both, element (r, c) lies at
/// ((c / 16) * height + r) * 16 + c % 16; sizes are multiples of 16, heights at most 65535. E: f16,
/// bf16.
template <class E>
GDN_NPU void store_l1(Core &core, L1<E> to, L0c from, int64_t rows, int64_t columns,
                      Heights heights, Where where = Where::current());

/// S. One element of GM, of a tensor that no core of the launch writes. I: int32_t, int64_t.
template <class I>
GDN_NPU int64_t scalar_load(Core &core, Gm<const I> from, Where where = Where::current());

}  // namespace gdn::ascend

#endif  // GDN_ASCEND_TILE_MOVE_H_
