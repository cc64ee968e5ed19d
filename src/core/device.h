#ifndef GDN_CORE_DEVICE_H_
#define GDN_CORE_DEVICE_H_

#include <dlpack/dlpack.h>

#include <cstdint>

namespace gdn {

/// Where operands lie, in DLPack's numbers.
struct Device {
  int32_t type = kDLCPU;
  int32_t id = 0;

  /// A kernel on the host may read it.
  bool host() const { return type == kDLCPU || type == kDLCUDAHost; }
  bool cuda() const { return type == kDLCUDA || type == kDLCUDAManaged; }
};

}  // namespace gdn

#endif  // GDN_CORE_DEVICE_H_
