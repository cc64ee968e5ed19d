#include "kinds.h"

#include <sys/mman.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "numpy_kind.h"
#include "torch_memory.h"

namespace gdn::python {

namespace {

/// What is known of a Python type.
struct KnownType {
  PyTypeObject *type;
  Kind kind;
  bool plain;  ///< Not a subclass that keeps its data elsewhere.
};

/// Objects of torch that calls need, looked up once.
struct Torch {
  nb::object tensor_type, empty_strided, empty_like, is_grad_enabled, increment_version;
  nb::object forward_ad, unpack_dual, is_forward_enabled;
  nb::object dispatch_mode_count, is_tracing;
  nb::object cpu, device, contiguous_format;
  nb::object float32, bfloat16, float16, uint8;
  std::vector<nb::object> cuda;  ///< Devices by index, made when first needed.
  const ExchangeTable *table = nullptr;
  TorchMemory memory;
};

// Lives as long as the process: Python objects must not be released after the interpreter.
Torch *torch_objects = nullptr;

std::vector<KnownType> &known_types() {
  static auto *types = new std::vector<KnownType>;
  return *types;
}

Torch *load_torch() {
  if (torch_objects != nullptr) return torch_objects;
  nb::object m = loaded_module("torch");
  if (m.is_none() || !nb::hasattr(m, "Tensor")) return nullptr;
  auto t = std::make_unique<Torch>();
  t->tensor_type = m.attr("Tensor");
  t->empty_strided = m.attr("empty_strided");
  t->empty_like = m.attr("empty_like");
  t->is_grad_enabled = m.attr("is_grad_enabled");
  // What torch.autograd.graph.increment_version calls, without its test of the argument's type.
  t->increment_version = nb::getattr(m.attr("_C"), "_increment_version",
                                     m.attr("autograd").attr("graph").attr("increment_version"));
  t->forward_ad = m.attr("autograd").attr("forward_ad");
  t->unpack_dual = t->forward_ad.attr("unpack_dual");
  t->is_forward_enabled = m.attr("_C").attr("_is_fwd_grad_enabled");
  t->dispatch_mode_count = m.attr("_C").attr("_len_torch_dispatch_stack");
  t->is_tracing = m.attr("_C").attr("_is_tracing");
  t->contiguous_format = m.attr("contiguous_format");
  t->device = m.attr("device");
  t->cpu = m.attr("device")("cpu");
  t->float32 = m.attr("float32");
  t->bfloat16 = m.attr("bfloat16");
  t->float16 = m.attr("float16");
  t->uint8 = m.attr("uint8");
  if (!nb::hasattr(t->tensor_type, "__dlpack_c_exchange_api__")) {
    raise(PyExc_ImportError,
          "gdn needs a torch that has Tensor.__dlpack_c_exchange_api__ (2.11 has); this one has "
          "not.");
  }
  nb::object capsule = t->tensor_type.attr("__dlpack_c_exchange_api__");
  auto *table = static_cast<ExchangeTable *>(PyCapsule_GetPointer(capsule.ptr(), kExchangeCapsule));
  if (table == nullptr) throw nb::python_error();
  while (table != nullptr && table->major_version != kExchangeMajor) table = table->previous;
  if (table == nullptr || table->borrow == nullptr) {
    raise(PyExc_ImportError, "gdn does not know the version of torch's DLPack exchange table.");
  }
  t->table = table;
  t->memory.load(t->tensor_type, table);
  return torch_objects = t.release();
}

KnownType inspect(PyTypeObject *type) {
  nb::handle t(reinterpret_cast<PyObject *>(type));
  if (Torch *m = load_torch(); m != nullptr && PyObject_IsSubclass(t.ptr(), m->tensor_type.ptr())) {
    const bool plain =
        nb::getattr(t, "__torch_dispatch__").is(nb::getattr(m->tensor_type, "__torch_dispatch__"));
    return {type, Kind::torch, plain};
  }
  bool plain = false;
  if (is_numpy_array(t, &plain)) return {type, Kind::numpy, plain};
  return {type, Kind::none, false};
}

const KnownType &known_type(PyTypeObject *type) {
  static const KnownType kUnknown{nullptr, Kind::none, false};
  for (const KnownType &k : known_types()) {
    if (k.type == type) return k;
  }
  const KnownType k = inspect(type);
  if (k.kind == Kind::none) return kUnknown;
  Py_INCREF(reinterpret_cast<PyObject *>(type));
  known_types().push_back(k);
  return known_types().back();
}

void borrow_torch(const char *name, nb::handle array, View &view) {
  DLTensor &t = view.tensor;
  if (torch_objects->table->borrow(array.ptr(), &t) == 0) {
    check_rank(name, t.ndim);
    for (int i = 0; i < t.ndim; ++i) {
      view.shape[i] = t.shape[i];
      view.strides[i] = t.strides[i];
    }
    t.shape = view.shape;
    t.strides = view.strides;
    return;
  }
  nb::python_error error;
  // torch appends a C++ stack trace; its first line is what says why.
  std::string why = nb::str(error.value()).c_str();
  why.resize(std::min(why.size(), why.find('\n')));
  const std::string device = nb::str(nb::getattr(array, "device", nb::none())).c_str();
  raise(PyExc_ValueError, std::string(name) + ": found a tensor on " + device +
                              " that cannot be read in place (" + why +
                              "), expected a plain tensor with memory.");
}

/// Strides of a compact array; a size of 0 counts as 1.
void compact_strides(std::span<const int64_t> shape, int64_t *strides) {
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= std::max<int64_t>(shape[i], 1);
  }
}

/// Strides that no element depends on (empty arrays, a last dimension of 1) become those of a
/// compact array: frameworks leave anything there.
void settle_strides(View *view) {
  const DLTensor &t = view->tensor;
  if (t.ndim > 0 && view->shape[t.ndim - 1] == 1) view->strides[t.ndim - 1] = 1;
  if (std::find(view->shape, view->shape + t.ndim, 0) == view->shape + t.ndim) return;
  compact_strides({view->shape, static_cast<size_t>(t.ndim)}, view->strides);
}

bool is_compact(const View &view) {
  int64_t stride = 1;
  for (int i = view.tensor.ndim - 1; i >= 0; --i) {
    if (view.strides[i] != stride) return false;
    stride *= view.shape[i];
  }
  return true;
}

nb::handle torch_dtype(DLDataType d) {
  if (d.code == kDLBfloat) return torch_objects->bfloat16;
  if (d.code == kDLUInt) return torch_objects->uint8;
  return d.bits == 16 ? torch_objects->float16 : torch_objects->float32;
}

/// The torch.device of a DLDevice, kept: making one takes a tenth of a decode call.
nb::handle torch_device(DLDevice device) {
  if (on_host(device)) return torch_objects->cpu;
  auto &kept = torch_objects->cuda;
  const auto i = static_cast<size_t>(device.device_id);
  if (i >= kept.size()) kept.resize(i + 1);
  if (!kept[i].is_valid()) kept[i] = torch_objects->device("cuda", device.device_id);
  return kept[i];
}

nb::object int_tuple(std::span<const int64_t> shape) {
  nb::object tuple = nb::steal(PyTuple_New(static_cast<Py_ssize_t>(shape.size())));
  if (!tuple.is_valid()) throw nb::python_error();
  for (size_t i = 0; i < shape.size(); ++i) {
    PyTuple_SetItem(tuple.ptr(), static_cast<Py_ssize_t>(i), PyLong_FromLongLong(shape[i]));
  }
  return tuple;
}

}  // namespace

