#include "cuda/paths.h"

#include "cuda/sm80/kernels.h"
#if defined(GDN_CUDA_SM90)
#include "cuda/sm90/kernels.h"
#endif

namespace gdn::cuda {

std::span<const Path> paths() {
  static const Path rows[] = {
    {"sm80", "The build has no code path for this device alone.",
     [](const DeviceInfo &d) { return d.major >= 8; }, sm80::kernels()},
#if defined(GDN_CUDA_SM90)
    // Machine code for compute capability 9.0a runs on 9.0 alone.
    {"sm90a", "The device is a Hopper GPU.",
     [](const DeviceInfo &d) { return d.major == 9 && d.minor == 0; }, sm90::kernels()},
#endif
  };
  return rows;
}

}  // namespace gdn::cuda
