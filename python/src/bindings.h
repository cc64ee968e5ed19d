#ifndef GDN_PYTHON_BINDINGS_H_
#define GDN_PYTHON_BINDINGS_H_

#include <gdn/gdn.h>
#include <nanobind/nanobind.h>

#include <cstdint>
#include <vector>

#include "call.h"

namespace gdn::python {

/// A parameter that may be None, which bindings of a plain nb::handle refuse.
struct Arg {
  nb::handle object;
  operator nb::handle() const { return object; }
};

/// The operations of one family as functions of the extension module: arguments by position, None
/// for what is absent, flags and enums as the C header's integers. The Python layer above them
/// holds the public signatures.
void bind_delta_rule(nb::module_ &m);
void bind_stages(nb::module_ &m);
void bind_layer(nb::module_ &m);

/// Sizes that outputs take from cu_seqlens, or from [B, T] without it. Where an argument is too
/// wrong to say, the sizes are 0 and the library refuses the call.
class Sequences {
 public:
  Sequences(Call *call, const View *tokens, const View *cu_seqlens)
      : call_(call), tokens_(tokens), cu_seqlens_(cu_seqlens) {}

  /// N.
  int64_t count() const;

  /// Sum over sequences of the whole (or begun, with round_up) pieces of `step` tokens.
  int64_t pieces(int64_t step, bool round_up);

 private:
  Call *call_;
  const View *tokens_;
  const View *cu_seqlens_;
};

/// The data type named by an element of args: "float32", "bfloat16" or "float16"; otherwise a
/// ValueError that names the argument.
DLDataType dtype_named(const char *argument, const char *name);

}  // namespace gdn::python

template <>
struct nanobind::detail::type_caster<gdn::python::Arg> {
  bool from_python(handle source, uint32_t, cleanup_list *) noexcept {
    value.object = source;
    return true;
  }
  NB_TYPE_CASTER(gdn::python::Arg, const_name("object | None"))
};

template <>
struct nanobind::detail::has_arg_defaults<gdn::python::Arg> : std::true_type {};

#endif  // GDN_PYTHON_BINDINGS_H_
