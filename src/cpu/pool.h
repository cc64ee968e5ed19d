#ifndef GDN_CPU_POOL_H_
#define GDN_CPU_POOL_H_

#include <cstdint>

namespace gdn::cpu {

/// What a participant does with items [first, last). `thread` is below the thread count of the
/// call and differs between the threads that are in the call at the same time.
using ItemsFunction = void (*)(void *context, int32_t thread, int64_t first, int64_t last);

/// When a call wakes workers that sleep. (Those awake join in either case.)
enum class Wake {
  /// At once: items take so long that no time may be lost.
  at_once,
  /// After the caller's first items, if by their time the rest takes longer than a wake-up gains.
  /// For calls that may take a few microseconds only: being woken on a busy core can cost more than
  /// the whole call.
  if_worth_it,
};

/// Runs `function` over all items [0, items) on up to `threads` threads, the caller among them, and
/// returns when all are done. Items are handed out in runs, as threads ask for them.
///
/// The threads of the process-wide pool start when a call first needs them, are not pinned (they
/// take the affinity mask of the process) and block all signals. They wait for work by spinning for
/// a few tens of microseconds, then asleep. Any number of threads may call at once: each caller
/// takes the workers that are idle and works itself, so nobody waits for another caller. A call
/// from inside a participant runs inline. If threads cannot be created, fewer do the work. After a
/// fork the child starts with an empty pool. At exit or unload the workers are joined.
void parallel_for(int32_t threads, int64_t items, Wake wake, ItemsFunction function, void *context);

/// The same for a callable f(thread, first, last).
template <class F>
void parallel_for(int32_t threads, int64_t items, Wake wake, F &f) {
  parallel_for(
      threads, items, wake,
      [](void *context, int32_t thread, int64_t first, int64_t last) {
        (*static_cast<F *>(context))(thread, first, last);
      },
      &f);
}

}  // namespace gdn::cpu

#endif  // GDN_CPU_POOL_H_
