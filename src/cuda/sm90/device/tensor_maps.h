#ifndef GDN_CUDA_SM90_DEVICE_TENSOR_MAPS_H_
#define GDN_CUDA_SM90_DEVICE_TENSOR_MAPS_H_

#include <cuda.h>

#include "core/tensor.h"

namespace gdn::cuda::sm90 {

/// Describes a bf16 [B, T, H, 128] tensor to the copy engine as [B, H, 2, T, 64]: a box is `tokens`
/// tokens of `halves` halves of one head, in rows of 128 bytes with the 128-byte swizzle; `fetch`
/// is what a miss of the L2 cache brings in. False if strides or alignment do not allow it (or the
/// driver is too old): the kernel then uses ordinary accesses.
bool make_row_map(CUtensorMap *map, const Tensor &t, int halves, int tokens = 32,
                  CUtensorMapL2promotion fetch = CU_TENSOR_MAP_L2_PROMOTION_L2_256B);

/// Describes an f32 [B, T, HV] tensor: a box is `tokens` tokens of four heads. False if that cannot
/// be.
bool make_gate_map(CUtensorMap *map, const Tensor &t, int tokens = 32);

}  // namespace gdn::cuda::sm90

#endif  // GDN_CUDA_SM90_DEVICE_TENSOR_MAPS_H_
