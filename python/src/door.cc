#include "door.h"

#include <exception>
#include <new>

namespace gdn::python {

namespace {

/// An operation of this thread goes through torch's dispatcher.
thread_local bool in_dispatcher = false;

class InDispatcher {
 public:
  InDispatcher() { in_dispatcher = true; }
  ~InDispatcher() { in_dispatcher = false; }
  InDispatcher(const InDispatcher &) = delete;
  InDispatcher &operator=(const InDispatcher &) = delete;
};

}  // namespace

bool traced(nb::handle first) {
  return kind_of(first) == Kind::torch && torch_traces() && !in_dispatcher;
}

nb::object call_traced(const char *name, PyObject *const *args, size_t count) {
  const InDispatcher inside;
  nb::object function = nb::module_::import_("gdn._torch").attr(name);
  PyObject *result = PyObject_Vectorcall(function.ptr(), args, count, nullptr);
  if (result == nullptr) throw nb::python_error();
  return nb::steal(result);
}

void set_python_error() noexcept {
  try {
    throw;
  } catch (nb::python_error &e) {
    e.restore();
  } catch (const std::bad_alloc &) {
    PyErr_NoMemory();
  } catch (const std::exception &e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
}

}  // namespace gdn::python
