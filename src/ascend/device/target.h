#ifndef GDN_ASCEND_DEVICE_TARGET_H_
#define GDN_ASCEND_DEVICE_TARGET_H_

// What the compiler for the device wants to see. It compiles a file for the host, for Cube cores
// and for Vector cores in turn; the names that tell them apart, those of address spaces, types,
// pipes and intrinsics are the compiler's own, as public sources use them (docs/ascend.md). No
// header is needed for them, and none of a vendor's is named here. In tests a stub of these names
// comes first.

#ifndef GDN_NPU
#define GDN_NPU [aicore]
#endif
#ifndef GDN_NPU_LAUNCH
#define GDN_NPU_LAUNCH(entry, blocks, stream, ...) entry<<<blocks, nullptr, stream>>>(__VA_ARGS__)
#endif

#if defined(__DAV_C220_CUBE__) || defined(__DAV_CUBE__)
#define GDN_NPU_CUBE 1
#elif defined(__DAV_C220_VEC__) || defined(__DAV_VEC__)
#define GDN_NPU_VECTOR 1
#endif

#endif  // GDN_ASCEND_DEVICE_TARGET_H_
