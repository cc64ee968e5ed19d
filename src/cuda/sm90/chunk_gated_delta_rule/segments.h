#ifndef GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SEGMENTS_H_
#define GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SEGMENTS_H_

#include "core/delta_rule.h"

// A call of few sequences and heads is cut into segments. What a segment does to the state is
// linear, S -> M S + N, and both follow from its tokens alone:
//
//     1  where N starts: of a segment whose decays leave less than 2^-kForgotten of what comes into
//        some step there, only the steps from there on count, and M is zero
//     2  N and M of all segments at once: from a zero state (the first of a sequence from its own),
//        and from the identity with V = 0
//     3  the states between them, S_{j+1} = M_j S_j + N_j, one after the other
//     4  O of all segments at once, from their states
//
// The products round otherwise than those of a whole sequence, so that results do too.

namespace gdn::cuda::sm90::chunk_gated_delta_rule {

/// A power of two so small that a state 2^104 times as large as what came after it leaves no trace
/// in f32.
constexpr float kForgotten = 128.0F;

constexpr int64_t kMostSegments = 64;  ///< Of a sequence.

/// Of 64 tokens: an int that tells whether keys repeat there, and as much as a copy has to have.
constexpr int kRepeatBytes = 16;

/// Tokens of a segment, a multiple of 64; 0: the call is not cut. Follows from the number of
/// sequences, value heads and tokens and from how many multiprocessors the device has, and so does
/// the rest. A call is cut where the mean of heads that forget and heads that do not gains.
int64_t segment_length(const DeltaRule &p, int64_t multiprocessors);

/// The same for a call that is cut whatever it costs.
int64_t forced_segment_length(const DeltaRule &p, int64_t multiprocessors);

/// The same for a call of which those heads are cut whose segments forget; 0 where
/// segment_length() is not.
int64_t forgetting_length(const DeltaRule &p, int64_t multiprocessors);

/// The same for a call that is cut so whatever it costs.
int64_t forced_forgetting_length(const DeltaRule &p, int64_t multiprocessors);

/// Most segments that the sequences of a call can have.
int64_t max_segments(const DeltaRule &p, int64_t length);

/// Bytes of workspace: M and the states of all segments, T of all steps, where N starts.
size_t segment_bytes(const DeltaRule &p, int64_t length);

/// Bytes of workspace where heads are cut that forget: a copy of initial states, where N starts.
size_t forgetting_bytes(const DeltaRule &p, int64_t length);

}  // namespace gdn::cuda::sm90::chunk_gated_delta_rule

#endif  // GDN_CUDA_SM90_CHUNK_GATED_DELTA_RULE_SEGMENTS_H_
