#include "cpu/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <new>

#include "core/backend.h"
#include "cpu/thread_count.h"

namespace gdn::cpu {
namespace {

using Clock = std::chrono::steady_clock;

/// How long a thread spins before it sleeps: longer than the gaps between the calls of one decode
/// step, far shorter than anything a scheduler would notice.
constexpr auto kSpin = std::chrono::microseconds(40);
/// Work of the caller's that is worth waking a worker for; the wake itself takes 5 to 50
/// microseconds.
constexpr auto kWorthWaking = std::chrono::microseconds(50);
constexpr size_t kStackBytes = size_t{2} << 20;
constexpr int32_t kMaxWorkers = kMaxThreads - 1;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#endif
}

/// Spins until `ready`, at most kSpin. Spinning steals the processor of a thread that has work when
/// there are more threads than processors, so then it is not done at all.
template <class Ready>
bool spin_until(bool may_spin, Ready ready) {
  if (ready()) return true;
  if (!may_spin) return false;
  const Clock::time_point end = Clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      pause();
      if (ready()) return true;
    }
  } while (Clock::now() < end);
  return false;
}

/// A job in the pool.
struct PoolJob {
  Job *job;
  /// Workers that are through with the job, and kCallerSleeps. A worker's addition to it is the
  /// last thing it does with the job.
  alignas(kLinePair) std::atomic<uint32_t> finished{0};

  static constexpr uint32_t kCallerSleeps = 1U << 31;
};

/// A worker and its letter box. The box holds idle, asleep, busy or the job that a caller put in.
/// A caller posts a job into an idle or sleeping worker's box; the worker takes it by turning the
/// box to busy, unless the caller, having finished alone, has taken it back by then.
struct alignas(kLinePair) Worker {
  std::atomic<PoolJob *> box{nullptr};
  pthread_t thread{};
  std::mutex mutex;               ///< For sleeping only.
  std::condition_variable awake;  ///< The box has changed, or the pool stops.
};

PoolJob *const kIdle = nullptr;
// Addresses that no job has; never dereferenced.
alignas(PoolJob) std::byte sleeping_mark[1], busy_mark[1];
PoolJob *const kAsleep = reinterpret_cast<PoolJob *>(sleeping_mark);
PoolJob *const kBusy = reinterpret_cast<PoolJob *>(busy_mark);

struct Pool {
  std::atomic<int32_t> workers{0};
  std::atomic<bool> stop{false};
  std::mutex grow_mutex;
  std::mutex done_mutex;         ///< For callers that sleep until their job is finished.
  std::condition_variable done;  ///< Some job of a sleeping caller is finished.
  Worker worker[kMaxWorkers];

  bool may_spin() const { return workers.load(std::memory_order_relaxed) < usable_cpus(); }

  void run(PoolJob &job, int32_t helpers, Wake wake);
  int32_t post(PoolJob &job, int32_t count, int32_t helpers, bool sleepers);
  int32_t take_back(PoolJob &job, int32_t count, int32_t posted);
  void wait_finished(PoolJob &job, uint32_t helpers);
  void grow(int32_t wanted);
  void serve(Worker &w);
  void shut_down();
};

/// Never destroyed, so that a thread still inside a call while the process exits finds it whole.
alignas(Pool) std::byte pool_memory[sizeof(Pool)];
Pool &pool() {
  static Pool *const instance = new (pool_memory) Pool;
  return *instance;
}

/// The child of a fork has none of the workers, and locks may have been held by threads that are
/// gone: build the pool anew, without destroying what those threads left.
void reset_after_fork() {
  inside_job = false;
  new (pool_memory) Pool;
}

/// Joins the workers when the library is unloaded or the process exits.
struct ShutDown {
  bool armed = false;
  ~ShutDown() {
    if (armed) pool().shut_down();
  }
};
ShutDown shut_down_at_exit;

/// All signals blocked for a scope, so that threads started in it do not serve the program's.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &saved_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &saved_, nullptr); }

 private:
  sigset_t saved_;
};

void Pool::serve(Worker &w) {
  inside_job = true;
  const auto called = [&] {
    const PoolJob *box = w.box.load(std::memory_order_acquire);
    return (box != kIdle && box != kAsleep) || stop.load(std::memory_order_acquire);
  };
  while (true) {
    if (!spin_until(may_spin(), called)) {
      std::unique_lock lock(w.mutex);
      PoolJob *expected = kIdle;
      if (w.box.compare_exchange_strong(expected, kAsleep)) {
        // A box back at idle means that the call is over already: stay up for the next one.
        w.awake.wait(lock, [&] { return w.box.load() != kAsleep || stop.load(); });
      }
    }
    if (stop.load(std::memory_order_acquire)) return;
    PoolJob *job = w.box.load(std::memory_order_acquire);
    if (job == kIdle || job == kAsleep) continue;
    if (!w.box.compare_exchange_strong(job, kBusy, std::memory_order_acq_rel)) continue;
    job->job->join();
    // Idle before finished, so that the caller's next call finds this worker.
    w.box.store(kIdle, std::memory_order_release);
    if (job->finished.fetch_add(1, std::memory_order_acq_rel) & PoolJob::kCallerSleeps) {
      { const std::lock_guard lock(done_mutex); }
      done.notify_all();
    }
  }
}

