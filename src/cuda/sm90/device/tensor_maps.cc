#include "cuda/sm90/device/tensor_maps.h"

#include <cuda_runtime.h>

namespace gdn::cuda::sm90 {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

/// The driver's function, found through the runtime, so that nothing links against the driver.
Encode encode_function() {
  static const Encode function = [] {
    void *f = nullptr;
    cudaDriverEntryPointQueryResult result;
    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &f, 12000, cudaEnableDefault,
                                         &result) != cudaSuccess) {
      (void)cudaGetLastError();
      return Encode{nullptr};
    }
    return result == cudaDriverEntryPointSuccess ? reinterpret_cast<Encode>(f) : Encode{nullptr};
  }();
  return function;
}

/// The stride of a dimension in bytes if the copy engine can take it. A dimension of one element
/// has no stride of its own; it gets a harmless one.
bool byte_stride(const Tensor &t, int dimension, cuuint64_t *bytes) {
  const auto size = static_cast<int64_t>(dtype_size(t.dtype));
  const int64_t stride = t.shape[dimension] > 1 ? t.stride[dimension] * size : 16;
  *bytes = static_cast<cuuint64_t>(stride);
  return stride > 0 && stride % 16 == 0 && stride < (int64_t{1} << 40);
}

bool base_aligned(const Tensor &t) {
  return t.data != nullptr && reinterpret_cast<uintptr_t>(t.data) % 16 == 0;
}

}  // namespace

bool make_row_map(CUtensorMap *map, const Tensor &t, int halves, int tokens,
                  CUtensorMapL2promotion fetch) {
  const Encode encode = encode_function();
  cuuint64_t batch, token, head;
  if (encode == nullptr || !base_aligned(t) || t.shape[0] == 0 || t.shape[1] == 0 ||
      !byte_stride(t, 0, &batch) || !byte_stride(t, 1, &token) || !byte_stride(t, 2, &head)) {
    return false;
  }
  const auto size = [&](int d) { return static_cast<cuuint64_t>(t.shape[d]); };
  const cuuint64_t dims[5] = {64, size(1), 2, size(2), size(0)};
  const cuuint64_t strides[4] = {token, 128, head, batch};
  const cuuint32_t box[5] = {64, static_cast<cuuint32_t>(tokens), static_cast<cuuint32_t>(halves),
                             1, 1};
  const cuuint32_t steps[5] = {1, 1, 1, 1, 1};
  return encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 5, t.data, dims, strides, box, steps,
                CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, fetch,
                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

bool make_gate_map(CUtensorMap *map, const Tensor &t, int tokens) {
  const Encode encode = encode_function();
  cuuint64_t batch, token;
  if (encode == nullptr || t.dtype != DType::f32 || !base_aligned(t) || t.shape[0] == 0 ||
      t.shape[1] == 0 || t.shape[2] % 4 != 0 || t.stride[2] != 1 || !byte_stride(t, 0, &batch) ||
      !byte_stride(t, 1, &token)) {
    return false;
  }
  const auto size = [&](int d) { return static_cast<cuuint64_t>(t.shape[d]); };
  const cuuint64_t dims[3] = {size(2), size(1), size(0)};
  const cuuint64_t strides[2] = {token, batch};
  const cuuint32_t box[3] = {4, static_cast<cuuint32_t>(tokens), 1};
  const cuuint32_t steps[3] = {1, 1, 1};
  return encode(map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 3, t.data, dims, strides, box, steps,
                CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
                CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace gdn::cuda::sm90
