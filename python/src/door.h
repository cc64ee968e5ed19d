#ifndef GDN_PYTHON_DOOR_H_
#define GDN_PYTHON_DOOR_H_

// The door through which Python calls an operation: arguments by position, each a Python object. It
// does without nanobind's dispatch, which a call of a few microseconds feels.

#include <nanobind/nanobind.h>

#include <cstddef>
#include <utility>

#include "kinds.h"

namespace gdn::python {

/// An argument of an operation; None where it is absent.
struct Arg {
  nb::handle object;
  operator nb::handle() const { return object; }
  bool absent() const { return object.is_none(); }
};

/// How a function takes its arguments: one by one, or as a struct whose members all are Args.
template <class>
struct Arguments;
template <class... A>
struct Arguments<nb::object (*)(A...)> {
  static constexpr size_t kCount = sizeof...(A);
  template <auto F, size_t... I>
  static nb::object call(PyObject *const *args, std::index_sequence<I...>) {
    return F(Arg{args[I]}...);
  }
};
template <class Struct>
struct Arguments<nb::object (*)(const Struct &)> {
  static_assert(sizeof(Struct) % sizeof(Arg) == 0);
  static constexpr size_t kCount = sizeof(Struct) / sizeof(Arg);
  template <auto F, size_t... I>
  static nb::object call(PyObject *const *args, std::index_sequence<I...>) {
    return F(Struct{Arg{args[I]}...});
  }
};

/// True where torch records or redirects what is called (a dispatch mode, torch.jit.trace) and the
/// call has to go through its dispatcher. False inside such a call: what its op calls is eager.
bool traced(nb::handle first);

/// Calls the function of gdn._torch with the same arguments.
nb::object call_traced(const char *name, PyObject *const *args, size_t count);

/// Sets the Python error of the exception at hand. For use in a catch block.
void set_python_error() noexcept;

/// Python's description of the operation F. Python keeps a pointer to it.
template <auto F>
inline PyMethodDef definition{};

/// What Python calls.
template <auto F>
PyObject *enter(PyObject *, PyObject *const *args, Py_ssize_t count) noexcept {
  using Given = Arguments<decltype(F)>;
  const char *name = definition<F>.ml_name;
  if (count != static_cast<Py_ssize_t>(Given::kCount)) {
    PyErr_Format(PyExc_TypeError, "%s: expected %zu arguments, got %zd.", name, Given::kCount,
                 count);
    return nullptr;
  }
  try {
    if (traced(args[0])) return call_traced(name, args, Given::kCount).release().ptr();
    return Given::template call<F>(args, std::make_index_sequence<Given::kCount>()).release().ptr();
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

/// Adds the operation F to the module.
template <auto F>
void define(nb::module_ &m, const char *name) {
  // The cast goes by way of a function of no arguments, as Python's own macro does it.
  definition<F> = {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&enter<F>)),
                   METH_FASTCALL, nullptr};
  m.attr(name) = nb::steal(PyCFunction_NewEx(&definition<F>, nullptr, nullptr));
}

}  // namespace gdn::python

#endif  // GDN_PYTHON_DOOR_H_