void raise(PyObject *type, const std::string &message) {
  PyErr_SetString(type, message.c_str());
  throw nb::python_error();
}

std::string name_of_type(nb::handle object) {
  const nb::handle type = object.type();
  std::string name = nb::str(type.attr("__name__")).c_str();
  // As Python's own messages: types that are written in C carry their module.
  const unsigned long flags = PyType_GetFlags(reinterpret_cast<PyTypeObject *>(type.ptr()));
  if ((flags & Py_TPFLAGS_HEAPTYPE) == 0) {
    const std::string module = nb::str(type.attr("__module__")).c_str();
    if (module != "builtins") name.insert(0, module + ".");
  }
  return name;
}

nb::object loaded_module(const char *name) {
  nb::object modules = nb::module_::import_("sys").attr("modules");
  return nb::object(modules.attr("get")(name));
}

void check_rank(const char *name, int rank) {
  if (rank <= View::kMaxRank) return;
  raise(PyExc_ValueError,
        std::string(name) + ": rank " + std::to_string(rank) + " is more than any argument has.");
}

const char *kind_name(Kind kind) {
  switch (kind) {
    case Kind::torch:
      return "a torch.Tensor";
    case Kind::numpy:
      return "a numpy.ndarray";
    default:
      return "neither";
  }
}

