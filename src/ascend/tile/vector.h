#ifndef GDN_ASCEND_TILE_VECTOR_H_
#define GDN_ASCEND_TILE_VECTOR_H_

#include "ascend/tile/core.h"

namespace gdn::ascend {

// Vector instructions run on pipe V, from UB to UB. A repeat takes 64 lanes, in blocks of 32 bytes;
// operands begin at multiples of 32 bytes. An operand that is written may be one that is read, with
// the same strides, and must not overlap one in any other way.

/// An operand: where it begins, and how many blocks its blocks and its repeats are apart. Stride 0
/// repeats: block stride 0 spreads one block over all lanes, repeat stride 0 one row over all rows.
template <class E>
struct Lanes {
  Ub<E> at;
  int64_t block_stride = 1;
  int64_t repeat_stride = kLanes * static_cast<int64_t>(sizeof(E)) / kBlockBytes;
};

/// 1 to 255 repeats, of which the first `lanes` (1 to 64) lanes count.
struct Repeats {
  int64_t count;
  int64_t lanes = kLanes;
};

enum class Binary : uint8_t { add, sub, mul, max };

/// to = a OP b.
GDN_NPU void vbinary(Core &core, Binary op, Lanes<float> to, Lanes<float> a, Lanes<float> b,
                     Repeats repeats, Where where = Where::current());

/// to = to + a b.
GDN_NPU void vmla(Core &core, Lanes<float> to, Lanes<float> a, Lanes<float> b, Repeats repeats,
                  Where where = Where::current());

/// to = e^a. The model takes the C library's.
GDN_NPU void vexp(Core &core, Lanes<float> to, Lanes<float> a, Repeats repeats,
                  Where where = Where::current());

/// to = value.
GDN_NPU void vdup(Core &core, Lanes<float> to, float value, Repeats repeats,
                  Where where = Where::current());

/// to = a, widened. 64 lanes of a are 4 blocks. E: f16, bf16.
template <class E>
GDN_NPU void vcast(Core &core, Lanes<float> to, Lanes<E> a, Repeats repeats,
                   Where where = Where::current());

/// to = a, rounded to nearest, ties to even. 64 lanes of `to` are 4 blocks. E: f16, bf16.
template <class E>
GDN_NPU void vround(Core &core, Lanes<E> to, Lanes<float> a, Repeats repeats,
                    Where where = Where::current());

/// to = a where the lane's bit of the mask is 1, else the number that otherwise points to. The mask
/// has 8 bytes a repeat, the lowest bit first, one repeat's behind the other's.
GDN_NPU void vselect(Core &core, Lanes<float> to, Ub<uint8_t> mask, Lanes<float> a,
                     Ub<float> otherwise, Repeats repeats, Where where = Where::current());

/// Each of 8 values to a block of its own, 8 lanes of it; `repeats` times, all without gaps.
GDN_NPU void vbrcb(Core &core, Ub<float> to, Ub<float> from, int64_t repeats,
                   Where where = Where::current());

/// Blocks between the rows of what vtranspose reads and writes, and between its repeats.
struct TransposeStrides {
  int64_t from_row;
  int64_t from_repeat;
  int64_t to_row;
  int64_t to_repeat;
};

/// 16 rows of 8 f32 (a block each) become 8 rows of 16 (two blocks each), `repeats` times.
GDN_NPU void vtranspose(Core &core, Ub<float> to, Ub<float> from, int64_t repeats,
                        TransposeStrides strides, Where where = Where::current());

}  // namespace gdn::ascend

#endif  // GDN_ASCEND_TILE_VECTOR_H_
