#ifndef GDN_TESTS_DECODE_FIXTURE_H_
#define GDN_TESTS_DECODE_FIXTURE_H_

// Calls of fused_gdn_decode in the form in which LayerTest checks them.

#include <utility>

#include "cases/decode_call.h"
#include "layer_fixture.h"

namespace gdn::testing {

/// Gives the call's pools other shapes or layouts, with values of their own.
inline void give_pools(DecodeCall *c, Array state, Array conv_state) {
  state.assign(normals(state.size(), "state"));
  conv_state.assign(normals(conv_state.size(), "conv_state"));
  c->state = std::move(state);
  c->conv_state = std::move(conv_state);
  c->state_values = c->state->values();
  c->conv_values = c->conv_state->values();
}

}  // namespace gdn::testing

#endif  // GDN_TESTS_DECODE_FIXTURE_H_
