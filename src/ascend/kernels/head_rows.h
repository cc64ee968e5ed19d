#ifndef GDN_ASCEND_KERNELS_HEAD_ROWS_H_
#define GDN_ASCEND_KERNELS_HEAD_ROWS_H_

#include <type_traits>

#include "ascend/kernels/items.h"
#include "ascend/kernels/spans.h"

namespace gdn::ascend::kernels {

/// A number a token and head, of up to 8 heads of a chunk: GM has a row a token, V wants a row a
/// head. Slots of what is loaded, one of the rows. It orders nothing between pipes: who uses it
/// does. E: float, f16 or bf16.
///
/// UB: Slots x C blocks as loaded, C * 8 f32 of rows; in 16 bits also C * 16 f32.
template <class E, int64_t C, int Slots = kSlots>
class HeadRows {
 public:
  GDN_NPU HeadRows(Core &core, const char *name) : core_(core) {
    for (Ub<E> &slot : loaded_) slot = core.take<Ub<E>>(name, C * kLoadedLanes);
    if constexpr (kNarrow) wide_ = core.take<Ub<float>>("widened", C * kLoadedLanes);
    rows_ = core.take<Ub<float>>("a row a head", kBlockLanes * C);
  }

  /// MTE2. `heads` numbers of each of `length` tokens, which have `stride` in GM.
  GDN_NPU void load_slot(int slot, Gm<const E> from, int64_t length, int64_t heads,
                         int64_t stride) {
    load(core_, loaded_[slot], from, {length, heads, stride});
  }

  /// V. Zeros: what a shorter chunk leaves as it was.
  GDN_NPU void clear_slot(int slot) {
    fill(core_, loaded_[slot].template as<float>(), 0.0F, C * kBlockLanes);
  }

  /// V. Rows from a slot.
  GDN_NPU void split_slot(int slot) {
    Ub<float> from;
    if constexpr (kNarrow) {
      vcast<E>(core_, {wide_}, {loaded_[slot]}, {C * kLoadedLanes / kLanes});
      pipe_barrier(core_, Pipe::v);
      from = wide_;
    } else {
      from = loaded_[slot];
    }
    constexpr int64_t kBlocks = kLoadedLanes / kBlockLanes;
    vtranspose(core_, rows_, from, C / kFractal, {kBlocks, kBlocks * kFractal, C / kBlockLanes, 2});
  }

  /// C numbers of one of the heads.
  GDN_NPU Ub<float> row(int64_t head) const { return rows_ + head * C; }

 private:
  static constexpr bool kNarrow = !std::is_same_v<E, float>;
  /// A token's numbers take a block.
  static constexpr int64_t kLoadedLanes = kBlockBytes / static_cast<int64_t>(sizeof(E));

  Core &core_;
  Ub<E> loaded_[Slots];
  Ub<float> wide_, rows_;
};

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_HEAD_ROWS_H_
