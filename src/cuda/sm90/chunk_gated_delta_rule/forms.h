#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_FORMS_H_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_FORMS_H_

#include "core/delta_rule.h"
#include "cuda/runtime.h"

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

struct Segments;

// The forms of the kernel, for problems that it serves.
Status launch_whole_heads(const DeltaRule &p, const Launch &l);
Status launch_half_heads(const DeltaRule &p, const Launch &l);

/// Cuts sequences into segments of `length` tokens (segments.h); l.workspace has segment_bytes().
Status launch_segments(const DeltaRule &p, const Launch &l, int64_t length);

/// The same for heads whose segments forget; l.workspace has forgetting_bytes(), and there are no
/// checkpoints.
Status launch_forgetting(const DeltaRule &p, const Launch &l, int64_t length);

/// The segments of a call and where the workspace has what they need.
Segments lay_out_segments(const DeltaRule &p, const Launch &l, int64_t length, bool transfers);

// Passes.
Status launch_segment_starts(const DeltaRule &p, const Launch &l, const Segments &segments);
Status launch_segment_inverses(const DeltaRule &p, const Launch &l, const Segments &segments);
Status launch_segment_transfers(const DeltaRule &p, const Launch &l, const Segments &segments);
Status launch_segment_states(const DeltaRule &p, const Launch &l, const Segments &segments);
Status launch_segment_outputs(const DeltaRule &p, const Launch &l, const Segments &segments);

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_FORMS_H_
