#ifndef GDN_ASCEND_TILE_TILE_H_
#define GDN_ASCEND_TILE_TILE_H_

// The tile layer: what kernels for the NPU are written in. A primitive is one instruction of one
// pipe; its comment says which, and what it asks of sizes, alignment and layout. The same text of a
// kernel serves two targets: the model (src/ascend/model), which records what is issued, and a
// device (src/ascend/device), where each of them is one intrinsic of the compiler.

#include "ascend/tile/core.h"    // IWYU pragma: export
#include "ascend/tile/cube.h"    // IWYU pragma: export
#include "ascend/tile/move.h"    // IWYU pragma: export
#include "ascend/tile/sync.h"    // IWYU pragma: export
#include "ascend/tile/vector.h"  // IWYU pragma: export

#ifdef GDN_ASCEND_DEVICE
#include "ascend/device/intrinsics.h"
#endif

#endif  // GDN_ASCEND_TILE_TILE_H_
