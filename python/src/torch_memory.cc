#include "torch_memory.h"

#include <dlfcn.h>

#include <algorithm>

namespace gdn::python {

namespace {

/// A library that the process has loaded; nothing is loaded for it.
class Loaded {
 public:
  explicit Loaded(const char *name) : handle_(dlopen(name, RTLD_NOW | RTLD_NOLOAD)) {}
  ~Loaded() {
    if (handle_ != nullptr) dlclose(handle_);
  }
  Loaded(const Loaded &) = delete;
  Loaded &operator=(const Loaded &) = delete;

  template <class Function>
  bool find(const char *name, Function *function) const {
    void *symbol = handle_ == nullptr ? nullptr : dlsym(handle_, name);
    *function = reinterpret_cast<Function>(symbol);
    return symbol != nullptr;
  }

 private:
  void *handle_;
};

}  // namespace

void TorchMemory::load(nb::handle tensor_type, const ExchangeTable *table) {
  const Loaded cpu("libtorch_cpu.so");
  const Loaded python("libtorch_python.so");
  int32_t (*device)() = nullptr;
  int32_t (*float32)() = nullptr;
  int32_t (*bfloat16)() = nullptr;
  int32_t (*float16)() = nullptr;
  // The last is THPVariable_Wrap(const at::TensorBase &), what makes a Python object of a tensor: a
  // handle of the C interface is a pointer to one. Its name says what it takes.
  const bool found = cpu.find("aoti_torch_device_type_cpu", &device) &&
                     cpu.find("aoti_torch_dtype_float32", &float32) &&
                     cpu.find("aoti_torch_dtype_bfloat16", &bfloat16) &&
                     cpu.find("aoti_torch_dtype_float16", &float16) &&
                     cpu.find("aoti_torch_get_data_ptr", &data_) &&
                     cpu.find("aoti_torch_delete_tensor_object", &delete_) &&
                     python.find("_Z16THPVariable_WrapRKN2at10TensorBaseE", &wrap_) &&
                     cpu.find("aoti_torch_empty_strided", &empty_);
  if (!found) {
    empty_ = nullptr;
    return;
  }
  cpu_ = device();
  float32_ = float32();
  bfloat16_ = bfloat16();
  float16_ = float16();

  constexpr int64_t kShape[] = {2, 3};
  constexpr int64_t kStrides[] = {1, 2};
  constexpr DLDataType kBfloat16{kDLBfloat, 16, 1};
  void *data = nullptr;
  const nb::object sample = make(kShape, kStrides, kBfloat16, &data);
  DLTensor t{};
  const bool works = sample.is_valid() && sample.type().is(tensor_type) &&
                     table->borrow(sample.ptr(), &t) == 0 && t.ndim == 2 &&
                     std::equal(kShape, kShape + 2, t.shape) &&
                     std::equal(kStrides, kStrides + 2, t.strides) && t.dtype == kBfloat16 &&
                     t.device.device_type == kDLCPU && t.data == data && t.byte_offset == 0;
  PyErr_Clear();
  if (!works) empty_ = nullptr;
}

nb::object TorchMemory::make(std::span<const int64_t> shape, const int64_t *strides,
                             DLDataType dtype, void **data) const {
  if (empty_ == nullptr || dtype.code == kDLUInt) return {};
  const int32_t type = dtype.code == kDLBfloat ? bfloat16_ : dtype.bits == 16 ? float16_ : float32_;
  Opaque *tensor = nullptr;
  if (empty_(static_cast<int64_t>(shape.size()), shape.data(), strides, type, cpu_, 0, &tensor) !=
      0) {
    return {};  // torch's own function says why.
  }
  nb::object object;
  if (data_(tensor, data) == 0) object = nb::steal(wrap_(tensor));
  (void)delete_(tensor);
  if (!object.is_valid()) throw nb::python_error();
  return object;
}

}  // namespace gdn::python
