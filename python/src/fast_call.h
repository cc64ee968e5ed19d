#ifndef GDN_PYTHON_FAST_CALL_H_
#define GDN_PYTHON_FAST_CALL_H_

// A function of the module without nanobind's dispatch, for calls of a few microseconds: arguments
// by position, each a Python object.

#include <nanobind/nanobind.h>

#include <exception>
#include <new>
#include <utility>

#include "bindings.h"

namespace gdn::python {

template <class>
struct ArgCount;
template <class... Args>
struct ArgCount<nb::object (*)(Args...)> {
  static constexpr size_t value = sizeof...(Args);
};

/// Calls F, a nb::object function of Args alone, and turns exceptions into Python's.
template <auto F, size_t... I>
PyObject *call_with(PyObject *const *args, std::index_sequence<I...>) noexcept {
  try {
    return F(Arg{args[I]}...).release().ptr();
  } catch (nb::python_error &e) {
    e.restore();
  } catch (const nb::builtin_exception &e) {
    const bool value = e.type() == nb::exception_type::value_error;
    PyErr_SetString(value ? PyExc_ValueError : PyExc_RuntimeError, e.what());
  } catch (const std::bad_alloc &) {
    PyErr_NoMemory();
  } catch (const std::exception &e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
  return nullptr;
}

template <auto F>
PyObject *fast_call(PyObject *, PyObject *const *args, Py_ssize_t count) noexcept {
  constexpr size_t kCount = ArgCount<decltype(F)>::value;
  if (count != static_cast<Py_ssize_t>(kCount)) {
    PyErr_Format(PyExc_TypeError, "expected %zu arguments, got %zd.", kCount, count);
    return nullptr;
  }
  return call_with<F>(args, std::make_index_sequence<kCount>());
}

/// Adds F to the module.
template <auto F>
void define_fast(nb::module_ &m, const char *name) {
  // Python keeps a pointer to the definition. The cast goes by way of a function of no arguments,
  // as Python's own macro does it.
  static PyMethodDef definition{
      name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&fast_call<F>)),
      METH_FASTCALL, nullptr};
  m.attr(name) = nb::steal(PyCFunction_NewEx(&definition, nullptr, nullptr));
}

}  // namespace gdn::python

#endif  // GDN_PYTHON_FAST_CALL_H_
