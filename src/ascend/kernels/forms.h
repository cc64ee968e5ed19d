#ifndef GDN_ASCEND_KERNELS_FORMS_H_
#define GDN_ASCEND_KERNELS_FORMS_H_

#include "ascend/tile/types.h"

namespace gdn::ascend::kernels {

/// The stages, each of which has one entry on a device.
enum class Stage : uint32_t {
  chunk_local_cumsum,
  chunk_scaled_dot_kkt,
  solve_tril,
  recompute_w_u,
  chunk_fwd_h,
  chunk_fwd_o
};
inline constexpr int kStages = 6;

/// A stage's kernel for some types and a chunk size.
struct Form {
  Stage stage;
  uint32_t number;
};

template <class E>
inline constexpr uint32_t kTypeNumber = 0;
template <>
inline constexpr uint32_t kTypeNumber<f16> = 1;
template <>
inline constexpr uint32_t kTypeNumber<bf16> = 2;

/// The number of a form among those of its stage, for the types in the order of the kernel's own
/// parameters.
template <int64_t C, class... Types>
GDN_NPU constexpr uint32_t form_number() {
  uint32_t number = 0;
  ((number = number * 3 + kTypeNumber<Types>), ...);
  return number * 2 + (C == 128 ? 1 : 0);
}

}  // namespace gdn::ascend::kernels

#endif  // GDN_ASCEND_KERNELS_FORMS_H_
