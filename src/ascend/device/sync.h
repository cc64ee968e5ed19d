#ifndef GDN_ASCEND_DEVICE_SYNC_H_
#define GDN_ASCEND_DEVICE_SYNC_H_

#include "ascend/device/address.h"
#include "ascend/tile/move.h"
#include "ascend/tile/sync.h"

namespace gdn::ascend {

// The intrinsics take pipes as constants, so each pair that kernels use has a line. (A pair that
// has none would be left out without a word on a device; in the test of this mapping it is missed.)

GDN_NPU inline void set_flag(Core &, Pipe from, Pipe to, int event, Where) {
  const auto id = static_cast<event_t>(event);
#ifdef GDN_NPU_CUBE
  if (from == Pipe::mte2 && to == Pipe::mte1) ::set_flag(PIPE_MTE2, PIPE_MTE1, id);
  if (from == Pipe::mte1 && to == Pipe::mte2) ::set_flag(PIPE_MTE1, PIPE_MTE2, id);
  if (from == Pipe::mte1 && to == Pipe::m) ::set_flag(PIPE_MTE1, PIPE_M, id);
  if (from == Pipe::m && to == Pipe::mte1) ::set_flag(PIPE_M, PIPE_MTE1, id);
  if (from == Pipe::m && to == Pipe::fix) ::set_flag(PIPE_M, PIPE_FIX, id);
  if (from == Pipe::fix && to == Pipe::m) ::set_flag(PIPE_FIX, PIPE_M, id);
  if (from == Pipe::fix && to == Pipe::mte1) ::set_flag(PIPE_FIX, PIPE_MTE1, id);
#else
  if (from == Pipe::mte2 && to == Pipe::v) ::set_flag(PIPE_MTE2, PIPE_V, id);
  if (from == Pipe::v && to == Pipe::mte2) ::set_flag(PIPE_V, PIPE_MTE2, id);
  if (from == Pipe::v && to == Pipe::mte3) ::set_flag(PIPE_V, PIPE_MTE3, id);
  if (from == Pipe::mte3 && to == Pipe::v) ::set_flag(PIPE_MTE3, PIPE_V, id);
  if (from == Pipe::mte2 && to == Pipe::mte3) ::set_flag(PIPE_MTE2, PIPE_MTE3, id);
  if (from == Pipe::mte3 && to == Pipe::mte2) ::set_flag(PIPE_MTE3, PIPE_MTE2, id);
#endif
}

GDN_NPU inline void wait_flag(Core &, Pipe from, Pipe to, int event, Where) {
  const auto id = static_cast<event_t>(event);
#ifdef GDN_NPU_CUBE
  if (from == Pipe::mte2 && to == Pipe::mte1) ::wait_flag(PIPE_MTE2, PIPE_MTE1, id);
  if (from == Pipe::mte1 && to == Pipe::mte2) ::wait_flag(PIPE_MTE1, PIPE_MTE2, id);
  if (from == Pipe::mte1 && to == Pipe::m) ::wait_flag(PIPE_MTE1, PIPE_M, id);
  if (from == Pipe::m && to == Pipe::mte1) ::wait_flag(PIPE_M, PIPE_MTE1, id);
  if (from == Pipe::m && to == Pipe::fix) ::wait_flag(PIPE_M, PIPE_FIX, id);
  if (from == Pipe::fix && to == Pipe::m) ::wait_flag(PIPE_FIX, PIPE_M, id);
  if (from == Pipe::fix && to == Pipe::mte1) ::wait_flag(PIPE_FIX, PIPE_MTE1, id);
#else
  if (from == Pipe::mte2 && to == Pipe::v) ::wait_flag(PIPE_MTE2, PIPE_V, id);
  if (from == Pipe::v && to == Pipe::mte2) ::wait_flag(PIPE_V, PIPE_MTE2, id);
  if (from == Pipe::v && to == Pipe::mte3) ::wait_flag(PIPE_V, PIPE_MTE3, id);
  if (from == Pipe::mte3 && to == Pipe::v) ::wait_flag(PIPE_MTE3, PIPE_V, id);
  if (from == Pipe::mte2 && to == Pipe::mte3) ::wait_flag(PIPE_MTE2, PIPE_MTE3, id);
  if (from == Pipe::mte3 && to == Pipe::mte2) ::wait_flag(PIPE_MTE3, PIPE_MTE2, id);
#endif
}

GDN_NPU inline void pipe_barrier(Core &, Pipe pipe, Where) {
  if (pipe == Pipe::mte2) ::pipe_barrier(PIPE_MTE2);
#ifdef GDN_NPU_CUBE
  if (pipe == Pipe::mte1) ::pipe_barrier(PIPE_MTE1);
  if (pipe == Pipe::m) ::pipe_barrier(PIPE_M);
  if (pipe == Pipe::fix) ::pipe_barrier(PIPE_FIX);
#else
  if (pipe == Pipe::v) ::pipe_barrier(PIPE_V);
  if (pipe == Pipe::mte3) ::pipe_barrier(PIPE_MTE3);
#endif
}

GDN_NPU inline void cross_set(Core &, Pipe pipe, int flag, Where) {
  // Between the cores of a block: mode 2. Bit 0 is always set.
  const uint64_t message = 1ULL | 2ULL << 4 | static_cast<uint64_t>(flag) << 8;
  if (pipe == Pipe::mte2) ::ffts_cross_core_sync(PIPE_MTE2, message);
#ifdef GDN_NPU_CUBE
  if (pipe == Pipe::fix) ::ffts_cross_core_sync(PIPE_FIX, message);
#else
  if (pipe == Pipe::mte3) ::ffts_cross_core_sync(PIPE_MTE3, message);
#endif
}

GDN_NPU inline void cross_wait(Core &, int flag, Where) { ::wait_flag_dev(flag); }

template <class I>
GDN_NPU int64_t scalar_load(Core &, Gm<const I> from, Where) {
  return *device::pointer(from);
}

}  // namespace gdn::ascend

#endif  // GDN_ASCEND_DEVICE_SYNC_H_
