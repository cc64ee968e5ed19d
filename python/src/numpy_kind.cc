#include "numpy_kind.h"

#include <memory>
#include <string>

namespace gdn::python {

namespace {

/// Objects of NumPy that calls need, looked up once.
struct NumPy {
  nb::object array_type, masked_type, empty;
  nb::object float32, bfloat16, float16, uint8;
};

// Lives as long as the process: Python objects must not be released after the interpreter.
NumPy *numpy_objects = nullptr;

NumPy *load_numpy() {
  if (numpy_objects != nullptr) return numpy_objects;
  nb::object m = loaded_module("numpy");
  if (m.is_none() || !nb::hasattr(m, "ndarray")) return nullptr;
  auto n = std::make_unique<NumPy>();
  n->array_type = m.attr("ndarray");
  n->masked_type = m.attr("ma").attr("MaskedArray");
  n->empty = m.attr("empty");
  n->float32 = m.attr("dtype")("float32");
  n->float16 = m.attr("dtype")("float16");
  n->uint8 = m.attr("dtype")("uint8");
  return numpy_objects = n.release();
}

DLDataType numpy_dtype(const char *name, nb::handle array, const ArrayInterface &a) {
  const auto bits = static_cast<uint8_t>(a.item_size * 8);
  switch (a.type_kind) {
    case 'f':
      return {kDLFloat, bits, 1};
    case 'i':
      return {kDLInt, bits, 1};
    case 'u':
      return {kDLUInt, bits, 1};
    case 'b':
      return {kBoolCode, bits, 1};
    case 'c':
      return {5, bits, 1};
    default:
      break;
  }
  nb::object dtype = array.attr("dtype");
  const std::string text = nb::str(dtype.attr("name")).c_str();
  if (text == "bfloat16") {
    if (!numpy_objects->bfloat16.is_valid()) numpy_objects->bfloat16 = dtype;
    return {kDLBfloat, 16, 1};
  }
  raise(PyExc_ValueError,
        std::string(name) + ": a NumPy array of dtype " + text +
            " is not supported; expected float32, float16 or bfloat16 (ml_dtypes),"
            " int32 or int64 for indices.");
}

nb::handle numpy_dtype_object(DLDataType d) {
  if (d.code == kDLBfloat) {
    if (!numpy_objects->bfloat16.is_valid()) {
      numpy_objects->bfloat16 = nb::module_::import_("numpy").attr("dtype")(
          nb::module_::import_("ml_dtypes").attr("bfloat16"));
    }
    return numpy_objects->bfloat16;
  }
  if (d.code == kDLUInt) return numpy_objects->uint8;
  return d.bits == 16 ? numpy_objects->float16 : numpy_objects->float32;
}

}  // namespace

bool is_numpy_array(nb::handle type, bool *plain) {
  NumPy *m = load_numpy();
  if (m == nullptr || PyObject_IsSubclass(type.ptr(), m->array_type.ptr()) == 0) return false;
  *plain = PyObject_IsSubclass(type.ptr(), m->masked_type.ptr()) == 0;
  return true;
}

void borrow_numpy(const char *name, nb::handle array, View &view) {
  nb::object capsule = array.attr("__array_struct__");
  auto *a = static_cast<ArrayInterface *>(PyCapsule_GetPointer(capsule.ptr(), nullptr));
  if (a == nullptr) throw nb::python_error();
  check_rank(name, a->rank);
  if ((a->flags & kArrayNativeOrder) == 0) {
    raise(PyExc_ValueError, std::string(name) + ": the byte order is not this machine's.");
  }
  view.writeable = (a->flags & kArrayWriteable) != 0;
  view.tensor = DLTensor{a->data,    {kDLCPU, 0},  a->rank, numpy_dtype(name, array, *a),
                         view.shape, view.strides, 0};
  for (int i = 0; i < a->rank; ++i) {
    view.shape[i] = a->shape[i];
    view.strides[i] = a->strides[i] / a->item_size;
    if (a->strides[i] % a->item_size != 0 && a->shape[i] > 1) {
      raise(PyExc_ValueError, std::string(name) + ": stride " + std::to_string(a->strides[i]) +
                                  " bytes is not a multiple of the item size " +
                                  std::to_string(a->item_size) + "; copy the array first.");
    }
  }
}

nb::object empty_numpy(nb::handle shape, DLDataType dtype) {
  return numpy_objects->empty(shape, nb::arg("dtype") = numpy_dtype_object(dtype));
}

}  // namespace gdn::python
