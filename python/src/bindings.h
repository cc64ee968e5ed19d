#ifndef GDN_PYTHON_BINDINGS_H_
#define GDN_PYTHON_BINDINGS_H_

#include <gdn/gdn.h>
#include <nanobind/nanobind.h>

#include <cstdint>
#include <vector>

#include "call.h"
#include "door.h"
#include "options.h"

namespace gdn::python {

/// The operations of one family as functions of the extension module: arguments by position, None
/// for what is absent. The Python layer above them holds the public signatures.
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

}  // namespace gdn::python

#endif  // GDN_PYTHON_BINDINGS_H_
