#include "options.h"

#include <gdn/gdn.h>

#include <algorithm>
#include <string>
#include <utility>

#include "kinds.h"

namespace gdn::python {

namespace {

bool is_text(nb::handle value, const char *text) {
  return PyUnicode_Check(value.ptr()) != 0 &&
         PyUnicode_CompareWithASCIIString(value.ptr(), text) == 0;
}

nb::object plain(const char *name, nb::handle value) { return check("plain", name, value); }

constexpr std::pair<const char *, DLDataType> kDtypes[] = {
    {"float32", kFloat32}, {"bfloat16", {kDLBfloat, 16, 1}}, {"float16", {kDLFloat, 16, 1}}};

}  // namespace

bool read_switch(const char *name, nb::handle value) {
  if (value.ptr() == Py_True) return true;
  if (value.ptr() == Py_False) return false;
  return plain(name, value).ptr() == Py_True;
}

int32_t read_head_map(nb::handle value) {
  // Python has one copy of a text that programs spell out.
  static PyObject *block = PyUnicode_InternFromString("block");
  if (value.ptr() == block || is_text(value, "block")) return GDN_HEAD_MAP_BLOCK;
  if (is_text(value, "interleaved")) return GDN_HEAD_MAP_INTERLEAVED;
  return read_head_map(plain("head_map", value));
}

int32_t read_chunk_size(nb::handle value, int32_t absent) {
  if (value.is_none()) return absent;
  // What nearly every call of a stage has.
  if (PyLong_CheckExact(value.ptr()) && PyLong_AsLong(value.ptr()) == GDN_CHUNK_SIZE) {
    return GDN_CHUNK_SIZE;
  }
  return nb::cast<int32_t>(plain("chunk_size", value));
}

int64_t read_token_count(const char *name, nb::handle value) {
  return value.is_none() ? 0 : nb::cast<int64_t>(plain(name, value));
}

uint32_t read_activation(nb::handle value) {
  if (value.is_none()) return 0;
  if (is_text(value, "silu")) return GDN_SILU;
  return read_activation(plain("activation", value));
}

uint32_t read_gate_activation(nb::handle value) {
  if (is_text(value, "silu")) return 0;
  if (is_text(value, "sigmoid")) return GDN_SIGMOID_GATE;
  return read_gate_activation(plain("gate_activation", value));
}

uint32_t set_null_slot(nb::handle value, int64_t *slot, std::initializer_list<nb::handle> tables) {
  if (value.is_none()) return 0;
  *slot = nb::cast<int64_t>(plain("null_slot", value));
  const bool none = std::all_of(tables.begin(), tables.end(), [](auto t) { return t.is_none(); });
  if (none) check("check_null_slot", *slot);
  return GDN_HAS_NULL_SLOT;
}

DLDataType read_dtype(const char *name, nb::handle value) {
  for (const auto &[text, dtype] : kDtypes) {
    if (is_text(value, text)) return dtype;
  }
  return read_dtype(name, plain(name, value));
}

DLDataType read_state_dtype(nb::handle value) {
  return value.is_none() ? kFloat32 : read_dtype("state_dtype", value);
}

double read_number(const char *name, nb::handle value, const char *expected) {
  const double number = PyFloat_AsDouble(value.ptr());
  if (number == -1.0 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    raise(PyExc_TypeError,
          std::string(name) + ": expected " + expected + ", got " + name_of_type(value) + ".");
  }
  return number;
}

}  // namespace gdn::python
