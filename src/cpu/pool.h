#ifndef GDN_CPU_POOL_H_
#define GDN_CPU_POOL_H_

#include "cpu/job.h"

namespace gdn::cpu {

/// Runs a job of at least two threads on the library's own pool, the caller among them, and returns
/// when all items are done.
///
/// The threads of the process-wide pool start when a call first needs them, are not pinned (they
/// take the affinity mask of the process) and block all signals. They wait for work by spinning for
/// a few tens of microseconds, then asleep. Any number of threads may call at once: each caller
/// takes the workers that are idle and works itself, so nobody waits for another caller. If threads
/// cannot be created, fewer do the work. After a fork the child starts with an empty pool. At exit
/// or unload the workers are joined.
void run_on_pool(Job *job, Wake wake);

}  // namespace gdn::cpu

#endif  // GDN_CPU_POOL_H_
