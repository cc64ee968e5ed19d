#ifndef GDN_ASCEND_OPERATIONS_PROBLEM_H_
#define GDN_ASCEND_OPERATIONS_PROBLEM_H_

#include <initializer_list>
#include <string>
#include <type_traits>
#include <vector>

#include "ascend/kernels/forms.h"
#include "ascend/kernels/items.h"
#include "core/stages.h"
#include "core/status.h"

namespace gdn::ascend {

inline Status unsupported(const std::string &what) {
  return {Code::unsupported, "the ascend backend " + what};
}

/// A tensor and its name.
struct Named {
  const char *name;
  const Tensor *tensor;
};

/// What the kernels take of any stage: chunks of 64 or 128 tokens, tensors without gaps.
Status check_stage(const StageShape &p, std::initializer_list<Named> tensors);

/// The same, and what they take of a stage with key heads.
Status check_key_stage(const StageShape &p, const Tensor &k, std::initializer_list<Named> tensors);

/// And of beta beside k.
Status check_beta(const Tensor &beta, const Tensor &k);

/// True if a call has no token at all.
bool empty(const StageShape &p);

// A launch is what a call's tensors are packed for: a ModelLaunch or a device::Packing. It hands
// out their places in GM, and then runs a kernel on the struct that holds them.

/// The sequences as kernels see them; offsets become an input of the launch.
template <class Launch>
kernels::SequenceTable sequence_table(Launch &launch, const StageShape &p) {
  const Sequences &from = p.sequences;
  kernels::SequenceTable to;
  to.count = from.count;
  to.tokens = from.tokens;
  to.packed = from.packed();
  if (!to.packed) return to;
  const IndexArray &offsets = from.cu_seqlens;
  to.wide = offsets.is_64bit;
  if (to.wide) {
    to.offsets64 =
        launch.input("cu_seqlens", static_cast<const int64_t *>(offsets.data), offsets.rows);
  } else {
    to.offsets32 =
        launch.input("cu_seqlens", static_cast<const int32_t *>(offsets.data), offsets.rows);
  }
  return to;
}

/// Bit j of row i is 1 for i > j, or for i >= j, the lowest bit of a byte first.
std::vector<uint8_t> triangle_bits(int64_t size, bool diagonal);

inline int64_t elements_of(const Tensor &t) {
  int64_t n = 1;
  for (int32_t d = 0; d < t.rank; ++d) n *= t.shape[d];
  return n;
}

template <class E, class Launch>
Gm<const E> input(Launch &launch, const char *name, const Tensor &t) {
  return launch.input(name, static_cast<const E *>(t.data), elements_of(t));
}
template <class E, class Launch>
Gm<E> output(Launch &launch, const char *name, const Tensor &t) {
  return launch.output(name, static_cast<E *>(t.data), elements_of(t));
}
template <class E, class Launch>
Gm<E> scratch(Launch &launch, const char *name, int64_t elements) {
  return launch.template scratch<E>(name, elements);
}

/// Calls f(E()) with the element type of a tensor.
template <class F>
Status with_type(DType type, F f) {
  if (type == DType::f16) return f(f16());
  if (type == DType::bf16) return f(bf16());
  return f(float());
}

/// The same where it is float or E.
template <class E, class F>
Status with_f32_or(DType type, F f) {
  return type == DType::f32 ? f(float()) : f(E());
}

/// Calls f(std::integral_constant<int64_t, C>()).
template <class F>
Status with_chunk(int64_t chunk_size, F f) {
  if (chunk_size == 128) return f(std::integral_constant<int64_t, 128>());
  return f(std::integral_constant<int64_t, 64>());
}

/// Calls f(E(), std::integral_constant<int64_t, C>()) for a stage whose keys are in 16 bits.
template <class F>
Status with_key_form(DType type, int64_t chunk_size, F f) {
  return with_chunk(chunk_size, [&](auto chunk) {
    return type == DType::f16 ? f(f16(), chunk) : f(bf16(), chunk);
  });
}

}  // namespace gdn::ascend

#endif  // GDN_ASCEND_OPERATIONS_PROBLEM_H_
