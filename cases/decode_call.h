#ifndef GDN_CASES_DECODE_CALL_H_
#define GDN_CASES_DECODE_CALL_H_

#include <gdn/gdn.h>

#include <optional>
#include <string>
#include <vector>

#include "cases/array.h"
#include "cases/target.h"

namespace gdn::testing {

/// A call of fused_gdn_decode.
struct DecodeCall {
  uint32_t flags = 0;
  gdn_head_map head_map = GDN_HEAD_MAP_BLOCK;
  double scale = 0.0;  ///< With GDN_HAS_SCALE.
  double eps = 0.0;    ///< With GDN_HAS_EPS.
  std::optional<Array> mixed_qkv, conv_weight, conv_bias, a, b, A_log, dt_bias, z, norm_weight;
  std::optional<Array> state_indices, output_state_indices, conv_state_indices;
  std::optional<Array> num_accepted_tokens, cu_seqlens;
  std::optional<Array> o, state, conv_state;
  int64_t null_slot = 0;            ///< With GDN_HAS_NULL_SLOT.
  std::vector<float> state_values;  ///< Of state before any call.
  std::vector<float> conv_values;   ///< Of conv_state before any call.

  std::vector<std::optional<Array> *> inputs();
  std::vector<std::optional<Array> *> outputs() { return {&o, &state, &conv_state}; }
  /// The C arguments; they point into this object.
  gdn_fused_gdn_decode_args args() const;
  /// See run_with_workspace().
  std::string run(const Target &target, int threads = 0, gdn_status *status = nullptr) const;
};

/// Poisons the output and restores the states.
void reset(DecodeCall &call);

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

/// A call with drawn operands; sequence n has slot n.
DecodeCall decode_call(const DecodeShape &shape, uint64_t seed = 0);

}  // namespace gdn::testing

#endif  // GDN_CASES_DECODE_CALL_H_