Kind kind_of(nb::handle object) { return known_type(Py_TYPE(object.ptr())).kind; }

void borrow(const char *name, nb::handle array, Kind kind, View &view) {
  if (!known_type(Py_TYPE(array.ptr())).plain) {
    raise(PyExc_TypeError, std::string(name) + ": a " + name_of_type(array) +
                               " keeps its data elsewhere and cannot be read in place.");
  }
  if (kind == Kind::numpy) {
    borrow_numpy(name, array, view);
  } else {
    borrow_torch(name, array, view);
  }
  settle_strides(&view);
}

namespace {

/// Advises huge pages for a large fresh array on the host.
void advise_large(const View &view) {
  const DLTensor &t = view.tensor;
  size_t bytes = t.dtype.bits / 8;
  for (int i = 0; i < t.ndim; ++i) bytes *= static_cast<size_t>(view.shape[i]);
  if (on_host(t.device) && bytes >= (size_t{4} << 20)) advise_huge_pages(t.data, bytes);
}

}  // namespace

nb::object make_array(Kind kind, std::span<const int64_t> shape, DLDataType dtype, DLDevice device,
                      Order order, View &view) {
  const size_t rank = shape.size();
  nb::object out;
  if (kind == Kind::torch) {
    int64_t *strides = view.strides;
    compact_strides(shape, strides);
    if (order == Order::swapped) {
      strides[rank - 2] = 1;
      strides[rank - 1] = std::max<int64_t>(shape[rank - 2], 1);
    }
    void *data = nullptr;
    if (on_host(device)) out = torch_objects->memory.make(shape, strides, dtype, &data);
    if (out.is_valid()) {
      std::copy(shape.begin(), shape.end(), view.shape);
      view.tensor = {data, {kDLCPU, 0}, static_cast<int32_t>(rank), dtype, view.shape, view.strides,
                     0};
      settle_strides(&view);
      advise_large(view);
      return out;
    }
    // Two thirds of what torch.empty takes.
    out = torch_objects->empty_strided(int_tuple(shape), int_tuple({strides, rank}),
                                       nb::arg("dtype") = torch_dtype(dtype),
                                       nb::arg("device") = torch_device(device));
  } else {
    int64_t sizes[View::kMaxRank];
    std::copy(shape.begin(), shape.end(), sizes);
    if (order == Order::swapped) std::swap(sizes[rank - 2], sizes[rank - 1]);
    out = empty_numpy(int_tuple({sizes, rank}), dtype);
    if (order == Order::swapped) out = out.attr("swapaxes")(-2, -1);
  }
  borrow("out", out, kind, view);
  advise_large(view);
  return out;
}

