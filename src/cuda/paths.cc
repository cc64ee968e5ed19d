#include "cuda/paths.h"

#include "cuda/sm80/kernels.h"
#if defined(GDN_CUDA_SM90)
#include "cuda/sm90/kernels.h"
#endif

namespace gdn::cuda {
#if defined(GDN_CUDA_SM90)
namespace {

constexpr const char *kByName = "Not chosen unless by name.";

/// Machine code for compute capability 9.0a runs on 9.0 alone.
bool hopper(const DeviceInfo &d) { return d.major == 9 && d.minor == 0; }

}  // namespace
#endif

std::span<const Path> paths() {
  static const Path rows[] = {
    {"sm80", "The build has no code path for this device alone.",
     [](const DeviceInfo &d) { return d.major >= 8; }, sm80::kernels()},
#if defined(GDN_CUDA_SM90)
    // The first rows force one form of a kernel that the last chooses by a call's load.
    {"sm90a_whole", kByName, hopper, sm90::whole_head_kernels()},
    {"sm90a_half", kByName, hopper, sm90::half_head_kernels()},
    {"sm90a_split", kByName, hopper, sm90::segment_kernels()},
    {"sm90a_forget", kByName, hopper, sm90::forgetting_kernels()},
    {"sm90a", "The device is a Hopper GPU.", hopper, sm90::kernels()},
#endif
  };
  return rows;
}

}  // namespace gdn::cuda
