#ifndef GDN_PYTHON_OPTIONS_H_
#define GDN_PYTHON_OPTIONS_H_

#include <dlpack/dlpack.h>
#include <nanobind/nanobind.h>

#include <cstdint>
#include <initializer_list>

namespace gdn::python {

namespace nb = nanobind;

// Options as the public functions take them. The plain values, which nearly every call has, are
// read here. Any other value goes to gdn._checks.plain(), which returns the plain value that it
// stands for or raises: so each message is written once, for traced calls too.

/// True or False.
bool read_switch(const char *name, nb::handle value);

/// A gdn_head_map.
int32_t read_head_map(nb::handle value);

/// A chunk size that the library knows; `absent` for None.
int32_t read_chunk_size(nb::handle value, int32_t absent);

/// A positive number of tokens; 0 for None.
int64_t read_token_count(const char *name, nb::handle value);

/// GDN_SILU, or 0.
uint32_t read_activation(nb::handle value);

/// GDN_SIGMOID_GATE, or 0 for silu.
uint32_t read_gate_activation(nb::handle value);

/// GDN_HAS_NULL_SLOT and the index, or 0 for None. It needs one of the tables of indices.
uint32_t set_null_slot(nb::handle value, int64_t *slot, std::initializer_list<nb::handle> tables);

/// float32, bfloat16 or float16.
DLDataType read_dtype(const char *name, nb::handle value);

/// The type of fresh states: float32 for None.
DLDataType read_state_dtype(nb::handle value);

/// Any number; `expected` ends the TypeError for what is none.
double read_number(const char *name, nb::handle value, const char *expected);

/// Calls a function of gdn._checks, which raises where something is wrong.
template <class... Args>
nb::object check(const char *function, const Args &...args) {
  // Lives as long as the process, as the module itself does.
  static auto *checks = new nb::object(nb::module_::import_("gdn._checks"));
  return checks->attr(function)(args...);
}

}  // namespace gdn::python

#endif  // GDN_PYTHON_OPTIONS_H_
