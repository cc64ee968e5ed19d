#include <nanobind/nanobind.h>

#include "bindings.h"
#include "settings.h"

NB_MODULE(_C, m) {
  m.doc() = "Bindings of the C library libgdn; the package gdn holds the public functions.";
  m.def("torch_traces", &gdn::python::torch_traces);
  gdn::python::bind_settings(m);
  gdn::python::bind_delta_rule(m);
  gdn::python::bind_stages(m);
  gdn::python::bind_layer(m);
  gdn::python::bind_decode(m);
}
