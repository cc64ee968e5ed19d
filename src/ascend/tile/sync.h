#ifndef GDN_ASCEND_TILE_SYNC_H_
#define GDN_ASCEND_TILE_SYNC_H_

#include "ascend/tile/core.h"

namespace gdn::ascend {

/// Pipe `from` sets an event once all its earlier instructions have finished. `event` is 0 to 7,
/// for each pair of pipes. An event that is set must not be set again before it was waited for.
GDN_NPU void set_flag(Core &core, Pipe from, Pipe to, int event, Where where = Where::current());

/// Pipe `to` stops until the event is set, and clears it. Other pipes go on.
GDN_NPU void wait_flag(Core &core, Pipe from, Pipe to, int event, Where where = Where::current());

/// Later instructions of the pipe start when its earlier ones have finished. Needed between two
/// instructions of one pipe of which one writes what the other touches.
GDN_NPU void pipe_barrier(Core &core, Pipe pipe, Where where = Where::current());

/// Flags between the cores of a block, counters to 15, numbered 0 to 10. One pipe alone of a core
/// adds to a flag.
inline constexpr int kCrossFlags = 11;
inline constexpr int kCrossLimit = 15;

/// Pipe `pipe` adds one to a flag once all its earlier instructions have finished. Set by a Cube
/// core, both Vector cores of the block may wait for it; set by the Vector cores, the Cube core may
/// wait for it, which takes one from each of them.
GDN_NPU void cross_set(Core &core, Pipe pipe, int flag, Where where = Where::current());

/// The scalar unit stops until the flag is above zero, and takes one. What it issues afterwards is
/// ordered after what came before cross_set.
GDN_NPU void cross_wait(Core &core, int flag, Where where = Where::current());

}  // namespace gdn::ascend

#endif  // GDN_ASCEND_TILE_SYNC_H_
