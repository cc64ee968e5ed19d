#ifndef GDN_API_OVERLAP_CHECK_H_
#define GDN_API_OVERLAP_CHECK_H_

#include <cstddef>

#include "api/call.h"

namespace gdn::api {

/// Checks the memory of all operands: data pointers present and aligned, every output free of
/// overlap with itself, with inputs and with other outputs. `workspace` (may be null) is written
/// memory too.
void check_memory(Call *call, const void *workspace, size_t workspace_size);

/// True if no two index tuples of the region share a byte. Exact for nested dimensions and where no
/// more than two interlock (as strides 2 and 3 do in shape [3, 2]); may say false for other
/// patterns that are free of overlap, never the other way round.
bool is_injective(const Region &r);

/// True if the two regions share no byte. Exact for dense blocks and for operands interleaved in a
/// common buffer (slices of a fused projection, pools that share pages); may say false for other
/// interleavings that are disjoint; never the other way round.
bool are_disjoint(const Region &a, const Region &b);

}  // namespace gdn::api

#endif  // GDN_API_OVERLAP_CHECK_H_
