// The kernels' entries on a device, one a stage, and their launch. The device's compiler makes a
// library of this file alone.

#include "ascend/device/target.h"

#if defined(GDN_NPU_CUBE) || defined(GDN_NPU_VECTOR)
#include "ascend/device/entry.h"
#define GDN_NPU_BODY(stage) gdn::ascend::device::stage(arguments, form, sync_base)
#else
// For the host an entry has no body.
#define GDN_NPU_BODY(stage) \
  static_cast<void>(arguments), static_cast<void>(form), static_cast<void>(sync_base)
#endif

#include "ascend/device/launch.h"

extern "C" {

__global__ GDN_NPU void gdn_ascend_chunk_local_cumsum(__gm__ uint8_t *arguments, uint32_t form,
                                                      uint64_t sync_base) {
  GDN_NPU_BODY(chunk_local_cumsum);
}
__global__ GDN_NPU void gdn_ascend_chunk_scaled_dot_kkt(__gm__ uint8_t *arguments, uint32_t form,
                                                        uint64_t sync_base) {
  GDN_NPU_BODY(chunk_scaled_dot_kkt);
}
__global__ GDN_NPU void gdn_ascend_solve_tril(__gm__ uint8_t *arguments, uint32_t form,
                                              uint64_t sync_base) {
  GDN_NPU_BODY(solve_tril);
}
__global__ GDN_NPU void gdn_ascend_recompute_w_u(__gm__ uint8_t *arguments, uint32_t form,
                                                 uint64_t sync_base) {
  GDN_NPU_BODY(recompute_w_u);
}
__global__ GDN_NPU void gdn_ascend_chunk_fwd_h(__gm__ uint8_t *arguments, uint32_t form,
                                               uint64_t sync_base) {
  GDN_NPU_BODY(chunk_fwd_h);
}
__global__ GDN_NPU void gdn_ascend_chunk_fwd_o(__gm__ uint8_t *arguments, uint32_t form,
                                               uint64_t sync_base) {
  GDN_NPU_BODY(chunk_fwd_o);
}

/// In the order of kernels/forms.h.
void gdn_ascend_launch(uint32_t stage, uint32_t form, uint32_t blocks, void *stream,
                       void *arguments, uint64_t sync_base) {
  auto *at = reinterpret_cast<__gm__ uint8_t *>(arguments);
  switch (stage) {
    case 0:
      GDN_NPU_LAUNCH(gdn_ascend_chunk_local_cumsum, blocks, stream, at, form, sync_base);
      break;
    case 1:
      GDN_NPU_LAUNCH(gdn_ascend_chunk_scaled_dot_kkt, blocks, stream, at, form, sync_base);
      break;
    case 2:
      GDN_NPU_LAUNCH(gdn_ascend_solve_tril, blocks, stream, at, form, sync_base);
      break;
    case 3:
      GDN_NPU_LAUNCH(gdn_ascend_recompute_w_u, blocks, stream, at, form, sync_base);
      break;
    case 4:
      GDN_NPU_LAUNCH(gdn_ascend_chunk_fwd_h, blocks, stream, at, form, sync_base);
      break;
    default:
      GDN_NPU_LAUNCH(gdn_ascend_chunk_fwd_o, blocks, stream, at, form, sync_base);
      break;
  }
}

}  // extern "C"