void Pool::grow(int32_t wanted) {
  const std::lock_guard lock(grow_mutex);
  if (stop.load()) return;
  static bool registered = false;  // Guarded by grow_mutex; a fork keeps handlers, so it stays.
  if (!registered) {
    if (pthread_atfork(nullptr, nullptr, reset_after_fork) != 0) return;
    registered = true;
    shut_down_at_exit.armed = true;
  }
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return;
  pthread_attr_setstacksize(&attributes, kStackBytes);
  // A thread inherits the mask of its creator, who may have pinned itself: give it the mask of the
  // process. (Beyond 1024 processors the call fails and the inherited mask stays.)
  cpu_set_t mask;
  if (sched_getaffinity(getpid(), sizeof(mask), &mask) == 0) {
    pthread_attr_setaffinity_np(&attributes, sizeof(mask), &mask);
  }
  const SignalsBlocked blocked;
  int32_t count = workers.load();
  for (; count < wanted; ++count) {
    const auto start = [](void *argument) -> void * {
      pool().serve(*static_cast<Worker *>(argument));
      return nullptr;
    };
    if (pthread_create(&worker[count].thread, &attributes, start, &worker[count]) != 0) break;
    pthread_setname_np(worker[count].thread, "gdn");
    workers.store(count + 1);
  }
  pthread_attr_destroy(&attributes);
}

/// Posts to up to `helpers` of the first `count` workers, sleeping ones only if asked to; returns
/// to how many.
int32_t Pool::post(PoolJob &job, int32_t count, int32_t helpers, bool sleepers) {
  const auto takes_job = [&](const PoolJob *box) {
    return box == kIdle || (box == kAsleep && sleepers);
  };
  int32_t posted = 0;
  for (int32_t i = 0; i < count && posted < helpers; ++i) {
    Worker &w = worker[i];
    PoolJob *box = w.box.load(std::memory_order_relaxed);
    while (takes_job(box) && !w.box.compare_exchange_weak(box, &job, std::memory_order_acq_rel)) {
    }
    if (!takes_job(box)) continue;
    ++posted;
    if (box == kAsleep) {
      { const std::lock_guard lock(w.mutex); }
      w.awake.notify_one();
    }
  }
  return posted;
}

/// Empties the boxes in which the job still lies; returns how many.
int32_t Pool::take_back(PoolJob &job, int32_t count, int32_t posted) {
  int32_t taken = 0;
  for (int32_t i = 0; i < count && taken < posted; ++i) {
    PoolJob *box = &job;
    if (worker[i].box.compare_exchange_strong(box, kIdle, std::memory_order_acq_rel)) ++taken;
  }
  return taken;
}

void Pool::wait_finished(PoolJob &job, uint32_t helpers) {
  const auto finished = [&] {
    return (job.finished.load(std::memory_order_acquire) & ~PoolJob::kCallerSleeps) == helpers;
  };
  if (spin_until(may_spin(), finished)) return;
  std::unique_lock lock(done_mutex);
  job.finished.fetch_or(PoolJob::kCallerSleeps, std::memory_order_acq_rel);
  done.wait(lock, finished);
}

void Pool::run(PoolJob &job, int32_t helpers, Wake wake) {
  if (workers.load(std::memory_order_acquire) < helpers) grow(helpers);
  const int32_t count = workers.load(std::memory_order_acquire);
  int32_t posted = post(job, count, helpers, wake == Wake::at_once);
  const InsideJob inside;
  if (posted < helpers && wake == Wake::if_worth_it) {
    const Clock::time_point start = Clock::now();
    job.job->step(0);
    if ((Clock::now() - start) * job.job->runs_left() > kWorthWaking) {
      posted += post(job, count, helpers - posted, true);
    }
  }
  job.job->work(0);
  const int32_t taken = take_back(job, count, posted);
  wait_finished(job, static_cast<uint32_t>(posted - taken));
}

void Pool::shut_down() {
  const std::lock_guard lock(grow_mutex);
  stop.store(true);
  const int32_t count = workers.exchange(0);
  for (int32_t i = 0; i < count; ++i) {
    { const std::lock_guard worker_lock(worker[i].mutex); }
    worker[i].awake.notify_one();
  }
  for (int32_t i = 0; i < count; ++i) pthread_join(worker[i].thread, nullptr);
}

}  // namespace

void run_on_pool(Job *job, Wake wake) {
  PoolJob in_pool{job};
  pool().run(in_pool, job->threads - 1, wake);
}

}  // namespace gdn::cpu
