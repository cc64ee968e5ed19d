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
void bind_decode(nb::module_ &m);

/// Sizes that outputs take from cu_seqlens, or from [B, T] without it. Where an argument is too
/// wrong to say, the sizes are 0 and the library refuses the call.
class Sequences {
 public:
  Sequences(Call *call, const View *tokens, const View *cu_seqlens, bool padded)
      : call_(call), tokens_(tokens), cu_seqlens_(cu_seqlens), padded_(padded) {}

  /// N.
  int64_t count() const;

  /// Sum over sequences of the whole (or begun, with round_up) pieces of `step` tokens.
  int64_t pieces(int64_t step, bool round_up);

  /// Rows of h: the chunks of all sequences, or in a padded buffer as many as there can be.
  int64_t chunks(int64_t chunk_size);

  /// Checkpoints of all sequences where some start at a position. `state_indices` may be null;
  /// `flags` and `null_slot` are those of the args struct.
  int64_t checkpoints(int64_t every, const View *positions, const View *state_indices,
                      uint32_t flags, int64_t null_slot);

 private:
  /// Tokens of each sequence; false where arguments are too wrong to say.
  bool lengths(std::vector<int64_t> *out);

  Call *call_;
  const View *tokens_;
  const View *cu_seqlens_;
  bool padded_;
};

}  // namespace gdn::python

#endif  // GDN_PYTHON_BINDINGS_H_
