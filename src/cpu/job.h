#ifndef GDN_CPU_JOB_H_
#define GDN_CPU_JOB_H_

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace gdn::cpu {

/// What a participant does with items [first, last). `thread` is below the thread count of the
/// call and differs between the threads that are in the call at the same time.
using ItemsFunction = void (*)(void *context, int32_t thread, int64_t first, int64_t last);

/// When a call brings in other threads.
enum class Wake {
  /// At once: items take so long that no time may be lost.
  at_once,
  /// After the caller's first items, if by their time the rest takes longer than a wake-up gains.
  /// For calls that may take a few microseconds only: being woken on a busy core can cost more than
  /// the whole call.
  if_worth_it,
};

inline constexpr size_t kLinePair = 128;  // Processors fetch cache lines in pairs.

/// The items of one call, handed out in runs to the threads that ask for them, wherever those come
/// from; lives on the caller's stack.
struct Job {
  Job(ItemsFunction f, void *c, int64_t n, int32_t most_threads)
      : function(f),
        context(c),
        items(n),
        // Runs are short enough to even out threads that start late or are interrupted, long
        // enough that the shared counter does not matter.
        run(std::max<int64_t>(1, n / (int64_t{most_threads} * 16))),
        threads(most_threads) {}

  ItemsFunction function;
  void *context;
  int64_t items;
  int64_t run;  ///< Items handed out at a time.
  int32_t threads;
  std::atomic<int32_t> next_thread{1};  ///< The caller is thread 0.
  alignas(kLinePair) std::atomic<int64_t> next{0};

  /// One run of items; false if none was left.
  bool step(int32_t thread) {
    const int64_t first = next.fetch_add(run, std::memory_order_relaxed);
    if (first >= items) return false;
    function(context, thread, first, std::min(first + run, items));
    return true;
  }

  void work(int32_t thread) {
    while (step(thread)) {
    }
  }

  /// Takes part as a thread of its own; one too many does nothing.
  void join() {
    const int32_t thread = next_thread.fetch_add(1, std::memory_order_relaxed);
    if (thread < threads) work(thread);
  }

  /// Runs not yet handed out.
  int64_t runs_left() const {
    return std::max<int64_t>(0, (items - next.load(std::memory_order_relaxed)) / run);
  }
};

/// True while this thread works on items: a call that it makes then runs inline.
inline thread_local bool inside_job = false;

/// Sets inside_job for a scope.
class InsideJob {
 public:
  InsideJob() : outer_(inside_job) { inside_job = true; }
  ~InsideJob() { inside_job = outer_; }
  InsideJob(const InsideJob &) = delete;
  InsideJob &operator=(const InsideJob &) = delete;

 private:
  bool outer_;
};

}  // namespace gdn::cpu

#endif  // GDN_CPU_JOB_H_
