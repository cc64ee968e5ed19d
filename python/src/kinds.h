#ifndef GDN_PYTHON_KINDS_H_
#define GDN_PYTHON_KINDS_H_

#include <dlpack/dlpack.h>
#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "exchange.h"

namespace gdn::python {

namespace nb = nanobind;

inline constexpr DLDataType kFloat32{kDLFloat, 32, 1};
inline constexpr DLDataType kUint8{kDLUInt, 8, 1};

inline bool operator==(const DLDataType &a, const DLDataType &b) {
  return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes;
}

/// Memory that the processor reads: ordinary or pinned.
inline bool on_host(DLDevice device) {
  return device.device_type == kDLCPU || device.device_type == kDLCUDAHost;
}

/// An array library that arguments may come from.
enum class Kind : uint8_t { none, torch, numpy };

/// Raises a Python exception.
[[noreturn]] void raise(PyObject *type, const std::string &message);

/// The name of an object's type for a message: "list", "numpy.ndarray", "Tensor".
std::string name_of_type(nb::handle object);

/// A module that the caller has imported, or None.
nb::object loaded_module(const char *name);

/// "a torch.Tensor" or "a numpy.ndarray".
const char *kind_name(Kind kind);

/// The kind of a Python object; Kind::none for anything that is not an array of a known library.
/// Cached by type.
Kind kind_of(nb::handle object);

/// A Python array as a DLTensor that borrows its memory. The array must outlive it.
struct View {
  static constexpr int kMaxRank = 8;

  DLTensor tensor;
  bool writeable = true;
  int64_t shape[kMaxRank];
  int64_t strides[kMaxRank];

  /// The data pointer is a multiple of the item size, as the library's loads need.
  bool aligned() const {
    const uintptr_t item = tensor.dtype.bits < 8 ? 1 : tensor.dtype.bits / 8;
    return (reinterpret_cast<uintptr_t>(tensor.data) + tensor.byte_offset) % item == 0;
  }

  /// Shape entry i, or 0 where the rank is lower: sizes of outputs can be taken from arguments
  /// that the library has yet to check.
  int64_t size(int i) const { return i < tensor.ndim ? shape[i] : 0; }
};

/// Fills view from an array. Throws ValueError or TypeError that begin with `name` where the array
/// has no plain memory (meta, sparse, foreign byte order, ..).
void borrow(const char *name, nb::handle array, Kind kind, View &view);

/// ValueError for a rank that no View holds.
void check_rank(const char *name, int rank);

/// How a new array lies in memory.
enum class Order : uint8_t {
  compact,
  swapped,  ///< Compact but for the last two dimensions, the last but one of which is the fastest.
};

/// A new array of the kind, uninitialised, on the device; fills view as borrow() does. Large CPU
/// arrays are advised to use huge pages, since a kernel that writes fresh 4 KB pages waits for the
/// page faults.
nb::object make_array(Kind kind, std::span<const int64_t> shape, DLDataType dtype, DLDevice device,
                      Order order, View &view);

/// A new array like make_array's, of the shape and type of `like`: where possible by the library's
/// shorter way. `like` is an array of the kind, `model` what borrow() said of it.
nb::object make_array_like(Kind kind, nb::handle like, const View &model, View &view);

/// True for a torch view whose elements are to be read negated (the imaginary part of a conjugate).
bool is_negated(Kind kind, nb::handle array, const View &view);

/// Tells torch's autograd that a tuple of arrays was written, so that a graph that saved one of
/// them notices.
void mark_written(Kind kind, nb::handle arrays);

/// Sets every element to 0.
void fill_zero(Kind kind, nb::handle array);

/// True where torch records or redirects what is called, other than by torch.compile: in a dispatch
/// mode (FakeTensorMode, ..) or torch.jit.trace. False as long as no tensor has been seen.
bool torch_traces();

/// A compact copy of the array.
nb::object compact_copy(Kind kind, nb::handle array);

/// True if the library records gradients now and the array asks for one.
bool grad_enabled(Kind kind);

/// True if the array asks for a gradient.
bool requires_grad(nb::handle array);

/// True inside torch.autograd.forward_ad.dual_level(), where a tensor may carry a tangent.
bool tangents_enabled(Kind kind);

/// True unless it is certain that the torch tensor carries no tangent of forward-mode
/// differentiation.
bool has_tangent(nb::handle array);

/// The stream that the library would queue work of this device on; null on the CPU.
void *current_stream(Kind kind, DLDevice device);

/// Advises huge pages for the whole huge pages inside a block of at least 2 of them.
void advise_huge_pages(void *data, size_t bytes);

}  // namespace gdn::python

#endif  // GDN_PYTHON_KINDS_H_
