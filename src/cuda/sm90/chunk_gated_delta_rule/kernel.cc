#include "cuda/sm90/chunk_gated_delta_rule/kernel.h"

#include <limits>

#include "cuda/sm80/kernels.h"
#include "cuda/sm90/chunk_gated_delta_rule/forms.h"
#include "cuda/sm90/chunk_gated_delta_rule/segments.h"

namespace gdn::cuda::sm90::chunk_gated_delta_rule {
namespace {

/// Strides and alignment do not enter, since result bits must not depend on them.
bool applies(const DeltaRule &p) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max() / 4;
  return p.q.dtype == DType::bf16 && p.key_dim == 128 && p.value_dim == 128 &&
         p.sequences.tokens <= kMost && p.sequences.batch <= kMost &&
         p.sequences.count <= kMost / p.heads.value_heads;
}

/// Tokens of a segment; 0: the call is not cut.
int64_t cut(const DeltaRule &p, bool no_split, int64_t (*length)(const DeltaRule &)) {
  return no_split || p.positions.present || !applies(p) ? 0 : length(p);
}

size_t bytes(const DeltaRule &p, int64_t length) {
  return length > 0 ? segment_bytes(p, length) : 0;
}

Status run_uncut(const DeltaRule &p, const Launch &l) {
  const int64_t heads = p.sequences.count * p.heads.value_heads;
  return 2 * heads <= l.device->multiprocessors ? run_half_heads(p, l) : run_whole_heads(p, l);
}

}  // namespace

Status run_whole_heads(const DeltaRule &p, const Launch &l) {
  return applies(p) ? launch_whole_heads(p, l) : sm80::chunk_gated_delta_rule(p, l);
}

Status run_half_heads(const DeltaRule &p, const Launch &l) {
  return applies(p) ? launch_half_heads(p, l) : sm80::chunk_gated_delta_rule(p, l);
}

Status run(const DeltaRule &p, const Launch &l) {
  const int64_t length = cut(p, l.no_split, segment_length);
  return length > 0 ? launch_segments(p, l, length) : run_uncut(p, l);
}

size_t workspace(const DeltaRule &p, bool no_split) {
  return bytes(p, cut(p, no_split, segment_length));
}

Status run_segments(const DeltaRule &p, const Launch &l) {
  const int64_t length = cut(p, l.no_split, forced_segment_length);
  return length > 0 ? launch_segments(p, l, length) : run_uncut(p, l);
}

size_t segments_workspace(const DeltaRule &p, bool no_split) {
  return bytes(p, cut(p, no_split, forced_segment_length));
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
