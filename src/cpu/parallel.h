#ifndef GDN_CPU_PARALLEL_H_
#define GDN_CPU_PARALLEL_H_

#include "core/backend.h"
#include "cpu/job.h"

namespace gdn::cpu {

/// Threads that a call with this exec may use at any time: what scratch memory is laid out for,
/// whose size must not depend on what an OpenMP runtime would give just now.
int32_t most_threads(const Exec &exec);

/// The threads of one call.
struct Team {
  /// What the call asks for, else the process's OpenMP runtime, else the library's own pool.
  ThreadsFrom from;
  /// Threads at most, the caller among them: without a number in exec no more than the OpenMP
  /// runtime gives now, where threads come from it.
  int32_t threads;
};
Team team_of(const Exec &exec);

/// Runs `function` over all items [0, items) on the threads of `team`, which is that of `exec`, and
/// returns when all are done. Items are handed out in runs, as threads ask for them. A call from
/// inside a participant runs inline.
void parallel_for(const Exec &exec, Team team, int64_t items, Wake wake, ItemsFunction function,
                  void *context);

/// The same for a callable f(thread, first, last).
template <class F>
void parallel_for(const Exec &exec, Team team, int64_t items, Wake wake, F &f) {
  parallel_for(
      exec, team, items, wake,
      [](void *context, int32_t thread, int64_t first, int64_t last) {
        (*static_cast<F *>(context))(thread, first, last);
      },
      &f);
}

}  // namespace gdn::cpu

#endif  // GDN_CPU_PARALLEL_H_
