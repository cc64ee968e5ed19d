#ifndef GDN_PYTHON_TORCH_MEMORY_H_
#define GDN_PYTHON_TORCH_MEMORY_H_

#include <span>

#include "kinds.h"

namespace gdn::python {

/// Makes torch tensors on the CPU through torch's stable C interface (torch/csrc/inductor/
/// aoti_torch/c/shim.h), whose functions are found in the process: a third of what
/// torch.empty_strided takes, the parsing of Python arguments and the dispatch being most of that.
class TorchMemory {
 public:
  /// Looks the functions up and tries them. Without them, make() returns a null object.
  /// `tensor_type` is torch.Tensor, `table` DLPack's way to look into one.
  void load(nb::handle tensor_type, const ExchangeTable *table);

  /// A new tensor, uninitialised, and where its elements are; a null object where this way is
  /// closed.
  nb::object make(std::span<const int64_t> shape, const int64_t *strides, DLDataType dtype,
                  void **data) const;

 private:
  struct Opaque;
  using Empty = int32_t (*)(int64_t rank, const int64_t *shape, const int64_t *strides,
                            int32_t dtype, int32_t device_type, int32_t device, Opaque **out);

  Empty empty_ = nullptr;
  int32_t (*data_)(Opaque *, void **) = nullptr;
  int32_t (*delete_)(Opaque *) = nullptr;
  PyObject *(*wrap_)(const Opaque *) = nullptr;
  int32_t cpu_ = 0;
  int32_t float32_ = 0, bfloat16_ = 0, float16_ = 0;
};

}  // namespace gdn::python

#endif  // GDN_PYTHON_TORCH_MEMORY_H_
