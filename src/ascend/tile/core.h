#ifndef GDN_ASCEND_TILE_CORE_H_
#define GDN_ASCEND_TILE_CORE_H_

#include "ascend/tile/types.h"

namespace gdn::ascend {

/// A block is one Cube core with two Vector cores.
enum class CoreKind : uint8_t { cube, vector };
inline constexpr int kVectorCores = 2;

}  // namespace gdn::ascend

// Core, what a kernel's text runs on: one core of one block of a launch.
//
//     CoreKind kind(), int64_t block(), int64_t blocks()
//     int64_t vector()                 which of the block's Vector cores: 0 or 1
//     static bool may_be(CoreKind)     whether this compilation makes code for such cores
//     Pointer take<Pointer>(name, n)   the next n elements of a memory, under a name:
//                                      take<Ub<float>>("gates", 128)
//
// Buffers follow each other in the order in which they are taken, at multiples of 32 bytes (512 in
// L0).
#ifdef GDN_ASCEND_DEVICE
#include "ascend/device/core.h"  // IWYU pragma: export
#else
#include "ascend/model/core.h"  // IWYU pragma: export
#endif

#endif  // GDN_ASCEND_TILE_CORE_H_
