#ifndef GDN_PYTHON_NUMPY_KIND_H_
#define GDN_PYTHON_NUMPY_KIND_H_

#include "kinds.h"

namespace gdn::python {

/// What kinds.cc asks of NumPy. Nothing here imports it: arrays come from a caller who has.

/// True if NumPy is loaded and the type is its array type or derived from it. Then *plain says that
/// it is not a subclass that keeps more than its data (a masked array).
bool is_numpy_array(nb::handle type, bool *plain);

/// As borrow().
void borrow_numpy(const char *name, nb::handle array, View &view);

/// numpy.empty of this shape (a tuple).
nb::object empty_numpy(nb::handle shape, DLDataType dtype);

}  // namespace gdn::python

#endif  // GDN_PYTHON_NUMPY_KIND_H_
