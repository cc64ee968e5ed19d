#ifndef GDN_ASCEND_DEVICE_LAUNCH_H_
#define GDN_ASCEND_DEVICE_LAUNCH_H_

#include <stdint.h>

// The kernels in a library of their own, which the device's compiler makes (kernels.cc).

/// Bytes of what packing.h packs.
#define GDN_ASCEND_ARGUMENT_BYTES 4096

#ifdef __cplusplus
extern "C" {
#endif

/// Queues a kernel: stage and form as in kernels/forms.h, `blocks` Cube cores with their Vector
/// cores, on the runtime's `stream`. `arguments` is their place on the device. `sync_base` is what
/// the runtime gives for flags between cores.
__attribute__((visibility("default"))) void gdn_ascend_launch(uint32_t stage, uint32_t form,
                                                              uint32_t blocks, void *stream,
                                                              void *arguments, uint64_t sync_base);

#ifdef __cplusplus
}
#endif

#endif  // GDN_ASCEND_DEVICE_LAUNCH_H_
