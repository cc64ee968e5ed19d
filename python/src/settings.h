#ifndef GDN_PYTHON_SETTINGS_H_
#define GDN_PYTHON_SETTINGS_H_

#include <gdn/gdn.h>
#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>

namespace gdn::python {

/// What the calling thread has asked for with gdn.use(); empty strings and 0 leave the choice to
/// the process-wide setting, the environment and the library.
struct Settings {
  std::string backend;
  std::string isa;
  std::string threads_from;
  int32_t threads = 0;
  bool no_split = false;
};

/// The calling thread's settings.
Settings &thread_settings();

/// A gdn_exec for the calling thread on the CPU. Points into thread_settings().
gdn_exec make_exec();

/// Adds the settings and the queries of the library to the module.
void bind_settings(nanobind::module_ &m);

}  // namespace gdn::python

#endif  // GDN_PYTHON_SETTINGS_H_
