#ifndef GDN_ASCEND_DEVICE_INTRINSICS_H_
#define GDN_ASCEND_DEVICE_INTRINSICS_H_

// The tile layer's primitives on a device: each is one intrinsic of the compiler, with what sets
// its registers. Included by tile.h alone.

#include "ascend/device/sync.h"

#ifdef GDN_NPU_CUBE
#include "ascend/device/cube.h"
#else
#include "ascend/device/vector.h"
#endif

#endif  // GDN_ASCEND_DEVICE_INTRINSICS_H_
