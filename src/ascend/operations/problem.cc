#include "ascend/operations/problem.h"

namespace gdn::ascend {
namespace {

/// Row-major without gaps. A dimension of one entry may have any stride.
bool compact(const Tensor &t) {
  int64_t stride = 1;
  for (int32_t d = t.rank - 1; d >= 0; --d) {
    if (t.shape[d] != 1 && t.stride[d] != stride) return false;
    stride *= t.shape[d];
  }
  return true;
}

std::string list(const int64_t *numbers, int32_t count) {
  std::string text = "[";
  for (int32_t i = 0; i < count; ++i) text += (i > 0 ? ", " : "") + std::to_string(numbers[i]);
  return text + "]";
}

}  // namespace

bool empty(const StageShape &p) { return p.sequences.batch * p.sequences.tokens == 0; }

Status check_stage(const StageShape &p, std::initializer_list<Named> tensors) {
  if (p.chunk_size != 64 && p.chunk_size != 128) {
    return unsupported("has chunks of 64 and 128 tokens, but chunk_size is " +
                       std::to_string(p.chunk_size) + ".");
  }
  for (const Named &t : tensors) {
    if (!t.tensor->present()) {
      return unsupported(std::string("needs ") + t.name + ", but it is not given.");
    }
    if (elements_of(*t.tensor) > 0 && !compact(*t.tensor)) {
      return unsupported(std::string("takes tensors without gaps, but ") + t.name + " of shape " +
                         list(t.tensor->shape, t.tensor->rank) + " has the strides " +
                         list(t.tensor->stride, t.tensor->rank) + ".");
    }
  }
  if (p.sequences.padded) {
    return unsupported("takes buffers that end with their sequences, but GDN_PADDED is given.");
  }
  const IndexArray &offsets = p.sequences.cu_seqlens;
  if (offsets.present && offsets.row_stride != 1) {
    return unsupported("takes tensors without gaps, but cu_seqlens has the stride " +
                       std::to_string(offsets.row_stride) + ".");
  }
  return {};
}

Status check_key_stage(const StageShape &p, const Tensor &k, std::initializer_list<Named> tensors) {
  Status status = check_stage(p, tensors);
  if (!status.ok()) return status;
  if (k.dtype == DType::f32) {
    return unsupported(std::string("takes k in bfloat16 or float16, but it is in ") +
                       dtype_name(k.dtype) + ".");
  }
  if (p.heads.interleaved) {
    return unsupported("takes head_map = block alone, but it is interleaved.");
  }
  // An instruction takes the elements from row to row in 16 bits.
  const int64_t heads = p.heads.value_heads;
  if (heads * kernels::kHeadWidth > UINT16_MAX) {
    return unsupported("has at most 511 value heads, but this call has " + std::to_string(heads) +
                       ".");
  }
  return {};
}

Status check_beta(const Tensor &beta, const Tensor &k) {
  if (beta.dtype == DType::f32 || beta.dtype == k.dtype) return {};
  return unsupported(std::string("takes beta in float32 or in the type of k, ") +
                     dtype_name(k.dtype) + ", but it is in " + dtype_name(beta.dtype) + ".");
}

std::vector<uint8_t> triangle_bits(int64_t size, bool diagonal) {
  std::vector<uint8_t> bits(static_cast<size_t>(size * size / 8));
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t j = 0; j < i + (diagonal ? 1 : 0); ++j) {
      bits[static_cast<size_t>((i * size + j) / 8)] |= static_cast<uint8_t>(1U << j % 8);
    }
  }
  return bits;
}

}  // namespace gdn::ascend
