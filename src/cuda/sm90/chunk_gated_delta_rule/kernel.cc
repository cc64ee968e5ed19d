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

/// Tokens of a segment where only heads are cut that forget. Without checkpoints: there is no form
/// of the kernel for them.
int64_t cut_forgetting(const DeltaRule &p, bool no_split, int64_t (*length)(const DeltaRule &)) {
  return p.checkpoint_every > 0 ? 0 : cut(p, no_split, length);
}

size_t bytes(const DeltaRule &p, int64_t length) {
  return length > 0 ? segment_bytes(p, length) : 0;
}

size_t bytes_forgetting(const DeltaRule &p, int64_t length) {
  return length > 0 ? forgetting_bytes(p, length) : 0;
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
  int64_t length = cut(p, l.no_split, segment_length);
  if (length > 0) return launch_segments(p, l, length);
  length = cut_forgetting(p, l.no_split, forgetting_length);
  return length > 0 ? launch_forgetting(p, l, length) : run_uncut(p, l);
}

size_t workspace(const DeltaRule &p, bool no_split) {
  const int64_t length = cut(p, no_split, segment_length);
  if (length > 0) return bytes(p, length);
  return bytes_forgetting(p, cut_forgetting(p, no_split, forgetting_length));
}

Status run_segments(const DeltaRule &p, const Launch &l) {
  const int64_t length = cut(p, l.no_split, forced_segment_length);
  return length > 0 ? launch_segments(p, l, length) : run_uncut(p, l);
}

size_t segments_workspace(const DeltaRule &p, bool no_split) {
  return bytes(p, cut(p, no_split, forced_segment_length));
}

Status run_forgetting(const DeltaRule &p, const Launch &l) {
  const int64_t length = cut_forgetting(p, l.no_split, forced_forgetting_length);
  return length > 0 ? launch_forgetting(p, l, length) : run_uncut(p, l);
}

size_t forgetting_workspace(const DeltaRule &p, bool no_split) {
  return bytes_forgetting(p, cut_forgetting(p, no_split, forced_forgetting_length));
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