nb::object make_array_like(Kind kind, nb::handle like, const View &model, View &view) {
  const DLTensor &t = model.tensor;
  // empty_like() would make another tensor of the caller's subclass.
  if (kind != Kind::torch || on_host(t.device) ||
      like.type().ptr() != torch_objects->tensor_type.ptr()) {
    return make_array(kind, {t.shape, static_cast<size_t>(t.ndim)}, t.dtype, t.device,
                      Order::compact, view);
  }
  // It keeps the strides unless told not to, which takes longer.
  nb::object out = is_compact(model)
                       ? torch_objects->empty_like(like)
                       : torch_objects->empty_like(
                             like, nb::arg("memory_format") = torch_objects->contiguous_format);
  borrow("out", out, kind, view);
  advise_large(view);
  return out;
}

bool is_negated(Kind kind, nb::handle array, const View &view) {
  const uint8_t code = view.tensor.dtype.code;
  if (kind != Kind::torch || code == kDLInt || code == kDLUInt || code == kBoolCode) return false;
  // Such a view is of every second float: where a stride is 1 there is nothing to ask.
  for (int i = 0; i < view.tensor.ndim; ++i) {
    if (view.strides[i] == 1 && view.shape[i] > 1) return false;
  }
  return array.attr("is_neg")().is(nb::handle(Py_True));
}

void mark_written(Kind kind, nb::handle arrays) {
  if (kind == Kind::torch) torch_objects->increment_version(arrays);
}

void fill_zero(Kind kind, nb::handle array) {
  array.attr(kind == Kind::torch ? "fill_" : "fill")(0);
}

nb::object compact_copy(Kind kind, nb::handle array) {
  // NumPy's copy() is in C order by default; torch's clone() would keep the strides.
  if (kind == Kind::numpy) return array.attr("copy")();
  return array.attr("clone")(nb::arg("memory_format") = torch_objects->contiguous_format);
}

bool grad_enabled(Kind kind) {
  return kind == Kind::torch && torch_objects->is_grad_enabled().is(nb::handle(Py_True));
}

bool requires_grad(nb::handle array) {
  static PyObject *name = PyUnicode_InternFromString("requires_grad");
  nb::object value = nb::steal(PyObject_GetAttr(array.ptr(), name));
  if (!value.is_valid()) throw nb::python_error();
  return value.is(nb::handle(Py_True));
}

bool torch_traces() {
  if (torch_objects == nullptr) return false;
  return PyLong_AsLong(torch_objects->dispatch_mode_count().ptr()) != 0 ||
         torch_objects->is_tracing().is(nb::handle(Py_True));
}

bool tangents_enabled(Kind kind) {
  if (kind != Kind::torch) return false;
  // A module's number, -1 outside of every dual_level(): the one test that each call pays for.
  static PyObject *name = PyUnicode_InternFromString("_current_level");
  nb::object level = nb::steal(PyObject_GetAttr(torch_objects->forward_ad.ptr(), name));
  if (!level.is_valid()) throw nb::python_error();
  return PyLong_AsLong(level.ptr()) >= 0 &&
         torch_objects->is_forward_enabled().is(nb::handle(Py_True));
}

bool has_tangent(nb::handle array) {
  try {
    return !torch_objects->unpack_dual(array).attr("tangent").is_none();
  } catch (const nb::python_error &) {
    return true;  // Below autograd, where compiled graphs run, torch cannot say.
  }
}

void *current_stream(Kind kind, DLDevice device) {
  void *stream = nullptr;
  if (kind == Kind::torch && !on_host(device) &&
      torch_objects->table->current_stream(device.device_type, device.device_id, &stream) != 0) {
    throw nb::python_error();
  }
  return stream;
}

void advise_huge_pages(void *data, size_t bytes) {
  constexpr uintptr_t kHuge = size_t{2} << 20;
  const auto begin = (reinterpret_cast<uintptr_t>(data) + kHuge - 1) & ~(kHuge - 1);
  const auto end = (reinterpret_cast<uintptr_t>(data) + bytes) & ~(kHuge - 1);
  // Advice only: where the kernel declines, small pages serve.
  if (end > begin) (void)madvise(reinterpret_cast<void *>(begin), end - begin, MADV_HUGEPAGE);
}

}  // namespace gdn::python
