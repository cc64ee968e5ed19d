#ifndef GDN_TESTS_DECODE_FIXTURE_H_
#define GDN_TESTS_DECODE_FIXTURE_H_

// Drawn calls of fused_gdn_decode.

#include "decode_call.h"
#include "layer_fixture.h"

namespace gdn::testing {

/// Sizes and types of a call.
struct DecodeShape {
  int64_t batch = 2;
  int64_t tokens = 1;
  int64_t hk = 2;
  int64_t hv = 4;
  int64_t dk = 16;
  int64_t dv = 24;
  int64_t width = 4;
  int64_t slots = 5;
  int64_t entries = 4;  ///< Of a convolution's slot.
  Element type = Element::bf16;
  Element state = Element::f32;
  Element conv_state = Element::bf16;

  int64_t channels() const { return 2 * hk * dk + hv * dv; }
};

/// Sequence n has slot n.
inline DecodeCall decode_call(const DecodeShape &s) {
  DecodeCall c;
  const Shape heads = {s.batch, s.tokens, s.hv};
  const Shape rows = {s.batch, s.tokens, s.hv, s.dv};
  c.mixed_qkv = drawn(s.type, {s.batch, s.tokens, s.channels()}, "mixed_qkv");
  c.conv_weight = drawn(s.type, {s.channels(), s.width}, "conv_weight", {}, 0.7F);
  c.a = drawn(s.type, heads, "a");
  c.b = drawn(s.type, heads, "b");
  c.A_log = drawn(Element::f32, {s.hv}, "A_log");
  c.dt_bias = drawn(Element::f32, {s.hv}, "dt_bias");
  c.z = drawn(s.type, rows, "z");
  c.norm_weight = drawn(s.type, {s.dv}, "norm_weight");
  c.o = Array(s.type, rows);
  c.state = drawn(s.state, {s.slots, s.hv, s.dk, s.dv}, "state");
  c.conv_state = drawn(s.conv_state, {s.slots, s.channels(), s.entries}, "conv_state");
  c.state_values = c.state->values();
  c.conv_values = c.conv_state->values();
  return c;
}

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
