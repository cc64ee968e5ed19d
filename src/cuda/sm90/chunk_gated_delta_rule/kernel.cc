#include "cuda/sm90/chunk_gated_delta_rule/kernel.h"

#include <algorithm>
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

/// Multiprocessors of the Hopper GPUs that there are. What a call is cut into follows from the
/// largest of these that the device has, or else from the smallest, so that workspaces, which are
/// asked for by shapes alone, can do for all.
constexpr int64_t kMultiprocessors[] = {78, 114, 132};

int64_t multiprocessors_of(const DeviceInfo &device) {
  int64_t found = kMultiprocessors[0];
  for (const int64_t count : kMultiprocessors) {
    if (count <= device.multiprocessors) found = count;
  }
  return found;
}

bool may_cut(const DeltaRule &p, bool no_split) {
  return !no_split && !p.positions.present && applies(p);
}

/// The same where only heads are cut that forget. Without checkpoints: there is no form of the
/// kernel for them.
bool may_cut_forgetting(const DeltaRule &p, bool no_split) {
  return p.checkpoint_every == 0 && may_cut(p, no_split);
}

/// Tokens of a segment; 0: the call is not cut.
using Length = int64_t (*)(const DeltaRule &p, int64_t multiprocessors);

int64_t cut(const DeltaRule &p, const Launch &l, Length length) {
  return may_cut(p, l.no_split) ? length(p, multiprocessors_of(*l.device)) : 0;
}

int64_t cut_forgetting(const DeltaRule &p, const Launch &l, Length length) {
  return may_cut_forgetting(p, l.no_split) ? length(p, multiprocessors_of(*l.device)) : 0;
}

/// Bytes that are enough on any device.
size_t most_bytes(const DeltaRule &p, Length length, size_t (*bytes)(const DeltaRule &, int64_t)) {
  size_t most = 0;
  for (const int64_t count : kMultiprocessors) {
    const int64_t tokens = length(p, count);
    if (tokens > 0) most = std::max(most, bytes(p, tokens));
  }
  return most;
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
  int64_t length = cut(p, l, segment_length);
  if (length > 0) return launch_segments(p, l, length);
  length = cut_forgetting(p, l, forgetting_length);
  return length > 0 ? launch_forgetting(p, l, length) : run_uncut(p, l);
}

size_t workspace(const DeltaRule &p, bool no_split) {
  return std::max(
      may_cut(p, no_split) ? most_bytes(p, segment_length, segment_bytes) : 0,
      may_cut_forgetting(p, no_split) ? most_bytes(p, forgetting_length, forgetting_bytes) : 0);
}

Status run_segments(const DeltaRule &p, const Launch &l) {
  const int64_t length = cut(p, l, forced_segment_length);
  return length > 0 ? launch_segments(p, l, length) : run_uncut(p, l);
}

size_t segments_workspace(const DeltaRule &p, bool no_split) {
  return may_cut(p, no_split) ? most_bytes(p, forced_segment_length, segment_bytes) : 0;
}

Status run_forgetting(const DeltaRule &p, const Launch &l) {
  const int64_t length = cut_forgetting(p, l, forced_forgetting_length);
  return length > 0 ? launch_forgetting(p, l, length) : run_uncut(p, l);
}

size_t forgetting_workspace(const DeltaRule &p, bool no_split) {
  return may_cut_forgetting(p, no_split) ? most_bytes(p, forced_forgetting_length, forgetting_bytes)
                                         : 0;
}

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule
